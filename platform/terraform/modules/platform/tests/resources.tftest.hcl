# What is planned. Needs the AWS and Helm providers' schemas, but neither an account nor credentials.
mock_provider "aws" {
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
  environment         = "dev"
  cidr                = "10.20.0.0/16"
  zones               = ["us-east-1a", "us-east-1b", "us-east-1c"]
  nat_gateways        = "one"
  admin_role_arns     = ["arn:aws:iam::111122223333:role/admin"]
  system_nodes        = { instance_types = ["m7i.large"], size = 2, size_max = 4 }
  lustre              = { enabled = true }
  model_bucket_name   = "example-models"
  domain              = { name = "llm.example.com", zone_id = "Z0123" }
  waf                 = { enabled = true }
  managed_prometheus  = false
  install_operators   = true
  deletion_protection = false
  tags                = { Project = "p", Environment = "dev", ManagedBy = "terraform", CostCenter = "c" }
  budget              = { usd_per_month = 100, emails = ["platform@example.com"] }
  gpu_groups = {
    l4 = {
      gpu            = "l4", gpus = 1, capacity_type = "ON_DEMAND", size_min = 0, size = 1, size_max = 2
      instance_types = ["g6.xlarge"]
    }
  }
}

run "key_of_the_environment" {
  command = plan

  assert {
    condition     = aws_kms_key.this.enable_key_rotation
    error_message = "The key is rotated."
  }

  assert {
    condition = one([
      for each in jsondecode(aws_kms_key.this.policy).Statement : each.Condition if each.Sid == "FileSystemsOfTheModels"
      ]) == {
      StringEquals = { "kms:CallerAccount" = "111122223333", "kms:ViaService" = "s3.us-east-1.amazonaws.com" }
      StringLike   = { "kms:EncryptionContext:aws:s3:arn" = ["arn:aws:s3:::example-models", "arn:aws:s3:::example-models/*"] }
      ArnLike      = { "aws:PrincipalArn" = "arn:aws:iam::111122223333:role/aws-service-role/s3.data-source.lustre.fsx.amazonaws.com/AWSServiceRoleForFSxS3Access_*" }
    }
    error_message = "A file system's own role reads the bucket of models with the key: through S3, that bucket, and no other role."
  }

  assert {
    condition = alltrue([
      for each in jsondecode(aws_kms_key.this.policy).Statement : each.Principal != { AWS = "*" } || each.Sid == "FileSystemsOfTheModels"
    ])
    error_message = "Nobody else is everybody."
  }
}

run "budget" {
  command = plan

  assert {
    condition     = toset([for each in aws_budgets_budget.this.notification : "${each.notification_type} ${each.threshold}"]) == toset(["ACTUAL 80", "FORECASTED 100"])
    error_message = "Someone hears of it while there is money left."
  }

  assert {
    condition     = one(aws_budgets_budget.this.cost_filter).values == tolist(["user:Environment$dev"])
    error_message = "The budget is this environment's."
  }
}
