terraform {
  required_version = ">= 1.10" # the first with `use_lockfile`

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.28, < 7.0"
    }
  }

  # bucket, region and kms_key_id come from backend.hcl (platform/terraform/bootstrap's outputs).
  backend "s3" {
    key          = "faultload/harness.tfstate"
    encrypt      = true
    use_lockfile = true
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = local.tags
  }
}
