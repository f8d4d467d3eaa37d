output "url" {
  description = "Where users call the platform."
  value       = "https://${var.domain.name}"
}

output "load_balancer_arn" {
  description = "ARN of the load balancer."
  value       = aws_lb.this.arn
}

output "load_balancer_arn_suffix" {
  description = "The load balancer's name in CloudWatch, for alarms."
  value       = aws_lb.this.arn_suffix
}

output "target_group_arn" {
  description = "Target group of the router's pods."
  value       = aws_lb_target_group.router.arn
}

output "target_group_binding" {
  description = "What binds the router's Service to the target group, for `kubectl apply`."
  value = yamlencode({
    apiVersion = "elbv2.k8s.aws/v1beta1"
    kind       = "TargetGroupBinding"
    metadata   = { name = "router", namespace = "inference" }
    spec = {
      targetGroupARN = aws_lb_target_group.router.arn
      targetType     = "ip"
      serviceRef     = { name = "router", port = local.router_port }
    }
  })
}
