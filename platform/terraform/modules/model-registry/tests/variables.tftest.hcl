# What the variables refuse. Needs no AWS: tests/deploy/terraform runs it on variables and locals alone.
mock_provider "aws" {}

variables {
  name                = "inference-test"
  bucket_name         = "example-models"
  kms_key_arn         = "arn:aws:kms:us-east-1:111122223333:key/1"
  deletion_protection = true
}

run "good_registry" {
  command = plan
}

run "name_that_no_bucket_can_have" {
  command = plan

  variables {
    bucket_name = "Models_Of_Mine"
  }

  expect_failures = [var.bucket_name]
}
