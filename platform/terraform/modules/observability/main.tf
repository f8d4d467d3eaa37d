# The operators that charts/observability builds on: each with a pinned version, and no more of its chart
# than what ours does not make itself. Prometheus, Alertmanager, rules, dashboards and the monitors of what they
# ask for are ours: whoever is scraped twice counts twice.

data "aws_caller_identity" "current" {}

data "aws_region" "current" {}

locals {
  # What is watched, and how: read here as it is in the repository, so that there is one text of it.
  watched = "${path.module}/../../../observability"
  loki = yamldecode(templatefile("${local.watched}/loki.yaml", {
    LOKI_BUCKET = aws_s3_bucket.logs.id
    AWS_REGION  = data.aws_region.current.region
  }))

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
      values = {
        deploymentMode = "Monolithic"
        serviceAccount = { name = "loki" }
        singleBinary   = { replicas = 1, persistence = { size = "50Gi" } }
        read           = { replicas = 0 }
        write          = { replicas = 0 }
        backend        = { replicas = 0 }
        chunksCache    = { enabled = false }
        resultsCache   = { enabled = false }
        gateway        = { enabled = false } # Alloy and Grafana ask it directly
        lokiCanary     = { enabled = false }
        test           = { enabled = false }
        loki = {
          # What the chart fills in around the file, which goes before it.
          auth_enabled = false
          storage = {
            type        = "s3"
            s3          = { region = data.aws_region.current.region }
            bucketNames = { chunks = aws_s3_bucket.logs.id, ruler = aws_s3_bucket.logs.id, admin = aws_s3_bucket.logs.id }
          }
          structuredConfig = merge(local.loki, {
            limits_config = merge(local.loki.limits_config, { retention_period = "${24 * var.log_days}h" })
          })
        }
      }
    }
    # Logs of pods, events and kernels, from every node, those with taints too.
    alloy = {
      repository = "https://grafana.github.io/helm-charts"
      version    = var.chart_versions.alloy
      values = {
        crds = { create = false }
        alloy = {
          configMap       = { content = file("${local.watched}/logs.alloy") }
          enableReporting = false
          # One of them reads the cluster's events.
          clustering = { enabled = true }
          # The journal of the node's kernel.
          mounts = { varlog = true }
          extraEnv = [
            { name = "LOKI_URL", value = "http://loki.observability.svc:3100/loki/api/v1/push" },
            { name = "NODE_NAME", valueFrom = { fieldRef = { fieldPath = "spec.nodeName" } } },
          ]
        }
        controller = { tolerations = [{ operator = "Exists" }] }
      }
    }
    # What a node costs. It asks Prometheus, which charts/observability makes later: it is not waited for.
    opencost = {
      repository = "https://opencost.github.io/opencost-helm-chart"
      version    = var.chart_versions.opencost
      wait       = false
      values = {
        opencost = {
          exporter   = { defaultClusterId = var.cluster_name }
          prometheus = { internal = { serviceName = "prometheus-operated", namespaceName = "observability", port = 9090 } }
          ui         = { enabled = false }
          mcp        = { enabled = false }
        }
      }
    }
    keda = {
      repository = "https://kedacore.github.io/charts"
      version    = var.chart_versions.keda
      values = {
        serviceAccount = { operator = { name = "keda-operator" } }
        # Scaling stops while the operator is away: a second one takes over.
        operator   = { replicaCount = 2 }
        prometheus = { operator = { enabled = true } }
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
        serviceMonitor = { enabled = false }
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
    defaultRules = { create = false }
    # Its dashboards are the ConfigMaps that charts/observability labels so. The password of admin is made at
    # the first installation: Secret kube-prometheus-stack-grafana.
    grafana = {
      enabled                  = true
      defaultDashboardsEnabled = false
      serviceMonitor           = { enabled = false }
      sidecar = {
        dashboards = { enabled = true, label = "grafana_dashboard", labelValue = "1", searchNamespace = "observability" }
        datasources = {
          url          = "http://prometheus-operated.observability.svc:9090"
          alertmanager = { url = "http://alertmanager-operated.observability.svc:9093" }
        }
      }
      additionalDataSources = [
        { name = "Loki", type = "loki", uid = "loki", access = "proxy", url = "http://loki.observability.svc:3100" },
      ]
    }
    # Nodes, pods and deployments as Prometheus sees them.
    kubeStateMetrics = { enabled = true }
    "kube-state-metrics" = {
      prometheus = { monitor = { enabled = false } }
      # metrics.yaml and the cost queries join on these labels.
      metricLabelsAllowlist = [
        "nodes=[node.kubernetes.io/instance-type,topology.kubernetes.io/zone,eks.amazonaws.com/capacityType,karpenter.sh/capacity-type,faultload.io/gpu]",
        "pods=[app.kubernetes.io/name,app.kubernetes.io/component,faultload.io/model]",
      ]
    }
    nodeExporter = { enabled = true }
    # EKS does not let anyone scrape the first three; nothing of ours asks for the others, nor has our
    # Prometheus the rights.
    kubeControllerManager = { enabled = false }
    kubeScheduler         = { enabled = false }
    kubeEtcd              = { enabled = false }
    kubeApiServer         = { enabled = false }
    kubelet               = { enabled = false }
    kubeProxy             = { enabled = false }
    coreDns               = { enabled = false }
  })]
}

