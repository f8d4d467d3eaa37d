# The operators that charts/observability builds on: each with a pinned version, and no more of its chart
# than what ours does not make itself (Prometheus, Alertmanager, rules and dashboards are ours).

locals {
  # Only what asks for a GPU runs where one is; these two serve every such node.
  on_gpu_nodes = {
    nodeSelector = { "nvidia.com/gpu.present" = "true" }
    tolerations = [
      { key = "nvidia.com/gpu", operator = "Exists", effect = "NoSchedule" },
      { key = "faultload.io/spot", operator = "Exists", effect = "NoSchedule" },
    ]
  }

  releases = {
    loki = {
      repository = "https://grafana-community.github.io/helm-charts"
      version    = var.chart_versions.loki
      namespace  = "observability"
      values = {
        deploymentMode = "SingleBinary"
        singleBinary   = { replicas = 1, persistence = { storageClass = "gp3", size = "50Gi" } }
        read           = { replicas = 0 }
        write          = { replicas = 0 }
        backend        = { replicas = 0 }
        chunksCache    = { enabled = false }
        resultsCache   = { enabled = false }
        loki = {
          auth_enabled  = false # one tenant, reachable from inside the cluster only
          commonConfig  = { replication_factor = 1 }
          storage       = { type = "filesystem" }
          limits_config = { retention_period = "336h" }
          schemaConfig = { configs = [{
            from  = "2024-04-01", store = "tsdb", object_store = "filesystem", schema = "v13"
            index = { prefix = "index_", period = "24h" }
          }] }
        }
      }
    }
    keda = {
      repository = "https://kedacore.github.io/charts"
      version    = var.chart_versions.keda
      namespace  = "observability"
      values = {
        serviceAccount = { operator = { name = "keda-operator" } }
        # Scaling stops while the operator is away: a second one takes over.
        operator   = { replicaCount = 2 }
        prometheus = { operator = { enabled = true, serviceMonitor = { enabled = true } } }
      }
    }
    nvidia-device-plugin = {
      repository = "https://nvidia.github.io/k8s-device-plugin"
      version    = var.chart_versions.nvidia_device_plugin
      namespace  = "gpu-metrics"
      values = merge(local.on_gpu_nodes, {
        # By default it wants labels of the node feature discovery, which we do not run.
        affinity = null
        gfd      = { enabled = false }
      })
    }
    dcgm-exporter = {
      repository = "https://nvidia.github.io/dcgm-exporter/helm-charts"
      version    = var.chart_versions.dcgm_exporter
      namespace  = "gpu-metrics"
      values = merge(local.on_gpu_nodes, {
        service        = { port = 9400 }
        serviceMonitor = { enabled = true, interval = "15s", honorLabels = true }
      })
    }
  }
}

resource "aws_prometheus_workspace" "this" {
  count = var.managed_prometheus ? 1 : 0

  alias       = var.name
  kms_key_arn = var.kms_key_arn
}

# First: the others bring ServiceMonitors, which this one's definitions are for.
resource "helm_release" "kube_prometheus_stack" {
  count = var.install_operators ? 1 : 0

  name             = "kube-prometheus-stack"
  repository       = "https://prometheus-community.github.io/helm-charts"
  chart            = "kube-prometheus-stack"
  version          = var.chart_versions.kube_prometheus_stack
  namespace        = "observability"
  create_namespace = true
  timeout          = 900

  values = [yamlencode({
    # charts/observability makes these itself.
    prometheus   = { enabled = false }
    alertmanager = { enabled = false }
    grafana      = { enabled = false }
    defaultRules = { create = false }
    # Nodes, pods and deployments as Prometheus sees them.
    kubeStateMetrics = { enabled = true }
    "kube-state-metrics" = {
      # metrics.yaml and the cost queries join on these labels.
      metricLabelsAllowlist = [
        "nodes=[node.kubernetes.io/instance-type,topology.kubernetes.io/zone,eks.amazonaws.com/capacityType,karpenter.sh/capacity-type,faultload.io/gpu]",
        "pods=[app.kubernetes.io/name,app.kubernetes.io/component,faultload.io/model]",
      ]
    }
    nodeExporter = { enabled = true }
    # EKS does not let anyone scrape these.
    kubeControllerManager = { enabled = false }
    kubeScheduler         = { enabled = false }
    kubeEtcd              = { enabled = false }
  })]
}

resource "helm_release" "this" {
  for_each = { for name, release in local.releases : name => release if var.install_operators }

  name             = each.key
  repository       = each.value.repository
  chart            = each.key
  version          = each.value.version
  namespace        = each.value.namespace
  create_namespace = true
  timeout          = 600

  values = [yamlencode(each.value.values)]

  depends_on = [helm_release.kube_prometheus_stack]
}
