# For trying things: one NAT gateway, one L4 that is always there, spot from Karpenter when pods ask for it.

locals {
  tags = {
    Project     = "inference-platform"
    Environment = "dev"
    ManagedBy   = "terraform"
    CostCenter  = var.cost_center
  }
}

data "aws_default_tags" "current" {}

check "tags" {
  assert {
    condition     = length(setsubtract(["Project", "Environment", "ManagedBy", "CostCenter"], keys(data.aws_default_tags.current.tags))) == 0
    error_message = "The provider's default tags have to name Project, Environment, ManagedBy and CostCenter."
  }
}

module "platform" {
  source = "../../modules/platform"

  environment = "dev"
  zones       = var.zones
  tags        = local.tags

  cidr         = "10.20.0.0/16"
  nat_gateways = "one"

  system_nodes = {
    instance_types = ["t3.large", "t3a.large"]
    size           = 3
    size_max       = 4
  }

  gpu_groups = {
    l4 = {
      gpu            = "l4", gpus = 1, capacity_type = "ON_DEMAND", size_min = 0, size = 1, size_max = 2
      instance_types = ["g6.xlarge"]
    }
    l4-spot = {
      gpu            = "l4", gpus = 1, capacity_type = "SPOT", size_min = 0, size = 0, size_max = 4
      instance_types = ["g6.xlarge", "g6.2xlarge", "g6.4xlarge", "g6.8xlarge"]
    }
  }

  karpenter           = { enabled = true }
  lustre              = { enabled = false }
  waf                 = { enabled = false }
  managed_prometheus  = false
  deletion_protection = false
  log_retention_days  = 30

  admin_role_arns     = var.admin_role_arns
  public_access_cidrs = var.public_access_cidrs
  model_bucket_name   = var.model_bucket_name
  domain              = var.domain
  install_operators   = var.install_operators
  budget              = { usd_per_month = 2000, emails = var.budget_emails }
}
