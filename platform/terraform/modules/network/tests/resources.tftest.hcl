# What is planned. Needs the AWS provider's schema, but neither an account nor credentials.
mock_provider "aws" {
  override_during = plan

  mock_data "aws_region" {
    defaults = { region = "us-east-1" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111122223333:role/mock" }
  }

  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:us-east-1:111122223333:log-group:mock" }
  }
}

variables {
  name                = "inference-test"
  cidr                = "10.10.0.0/16"
  zones               = ["us-east-1a", "us-east-1b", "us-east-1c"]
  nat_gateways        = "one"
  interface_endpoints = ["ecr.api"]
  kms_key_arn         = "arn:aws:kms:us-east-1:111122223333:key/1"
  cluster_name        = "inference-test"
}

run "three_zones" {
  command = plan

  assert {
    condition     = output.public_cidrs == ["10.10.224.0/24", "10.10.225.0/24", "10.10.226.0/24"]
    error_message = "The router lets in what comes from these: they have to be the public subnets, in the zones' order."
  }

  assert {
    condition     = alltrue([for each in aws_subnet.public : !each.map_public_ip_on_launch && each.tags["kubernetes.io/role/elb"] == "1"])
    error_message = "Public subnets are for load balancers, and give nothing else an address."
  }

  assert {
    condition     = length(aws_nat_gateway.this) == 1 && length(aws_route_table.private) == 3
    error_message = "One gateway serves three private subnets."
  }

  assert {
    condition     = aws_vpc_endpoint.interface["ecr.api"].private_dns_enabled && aws_vpc_endpoint.interface["ecr.api"].service_name == "com.amazonaws.us-east-1.ecr.api"
    error_message = "An endpoint answers to the service's own name."
  }

  assert {
    condition     = aws_flow_log.this.traffic_type == "ALL" && aws_cloudwatch_log_group.flow.kms_key_id == var.kms_key_arn
    error_message = "All traffic is logged, encrypted."
  }
}
