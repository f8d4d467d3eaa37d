# What the variables refuse. Needs no AWS: tests/deploy/terraform runs it on variables and locals alone.
mock_provider "aws" {
  mock_data "aws_default_tags" {
    defaults = { tags = { Project = "faultload", Environment = "staging", ManagedBy = "terraform", CostCenter = "c" } }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
}

variables {
  environment              = "staging"
  cost_center              = "inference"
  cluster_name             = "inference-staging"
  spot_node_groups         = { l40s-x4-spot = 1 }
  load_balancer_arn_suffix = "app/inference-staging/1"
  report_bucket_name       = "example-reports"
  github                   = { repository = "example/faultload" }
}

run "good_harness" {
  command = plan
}

run "production" {
  command = plan

  variables {
    environment = "prod"
  }

  expect_failures = [var.environment]
}

run "any_repository" {
  command = plan

  variables {
    github = { repository = "example/*" }
  }

  expect_failures = [var.github]
}

run "any_branch" {
  command = plan

  variables {
    github = { repository = "example/faultload", branch = "*" }
  }

  expect_failures = [var.github]
}

run "every_machine_at_once" {
  command = plan

  variables {
    spot_node_groups = { l40s-x4-spot = 100 }
  }

  expect_failures = [var.spot_node_groups]
}
