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
