# What is planned. Needs the AWS and Helm providers' schemas, but neither an account nor credentials.
mock_provider "aws" {
  mock_data "aws_default_tags" {
    defaults = { tags = { Project = "p", Environment = "staging", ManagedBy = "terraform", CostCenter = "c" } }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_data "aws_region" {
    defaults = { region = "us-east-1" }
  }

  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }

  # Its records are known before it is made, as with the real provider.
  mock_resource "aws_acm_certificate" {
    override_during = plan
    defaults        = { arn = "arn:aws:acm:us-east-1:111122223333:certificate/1", domain_validation_options = [] }
  }
}

mock_provider "helm" {}

variables {
  cost_center       = "inference"
  admin_role_arns   = ["arn:aws:iam::111122223333:role/admin"]
  model_bucket_name = "example-models"
  domain            = { name = "llm.example.com", zone_id = "Z0123" }
  budget_emails     = ["platform@example.com"]
}

run "whole_environment" {
  command = plan

  assert {
    condition     = output.cluster_name == "inference-staging"
    error_message = "The cluster is named for its environment."
  }

  assert {
    condition     = output.client_cidrs == ["10.30.224.0/24", "10.30.225.0/24", "10.30.226.0/24"]
    error_message = "GitOps gives the router these addresses of its clients."
  }

  assert {
    condition     = toset(output.gpu_node_groups) == toset(["l4", "l4-spot", "l40s-x4-spot"])
    error_message = "The environment has the GPU groups that its engines ask for."
  }
}

run "no_way_to_the_api_server" {
  command = plan

  variables {
    install_operators = false
  }

  assert {
    condition     = length(output.operator_charts) == 0
    error_message = "Without a way to the API server no chart is installed."
  }
}
