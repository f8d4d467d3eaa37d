# Where users are: a gateway a zone, both tiers on demand, spot for what asks for it, and nothing that can
# be deleted by mistake.

locals {
  tags = {
    Project     = "inference-platform"
    Environment = "prod"
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

  environment = "prod"
  zones       = var.zones
  tags        = local.tags

  cidr         = "10.40.0.0/16"
  nat_gateways = "per_zone"
  # Images can be pulled while a NAT gateway is gone; layers come through the S3 endpoint anyway. Not sts: Pod
  # Identity does not ask it, and its name would be an address of the VPC then, where the charts let no pod go.
  interface_endpoints = ["ecr.api", "ecr.dkr"]

  system_nodes = {
    instance_types = ["m7i.xlarge", "m6i.xlarge"]
    size           = 3
    size_max       = 9
  }

  gpu_groups = {
    # The fast tier: one GPU an engine.
    l4 = {
      gpu            = "l4", gpus = 1, capacity_type = "ON_DEMAND", size_min = 2, size = 2, size_max = 8
      instance_types = ["g6.xlarge", "g6.2xlarge"]
    }
    l4-spot = {
      gpu            = "l4", gpus = 1, capacity_type = "SPOT", size_min = 0, size = 0, size_max = 16
      instance_types = ["g6.xlarge", "g6.2xlarge", "g6.4xlarge", "g6.8xlarge"]
    }
    # The reasoning tier: four GPUs an engine, tensor parallel.
    l40s-x4 = {
      gpu            = "l40s", gpus = 4, capacity_type = "ON_DEMAND", size_min = 2, size = 2, size_max = 4
      instance_types = ["g6e.12xlarge", "g6e.24xlarge"]
    }
    l40s-x4-spot = {
      gpu            = "l40s", gpus = 4, capacity_type = "SPOT", size_min = 0, size = 0, size_max = 4
      instance_types = ["g6e.12xlarge", "g6e.24xlarge", "g6e.48xlarge"]
    }
    # For models that fit nowhere else; none runs until one is asked for.
    h100 = {
      gpu            = "h100", gpus = 1, capacity_type = "ON_DEMAND", size_min = 0, size = 0, size_max = 2
      instance_types = ["p5.4xlarge"]
    }
  }

  karpenter           = { enabled = true }
  lustre              = { enabled = true, capacity_gib = 2400, throughput_mbs_per_tib = 250 }
  waf                 = { enabled = true }
  managed_prometheus  = true
  deletion_protection = true

  admin_role_arns     = var.admin_role_arns
  public_access_cidrs = var.public_access_cidrs
  model_bucket_name   = var.model_bucket_name
  domain              = var.domain
  install_operators   = var.install_operators
  budget              = { usd_per_month = 25000, emails = var.budget_emails }
}
