# Named for IRSA whatever the mode: with Pod Identity, EKS knows the association and the ServiceAccount
# needs no annotation; with IRSA, it is annotated with this ARN.

output "vllm_irsa_role_arn" {
  description = "Role of the ServiceAccount vllm: reads models and their versions."
  value       = aws_iam_role.this["vllm"].arn
}

output "prometheus_irsa_role_arn" {
  description = "Role of the ServiceAccount prometheus: writes to Amazon Managed Prometheus, where there is a workspace."
  value       = aws_iam_role.this["prometheus"].arn
}

output "keda_operator_irsa_role_arn" {
  description = "Role of the ServiceAccount keda-operator: asks Amazon Managed Prometheus, where there is a workspace."
  value       = aws_iam_role.this["keda-operator"].arn
}
