terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 6.28, < 7.0"
    }
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = {
      Project     = "inference-platform"
      Environment = "shared"
      ManagedBy   = "terraform"
      CostCenter  = var.cost_center
    }
  }
}
