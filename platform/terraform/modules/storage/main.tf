# What nodes read while they start: models from a Lustre file system in front of the bucket, images from ECR.

# ------------------------------------------------------------------ FSx for Lustre

locals {
  lustre_count = var.lustre.enabled ? 1 : 0
  # Lustre's own ports: 988, and 1018 to 1023 between clients and servers.
  lustre_ports = var.lustre.enabled ? { first = [988, 988], rest = [1018, 1023] } : {}
}

resource "aws_security_group" "lustre" {
  count = local.lustre_count

  name        = "${var.name}-lustre"
  description = "FSx for Lustre: nodes of the cluster, and its own servers"
  vpc_id      = var.vpc_id

  tags = { Name = "${var.name}-lustre" }
}

resource "aws_vpc_security_group_ingress_rule" "lustre_nodes" {
  for_each = local.lustre_ports

  security_group_id            = aws_security_group.lustre[0].id
  description                  = "Lustre from the nodes"
  referenced_security_group_id = var.security_group_id
  ip_protocol                  = "tcp"
  from_port                    = each.value[0]
  to_port                      = each.value[1]
}

resource "aws_vpc_security_group_ingress_rule" "lustre_servers" {
  for_each = local.lustre_ports

  security_group_id            = aws_security_group.lustre[0].id
  description                  = "Lustre between its servers"
  referenced_security_group_id = aws_security_group.lustre[0].id
  ip_protocol                  = "tcp"
  from_port                    = each.value[0]
  to_port                      = each.value[1]
}

resource "aws_vpc_security_group_egress_rule" "lustre_nodes" {
  for_each = local.lustre_ports

  security_group_id            = aws_security_group.lustre[0].id
  description                  = "Lustre to the nodes"
  referenced_security_group_id = var.security_group_id
  ip_protocol                  = "tcp"
  from_port                    = each.value[0]
  to_port                      = each.value[1]
}

resource "aws_vpc_security_group_egress_rule" "lustre_servers" {
  for_each = local.lustre_ports

  security_group_id            = aws_security_group.lustre[0].id
  description                  = "Lustre between its servers"
  referenced_security_group_id = aws_security_group.lustre[0].id
  ip_protocol                  = "tcp"
  from_port                    = each.value[0]
  to_port                      = each.value[1]
}

resource "aws_fsx_lustre_file_system" "models" {
  count = local.lustre_count

  deployment_type             = "PERSISTENT_2"
  storage_type                = "SSD"
  storage_capacity            = var.lustre.capacity_gib
  per_unit_storage_throughput = var.lustre.throughput_mbs_per_tib
  data_compression_type       = "NONE" # weights do not compress
  subnet_ids                  = [var.subnet_id]
  security_group_ids          = [aws_security_group.lustre[0].id]
  kms_key_id                  = var.kms_key_arn

  tags = { Name = "${var.name}-models" }
}

resource "aws_fsx_data_repository_association" "models" {
  count = local.lustre_count

  file_system_id = aws_fsx_lustre_file_system.models[0].id
  # The whole file system is the bucket's models: mounted at /models, it has /models/NAME/VERSION.
  file_system_path     = "/"
  data_repository_path = "s3://${var.model_bucket}/models"
  # Names at once, contents when first read.
  batch_import_meta_data_on_create = true

  s3 {
    auto_import_policy {
      events = ["NEW", "CHANGED", "DELETED"]
    }

    # Off unless asked for: what a pod writes into the cache must not become a model.
    dynamic "auto_export_policy" {
      for_each = var.lustre.copy_back_to_the_bucket ? [1] : []

      content {
        events = ["NEW", "CHANGED", "DELETED"]
      }
    }
  }
}

# ------------------------------------------------------------------ ECR

resource "aws_ecr_repository" "this" {
  for_each = var.repositories

  name = "${var.name}/${each.key}"
  # A tag means one image for ever: a rollback brings back what ran.
  image_tag_mutability = "IMMUTABLE"

  image_scanning_configuration {
    scan_on_push = true
  }

  encryption_configuration {
    encryption_type = "KMS"
    kms_key         = var.kms_key_arn
  }
}

resource "aws_ecr_lifecycle_policy" "this" {
  for_each = aws_ecr_repository.this

  repository = each.value.name

  policy = jsonencode({
    rules = [
      {
        rulePriority = 1
        description  = "Layers of builds that never got a tag"
        selection    = { tagStatus = "untagged", countType = "sinceImagePushed", countUnit = "days", countNumber = 7 }
        action       = { type = "expire" }
      },
      {
        rulePriority = 2
        description  = "All but the newest"
        selection    = { tagStatus = "any", countType = "imageCountMoreThan", countNumber = var.images_kept }
        action       = { type = "expire" }
      },
    ]
  })
}
