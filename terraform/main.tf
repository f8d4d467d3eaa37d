# What the harness needs in AWS: a place for reports, and roles for the pods, for CI and for schedules.
# The platform under test is platform/terraform's; nothing here makes a part of it.

locals {
  name = "faultload-${var.environment}"
  tags = {
    Project     = "faultload"
    Environment = var.environment
    ManagedBy   = "terraform"
    CostCenter  = var.cost_center
  }

  partition = data.aws_partition.current.partition
  account   = data.aws_caller_identity.current.account_id
  region    = data.aws_region.current.region

  cluster_arn = "arn:${local.partition}:eks:${local.region}:${local.account}:cluster/${var.cluster_name}"

  write_reports = [
    {
      Sid      = "WriteReports"
      Effect   = "Allow"
      Action   = ["s3:PutObject", "s3:GetObject"]
      Resource = "${aws_s3_bucket.reports.arn}/*"
    },
    {
      Sid      = "ListReports"
      Effect   = "Allow"
      Action   = "s3:ListBucket"
      Resource = aws_s3_bucket.reports.arn
    },
    {
      Sid      = "EncryptReports"
      Effect   = "Allow"
      Action   = ["kms:GenerateDataKey", "kms:Decrypt"]
      Resource = aws_kms_key.this.arn
    },
  ]
}

data "aws_default_tags" "current" {}

check "tags" {
  assert {
    condition     = length(setsubtract(["Project", "Environment", "ManagedBy", "CostCenter"], keys(data.aws_default_tags.current.tags))) == 0
    error_message = "The provider's default tags have to name Project, Environment, ManagedBy and CostCenter."
  }
}

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

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
        Principal = { AWS = "arn:${local.partition}:iam::${local.account}:root" }
        Action    = "kms:*"
        Resource  = "*"
      },
      {
        Sid       = "LogsOfExperiments"
        Effect    = "Allow"
        Principal = { Service = "logs.${local.region}.amazonaws.com" }
        Action    = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
        Resource  = "*"
        Condition = { ArnLike = {
          "kms:EncryptionContext:aws:logs:arn" = "arn:${local.partition}:logs:${local.region}:${local.account}:log-group:/aws/fis/${local.name}"
        } }
      },
    ]
  })
}

# ------------------------------------------------------------------ reports

resource "aws_s3_bucket" "reports" {
  #checkov:skip=CKV2_AWS_62:Nothing waits for new objects here
  #checkov:skip=CKV_AWS_144:Reports are copies of what CI and the CronJob also keep for a while
  #checkov:skip=CKV_AWS_18:Two roles can reach it; CloudTrail's data events say which did
  bucket = var.report_bucket_name
}

resource "aws_s3_bucket_versioning" "reports" {
  bucket = aws_s3_bucket.reports.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "reports" {
  bucket = aws_s3_bucket.reports.id

  rule {
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.this.arn
    }
  }
}

resource "aws_s3_bucket_public_access_block" "reports" {
  bucket                  = aws_s3_bucket.reports.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_policy" "reports" {
  bucket = aws_s3_bucket.reports.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "TlsOnly"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = [aws_s3_bucket.reports.arn, "${aws_s3_bucket.reports.arn}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })

  depends_on = [aws_s3_bucket_public_access_block.reports]
}

resource "aws_s3_bucket_lifecycle_configuration" "reports" {
  bucket = aws_s3_bucket.reports.id

  rule {
    id     = "old-reports"
    status = "Enabled"
    filter {}

    expiration {
      days = var.report_days
    }

    noncurrent_version_expiration {
      noncurrent_days = 30
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }
}

# ------------------------------------------------------------------ the harness in the cluster

resource "aws_iam_role" "faultload" {
  name = local.name

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "pods.eks.amazonaws.com" }
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      Condition = {
        StringEquals = { "aws:SourceAccount" = local.account }
        ArnEquals    = { "aws:SourceArn" = local.cluster_arn }
      }
    }]
  })
}

resource "aws_iam_role_policy" "faultload" {
  name   = "reports-and-experiments"
  role   = aws_iam_role.faultload.id
  policy = jsonencode({ Version = "2012-10-17", Statement = concat(local.write_reports, local.use_experiments) })
}

resource "aws_eks_pod_identity_association" "faultload" {
  cluster_name    = var.cluster_name
  namespace       = "faultload"
  service_account = "faultload"
  role_arn        = aws_iam_role.faultload.arn
}
