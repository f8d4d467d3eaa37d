output "workspace_arn" {
  description = "ARN of the workspace in Amazon Managed Prometheus; null without one."
  value       = one(aws_prometheus_workspace.this[*].arn)
}

output "workspace_url" {
  description = "URL for remote write and queries of that workspace; null without one."
  value       = one(aws_prometheus_workspace.this[*].prometheus_endpoint)
}

output "log_bucket" {
  description = "Bucket of Loki's logs (LOKI_BUCKET)."
  value       = aws_s3_bucket.logs.id
}

output "loki_irsa_role_arn" {
  description = "Role of the ServiceAccount loki: keeps logs in that bucket."
  value       = aws_iam_role.loki.arn
}

output "charts" {
  description = "Chart and version of every operator that is installed."
  value = merge(
    { for release in helm_release.kube_prometheus_stack : release.name => release.version },
    { for name, release in helm_release.this : name => release.version },
  )
}
