# What the variables refuse. Needs no AWS: tests/deploy/terraform runs it on variables and locals alone.
mock_provider "aws" {}

variables {
  cluster_name     = "inference-test"
  cluster_arn      = "arn:aws:eks:us-east-1:111122223333:cluster/inference-test"
  oidc_issuer_url  = "https://oidc.eks.us-east-1.amazonaws.com/id/1"
  model_bucket_arn = "arn:aws:s3:::models"
  model_table_arn  = "arn:aws:dynamodb:us-east-1:111122223333:table/versions"
  kms_key_arn      = "arn:aws:kms:us-east-1:111122223333:key/1"
}

run "good_identity" {
  command = plan
}

run "unknown_mode" {
  command = plan

  variables {
    mode = "node_role"
  }

  expect_failures = [var.mode]
}
