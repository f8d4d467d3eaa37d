# What the variables refuse. Needs no AWS: tests/deploy/terraform runs it on variables and locals alone.
mock_provider "aws" {}
mock_provider "helm" {}

variables {
  name               = "inference-test"
  cluster_name       = "inference-test"
  cluster_arn        = "arn:aws:eks:us-east-1:111122223333:cluster/inference-test"
  install_operators  = true
  managed_prometheus = false
  kms_key_arn        = "arn:aws:kms:us-east-1:111122223333:key/1"
}

run "good_observability" {
  command = plan
}

run "version_that_is_not_exact" {
  command = plan

  variables {
    chart_versions = { keda = "~> 2.19" }
  }

  expect_failures = [var.chart_versions]
}
