# What pods may do in AWS: one role for each ServiceAccount, and nothing for the nodes to share.

data "aws_caller_identity" "current" {}

locals {
  read_models = [
    {
      Sid      = "ReadModels"
      Effect   = "Allow"
      Action   = ["s3:GetObject", "s3:GetObjectVersion"]
      Resource = "${var.model_bucket_arn}/models/*"
    },
    {
      Sid       = "ListModels"
      Effect    = "Allow"
      Action    = "s3:ListBucket"
      Resource  = var.model_bucket_arn
      Condition = { StringLike = { "s3:prefix" = ["models/*"] } }
    },
    {
      Sid      = "ReadVersions"
      Effect   = "Allow"
      Action   = ["dynamodb:GetItem", "dynamodb:Query"]
      Resource = var.model_table_arn
    },
    {
      Sid      = "Decrypt"
      Effect   = "Allow"
      Action   = "kms:Decrypt"
      Resource = var.kms_key_arn
    },
  ]
  workspace = coalesce(var.prometheus_workspace_arn, "arn:aws:aps:::none")

  # ServiceAccounts as the charts name them. No statement: a role without rights, whose name is there to
  # be given some.
  service_accounts = {
    vllm = { namespace = "inference", statements = local.read_models }
    prometheus = { namespace = "observability", statements = var.prometheus_workspace_enabled ? [{
      Sid      = "WriteSamples"
      Effect   = "Allow"
      Action   = ["aps:RemoteWrite", "aps:QueryMetrics", "aps:GetLabels", "aps:GetSeries", "aps:GetMetricMetadata"]
      Resource = local.workspace
    }] : [] }
    keda-operator = { namespace = "observability", statements = var.prometheus_workspace_enabled ? [{
      Sid      = "AskForSamples"
      Effect   = "Allow"
      Action   = ["aps:QueryMetrics", "aps:GetLabels", "aps:GetSeries", "aps:GetMetricMetadata"]
      Resource = local.workspace
    }] : [] }
  }

  issuer = trimprefix(var.oidc_issuer_url, "https://")

  trust = {
    for account, each in local.service_accounts : account => {
      pod_identity = jsonencode({
        Version = "2012-10-17"
        Statement = [{
          Effect    = "Allow"
          Principal = { Service = "pods.eks.amazonaws.com" }
          Action    = ["sts:AssumeRole", "sts:TagSession"]
          Condition = {
            StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id }
            ArnEquals    = { "aws:SourceArn" = var.cluster_arn }
          }
        }]
      })
      irsa = jsonencode({
        Version = "2012-10-17"
        Statement = [{
          Effect    = "Allow"
          Principal = { Federated = one(aws_iam_openid_connect_provider.cluster[*].arn) }
          Action    = "sts:AssumeRoleWithWebIdentity"
          Condition = { StringEquals = {
            "${local.issuer}:aud" = "sts.amazonaws.com"
            "${local.issuer}:sub" = "system:serviceaccount:${each.namespace}:${account}"
          } }
        }]
      })
    }[var.mode]
  }
}

resource "aws_iam_openid_connect_provider" "cluster" {
  count = var.mode == "irsa" ? 1 : 0

  url            = var.oidc_issuer_url
  client_id_list = ["sts.amazonaws.com"]
}

resource "aws_iam_role" "this" {
  for_each = local.service_accounts

  name               = "${var.cluster_name}-${each.key}"
  assume_role_policy = local.trust[each.key]
}

resource "aws_iam_role_policy" "this" {
  for_each = { for account, each in local.service_accounts : account => each if length(each.statements) > 0 }

  name   = each.key
  role   = aws_iam_role.this[each.key].id
  policy = jsonencode({ Version = "2012-10-17", Statement = each.value.statements })
}

resource "aws_eks_pod_identity_association" "this" {
  for_each = { for account, each in local.service_accounts : account => each if var.mode == "pod_identity" }

  cluster_name    = var.cluster_name
  namespace       = each.value.namespace
  service_account = each.key
  role_arn        = aws_iam_role.this[each.key].arn
}
