# What the variables refuse. Needs no AWS: tests/deploy/terraform runs it on variables and locals alone.
mock_provider "aws" {}

variables {
  name              = "inference-test"
  vpc_id            = "vpc-0123"
  subnet_id         = "subnet-0123"
  security_group_id = "sg-0123"
  model_bucket      = "models"
  kms_key_arn       = "arn:aws:kms:us-east-1:111122223333:key/1"
  lustre            = { enabled = true }
}

run "good_storage" {
  command = plan
}

run "size_that_lustre_does_not_have" {
  command = plan

  variables {
    lustre = { enabled = true, capacity_gib = 3600 }
  }

  expect_failures = [var.lustre]
}

run "too_few_images_to_roll_back" {
  command = plan

  variables {
    images_kept = 1
  }

  expect_failures = [var.images_kept]
}
