# One environment of the platform: what the other modules make, joined. dev, staging and prod are this
# with other arguments, so that what was tried in one is what runs in the next.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  name = "inference-${var.environment}"
}

# ------------------------------------------------------------------ the environment's key

# For logs, secrets, models, images and the file system. Node disks use the account's EBS key.
resource "aws_kms_key" "this" {
  description             = local.name
  enable_key_rotation     = true
  deletion_window_in_days = 30

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "IamDecides"
        Effect    = "Allow"
        Principal = { AWS = "arn:${data.aws_partition.current.partition}:iam::${data.aws_caller_identity.current.account_id}:root" }
        Action    = "kms:*"
        Resource  = "*"
      },
      {
        Sid       = "LogsOfThisEnvironment"
        Effect    = "Allow"
        Principal = { Service = "logs.${data.aws_region.current.region}.amazonaws.com" }
        Action    = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
        Resource  = "*"
        Condition = { ArnLike = {
          "kms:EncryptionContext:aws:logs:arn" = [
            for prefix in ["/vpc", "/aws/eks"] :
            "arn:${data.aws_partition.current.partition}:logs:${data.aws_region.current.region}:${data.aws_caller_identity.current.account_id}:log-group:${prefix}/${local.name}/*"
          ]
        } }
      },
      # A file system that is linked to the bucket reads it with a role of its own, which FSx makes then, names
      # after the file system, and gives rights to S3 and none to keys.
      {
        Sid       = "FileSystemsOfTheModels"
        Effect    = "Allow"
        Principal = { AWS = "*" }
        Action    = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
        Resource  = "*"
        Condition = {
          StringEquals = {
            "kms:CallerAccount" = data.aws_caller_identity.current.account_id
            "kms:ViaService"    = "s3.${data.aws_region.current.region}.amazonaws.com"
          }
          # With bucket keys S3 names the bucket, without them the object.
          StringLike = {
            "kms:EncryptionContext:aws:s3:arn" = [
              for suffix in ["", "/*"] : "arn:${data.aws_partition.current.partition}:s3:::${var.model_bucket_name}${suffix}"
            ]
          }
          ArnLike = {
            "aws:PrincipalArn" = "arn:${data.aws_partition.current.partition}:iam::${data.aws_caller_identity.current.account_id}:role/aws-service-role/s3.data-source.lustre.fsx.amazonaws.com/AWSServiceRoleForFSxS3Access_*"
          }
        }
      },
    ]
  })
}

resource "aws_kms_alias" "this" {
  name          = "alias/${local.name}"
  target_key_id = aws_kms_key.this.key_id
}

# ------------------------------------------------------------------ what it is made of

module "network" {
  source = "../network"

  name                = local.name
  cidr                = var.cidr
  zones               = var.zones
  nat_gateways        = var.nat_gateways
  interface_endpoints = var.interface_endpoints
  kms_key_arn         = aws_kms_key.this.arn
  log_retention_days  = var.log_retention_days
  cluster_name        = local.name
}

module "cluster" {
  source = "../cluster"

  name                = local.name
  kubernetes_version  = var.kubernetes_version
  subnet_ids          = values(module.network.private_subnet_ids)
  public_access_cidrs = var.public_access_cidrs
  admin_role_arns     = var.admin_role_arns
  viewer_role_arns    = var.viewer_role_arns
  kms_key_arn         = aws_kms_key.this.arn
  system_nodes        = var.system_nodes
  deletion_protection = var.deletion_protection
  log_retention_days  = var.log_retention_days
  tags                = var.tags
}

module "gpu_nodes" {
  source = "../gpu-nodes"

  cluster_name       = module.cluster.name
  cluster_arn        = module.cluster.arn
  kubernetes_version = module.cluster.version
  node_role_arn      = module.cluster.node_role_arn
  node_role_name     = module.cluster.node_role_name
  security_group_id  = module.cluster.security_group_id
  subnet_ids         = module.network.private_subnet_ids
  groups             = var.gpu_groups
  karpenter          = var.karpenter
  install_operators  = var.install_operators
  tags               = var.tags
}

module "model_registry" {
  source = "../model-registry"

  name                = local.name
  bucket_name         = var.model_bucket_name
  kms_key_arn         = aws_kms_key.this.arn
  deletion_protection = var.deletion_protection
}

module "storage" {
  source = "../storage"

  name   = local.name
  vpc_id = module.network.vpc_id
  # The first zone: nodes in another one read across, at the price of traffic between zones.
  subnet_id         = module.network.private_subnet_ids[var.zones[0]]
  security_group_id = module.cluster.security_group_id
  model_bucket      = module.model_registry.bucket
  kms_key_arn       = aws_kms_key.this.arn
  lustre            = var.lustre
}

module "observability" {
  source = "../observability"

  name               = local.name
  cluster_name       = module.cluster.name
  cluster_arn        = module.cluster.arn
  install_operators  = var.install_operators
  managed_prometheus = var.managed_prometheus
  kms_key_arn        = aws_kms_key.this.arn

  depends_on = [module.cluster]
}

module "identity" {
  source = "../identity"

  cluster_name                 = module.cluster.name
  cluster_arn                  = module.cluster.arn
  mode                         = var.identity_mode
  oidc_issuer_url              = module.cluster.oidc_issuer_url
  model_bucket_arn             = module.model_registry.bucket_arn
  model_table_arn              = module.model_registry.table_arn
  kms_key_arn                  = aws_kms_key.this.arn
  prometheus_workspace_arn     = module.observability.workspace_arn
  prometheus_workspace_enabled = var.managed_prometheus
}

module "ingress" {
  source = "../ingress"

  name                = local.name
  cluster_name        = module.cluster.name
  cluster_arn         = module.cluster.arn
  vpc_id              = module.network.vpc_id
  public_subnet_ids   = values(module.network.public_subnet_ids)
  security_group_id   = module.cluster.security_group_id
  domain              = var.domain
  waf                 = var.waf
  install_controller  = var.install_operators
  deletion_protection = var.deletion_protection
}

# ------------------------------------------------------------------ what it may cost

resource "aws_budgets_budget" "this" {
  name         = local.name
  budget_type  = "COST"
  limit_amount = tostring(var.budget.usd_per_month)
  limit_unit   = "USD"
  time_unit    = "MONTHLY"

  # The tag has to be activated for cost allocation once, in the account's billing settings.
  cost_filter {
    name   = "TagKeyValue"
    values = [format("user:Environment$%s", var.environment)]
  }

  dynamic "notification" {
    for_each = { ACTUAL = 80, FORECASTED = 100 }

    content {
      comparison_operator        = "GREATER_THAN"
      notification_type          = notification.key
      threshold                  = notification.value
      threshold_type             = "PERCENTAGE"
      subscriber_email_addresses = var.budget.emails
    }
  }
}
