# Prod in small: the same parts and both tiers, the reasoning tier on spot machines. Game days happen here.

locals {
  tags = {
    Project     = "inference-platform"
    Environment = "staging"
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

  environment = "staging"
  zones       = var.zones
  tags        = local.tags

  cidr         = "10.30.0.0/16"
  nat_gateways = "one"

  system_nodes = {
    instance_types = ["m7i.xlarge", "m6i.xlarge"]
    size           = 3
    size_max       = 6
  }

  gpu_groups = {
    l4 = {
      gpu            = "l4", gpus = 1, capacity_type = "ON_DEMAND", size_min = 2, size = 2, size_max = 4
      instance_types = ["g6.xlarge"]
    }
    # The fast tier runs on demand: none of these until something asks for spot.
    l4-spot = {
      gpu            = "l4", gpus = 1, capacity_type = "SPOT", size_min = 0, size = 0, size_max = 6
      instance_types = ["g6.xlarge", "g6.2xlarge", "g6.4xlarge", "g6.8xlarge"]
    }
    # The reasoning tier: four GPUs an engine, tensor parallel. Where interruptions are tried.
    l40s-x4-spot = {
      gpu            = "l40s", gpus = 4, capacity_type = "SPOT", size_min = 0, size = 2, size_max = 4
      instance_types = ["g6e.12xlarge", "g6e.24xlarge", "g6e.48xlarge"]
    }
  }

  karpenter = { enabled = true }
  # All replicas read their weights at the same time after an outage; 125 is too slow for that without the burst.
  lustre = { enabled = true, throughput_mbs_per_tib = 250 }
  # A game day's load comes through the load balancer from one address, the NAT gateway's.
  waf                 = { enabled = true, requests_per_5min = 60000 }
  managed_prometheus  = false
  deletion_protection = false
  log_retention_days  = 90

  admin_role_arns     = var.admin_role_arns
  public_access_cidrs = var.public_access_cidrs
  model_bucket_name   = var.model_bucket_name
  domain              = var.domain
  install_operators   = var.install_operators
  budget              = { usd_per_month = 10000, emails = var.budget_emails }
}
