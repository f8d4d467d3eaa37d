output "cluster_name" {
  description = "Name of the EKS cluster."
  value       = module.platform.cluster_name
}

output "cluster_endpoint" {
  description = "URL of the API server."
  value       = module.platform.cluster_endpoint
}

output "cluster_ca_certificate" {
  description = "Certificate authority of the API server, base64."
  value       = module.platform.cluster_ca_certificate
}

output "url" {
  description = "Where users call the platform."
  value       = module.platform.url
}

output "client_cidrs" {
  description = "Where the router's requests come from, the load balancer's subnets, for network.clientCidrs of charts/router."
  value       = module.platform.client_cidrs
}

output "target_group_arn" {
  description = "Target group of the router's pods, for targetGroupBinding.arn of charts/router."
  value       = module.platform.target_group_arn
}

output "load_balancer_arn_suffix" {
  description = "The load balancer's name in CloudWatch, for the harness's stop alarm."
  value       = module.platform.load_balancer_arn_suffix
}

output "model_bucket" {
  description = "Bucket of models, for the charts' model store."
  value       = module.platform.model_bucket
}

output "model_table" {
  description = "Table of model versions."
  value       = module.platform.model_table
}

output "lustre" {
  description = "What a PersistentVolume of fsx.csi.aws.com needs; null without a file system."
  value       = module.platform.lustre
}

output "repository_urls" {
  description = "Where each image is pushed and pulled, by name."
  value       = module.platform.repository_urls
}

output "gpu_node_groups" {
  description = "Names of the GPU node groups."
  value       = module.platform.gpu_node_groups
}

output "karpenter_manifests" {
  description = "Karpenter's node pools, for `kubectl apply`; null without Karpenter."
  value       = module.platform.karpenter_manifests
}

output "vllm_irsa_role_arn" {
  description = "Role of the ServiceAccount vllm."
  value       = module.platform.vllm_irsa_role_arn
}

output "prometheus_irsa_role_arn" {
  description = "Role of the ServiceAccount prometheus."
  value       = module.platform.prometheus_irsa_role_arn
}

output "keda_operator_irsa_role_arn" {
  description = "Role of the ServiceAccount keda-operator."
  value       = module.platform.keda_operator_irsa_role_arn
}

output "managed_prometheus_url" {
  description = "URL of the workspace in Amazon Managed Prometheus; null without one."
  value       = module.platform.managed_prometheus_url
}

output "operator_charts" {
  description = "Chart and version of every operator that is installed."
  value       = module.platform.operator_charts
}

output "log_bucket" {
  description = "Bucket of Loki's logs (LOKI_BUCKET)."
  value       = module.platform.log_bucket
}

output "loki_irsa_role_arn" {
  description = "Role of the ServiceAccount loki."
  value       = module.platform.loki_irsa_role_arn
}
