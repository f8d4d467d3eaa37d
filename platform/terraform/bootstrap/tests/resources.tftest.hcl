# What is planned. Needs the AWS provider's schema, but neither an account nor credentials.
mock_provider "aws" {
  override_during = plan

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }

  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:us-east-1:111122223333:key/1" }
  }

  mock_resource "aws_s3_bucket" {
    defaults = { id = "example-terraform-state", arn = "arn:aws:s3:::example-terraform-state" }
  }
}

variables {
  state_bucket = "example-terraform-state"
  cost_center  = "inference"
}

run "empty_account" {
  command = plan

  assert {
    condition     = length(aws_iam_service_linked_role.spot) == 1 && aws_iam_service_linked_role.spot[0].aws_service_name == "spot.amazonaws.com"
    error_message = "An account that never had a spot machine lacks EC2's own role, and Karpenter may not make it."
  }

  assert {
    condition     = aws_ebs_encryption_by_default.this.enabled
    error_message = "Disks that pods ask for name no key."
  }
}

run "account_that_has_spot_role" {
  command = plan

  variables {
    create_spot_role = false
  }

  assert {
    condition     = length(aws_iam_service_linked_role.spot) == 0
    error_message = "A role that is there is not made again."
  }
}