resource "helm_release" "this" {
  for_each = { for name, release in local.releases : name => release if var.install_operators }

  name             = each.key
  repository       = each.value.repository
  chart            = each.key
  version          = each.value.version
  namespace        = try(each.value.namespace, "observability")
  create_namespace = true
  timeout          = 600
  wait             = try(each.value.wait, true)

  values = [yamlencode(each.value.values)]

  # A pod gets its role when it starts.
  depends_on = [helm_release.kube_prometheus_stack, aws_eks_pod_identity_association.loki]
}

# ------------------------------------------------------------------ where Loki keeps logs

resource "aws_s3_bucket" "logs" {
  #checkov:skip=CKV2_AWS_62:Nothing waits for new objects here
  #checkov:skip=CKV_AWS_144:Logs of a month are not worth a second copy
  #checkov:skip=CKV_AWS_18:This is a bucket of logs
  bucket_prefix = "${var.name}-loki-"
}

# Loki never overwrites; what it deletes can be brought back for a week.
resource "aws_s3_bucket_versioning" "logs" {
  bucket = aws_s3_bucket.logs.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "logs" {
  bucket = aws_s3_bucket.logs.id

  rule {
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }
  }
}

resource "aws_s3_bucket_public_access_block" "logs" {
  bucket                  = aws_s3_bucket.logs.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_policy" "logs" {
  bucket = aws_s3_bucket.logs.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "TlsOnly"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = [aws_s3_bucket.logs.arn, "${aws_s3_bucket.logs.arn}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })

  depends_on = [aws_s3_bucket_public_access_block.logs]
}

# Loki's compactor deletes what is too old; this is for what it has lost sight of.
resource "aws_s3_bucket_lifecycle_configuration" "logs" {
  bucket = aws_s3_bucket.logs.id

  rule {
    id     = "old-logs"
    status = "Enabled"
    filter {}

    expiration {
      days = var.log_days + 7
    }

    noncurrent_version_expiration {
      noncurrent_days = 7
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }
}

resource "aws_iam_role" "loki" {
  name = "${var.name}-loki"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "pods.eks.amazonaws.com" }
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      Condition = {
        StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id }
        ArnEquals    = { "aws:SourceArn" = var.cluster_arn }
      }
    }]
  })
}

resource "aws_iam_role_policy" "loki" {
  name = "keep-logs"
  role = aws_iam_role.loki.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "KeepLogs"
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
        Resource = "${aws_s3_bucket.logs.arn}/*"
      },
      {
        Sid      = "ListLogs"
        Effect   = "Allow"
        Action   = "s3:ListBucket"
        Resource = aws_s3_bucket.logs.arn
      },
      {
        Sid      = "EncryptLogs"
        Effect   = "Allow"
        Action   = ["kms:GenerateDataKey", "kms:Decrypt"]
        Resource = var.kms_key_arn
      },
    ]
  })
}

resource "aws_eks_pod_identity_association" "loki" {
  cluster_name    = var.cluster_name
  namespace       = "observability"
  service_account = "loki"
  role_arn        = aws_iam_role.loki.arn
}
