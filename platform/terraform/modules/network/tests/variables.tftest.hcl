# What the variables refuse. Needs no AWS: tests/deploy/terraform runs it on variables and locals alone.
mock_provider "aws" {}

variables {
  name         = "inference-test"
  cidr         = "10.10.0.0/16"
  zones        = ["us-east-1a", "us-east-1b", "us-east-1c"]
  nat_gateways = "one"
  kms_key_arn  = "arn:aws:kms:us-east-1:111122223333:key/1"
}

run "good_network" {
  command = plan

  assert {
    condition     = join(" ", values(local.private_cidrs)) == "10.10.0.0/19 10.10.32.0/19 10.10.64.0/19"
    error_message = "Private subnets are a /19 in each zone, from the bottom."
  }

  assert {
    condition     = join(" ", values(local.public_cidrs)) == "10.10.224.0/24 10.10.225.0/24 10.10.226.0/24"
    error_message = "Public subnets are a /24 in each zone, from .224."
  }

  assert {
    condition     = local.nat_zones == toset(["us-east-1a"])
    error_message = "One NAT gateway stands in the first zone."
  }
}

run "a_gateway_in_each_zone" {
  command = plan

  variables {
    nat_gateways = "per_zone"
  }

  assert {
    condition     = length(local.nat_zones) == 3
    error_message = "per_zone has to make three gateways."
  }
}

run "two_zones" {
  command = plan

  variables {
    zones = ["us-east-1a", "us-east-1b"]
  }

  expect_failures = [var.zones]
}

run "small_block" {
  command = plan

  variables {
    cidr = "10.10.0.0/24"
  }

  expect_failures = [var.cidr]
}
