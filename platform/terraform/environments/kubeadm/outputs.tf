output "vpc_id" {
  description = "VPC of the cluster."
  value       = module.network.vpc_id
}

output "instance_ids" {
  description = "The three machines by name, for `aws ssm start-session --target`."
  value       = { for name, node in aws_instance.node : name => node.id }
}

output "join_parameter" {
  description = "SSM parameter in which the control plane leaves what workers join with."
  value       = local.join_parameter
}
