output "vpc_id" {
  description = "The VPC."
  value       = aws_vpc.this.id
}

output "vpc_cidr" {
  description = "Addresses of the VPC."
  value       = aws_vpc.this.cidr_block
}

output "private_subnet_ids" {
  description = "Private subnets by zone: nodes, pods, file systems."
  value       = { for zone, subnet in aws_subnet.private : zone => subnet.id }
}

output "public_cidrs" {
  description = "Addresses of the public subnets: whatever a load balancer sends comes from one of them."
  value       = [for zone in var.zones : local.public_cidrs[zone]]
}

output "public_subnet_ids" {
  description = "Public subnets by zone: load balancers and NAT gateways."
  value       = { for zone, subnet in aws_subnet.public : zone => subnet.id }
}
