output "group_names" {
  description = "Names of the node groups, as EKS has them."
  value       = [for group in aws_eks_node_group.gpu : group.node_group_name]
}

output "labels" {
  description = "Labels of the nodes, by group."
  value       = local.labels
}

output "taints" {
  description = "Taints of the nodes, by group: key to value, effect NoSchedule."
  value       = local.taints
}

output "karpenter_manifests" {
  description = "Karpenter's node pools and node class, for `kubectl apply`; null without Karpenter."
  value       = var.karpenter.enabled ? local.karpenter_manifests : null
}
