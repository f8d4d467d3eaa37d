# The platform's smallest cluster, without EKS: kubeadm on three machines in three zones, one of them with
# a GPU. To learn and to compare; one control-plane node is one point of failure.

locals {
  name = "inference-kubeadm"
  tags = {
    Project     = "inference-platform"
    Environment = "kubeadm"
    ManagedBy   = "terraform"
    CostCenter  = var.cost_center
  }

  account_arn = "arn:${data.aws_partition.current.partition}:ssm:${data.aws_region.current.region}:${data.aws_caller_identity.current.account_id}"
  # Written by the control plane when it is up, read by workers: it is never in the state.
  join_parameter = "/${local.name}/join"
  pod_cidr       = "192.168.0.0/16"

  # Canonical's Ubuntu; for the GPU, AWS's own with NVIDIA's driver and container toolkit in it.
  images = {
    plain = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
    gpu   = "/aws/service/deeplearning/ami/x86_64/base-oss-nvidia-driver-gpu-ubuntu-24.04/latest/ami-id"
  }

  nodes = {
    control-plane = {
      zone   = var.zones[0], type = var.instance_types.control_plane, image = "plain", disk_gib = 30
      script = "control-plane.sh", role = "control-plane"
    }
    worker = {
      zone   = var.zones[1], type = var.instance_types.worker, image = "plain", disk_gib = 50
      script = "worker.sh", role = "worker"
    }
    # The disk holds vLLM's image and the weights.
    gpu-worker = {
      zone   = var.zones[2], type = var.instance_types.gpu_worker, image = "gpu", disk_gib = 200
      script = "worker.sh", role = "worker"
    }
  }

  settings = {
    KUBERNETES_VERSION    = var.kubernetes_version
    CALICO_VERSION        = var.calico_version
    DEVICE_PLUGIN_VERSION = var.device_plugin_version
    JOIN_PARAMETER        = local.join_parameter
    KMS_KEY_ID            = aws_kms_key.this.key_id
    POD_CIDR              = local.pod_cidr
    AWS_REGION            = data.aws_region.current.region
  }
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

data "aws_ssm_parameter" "image" {
  for_each = local.images

  name = each.value
}

resource "aws_kms_key" "this" {
  description             = local.name
  enable_key_rotation     = true
  deletion_window_in_days = 7

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
        Sid       = "FlowLogs"
        Effect    = "Allow"
        Principal = { Service = "logs.${data.aws_region.current.region}.amazonaws.com" }
        Action    = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
        Resource  = "*"
        Condition = { ArnLike = {
          "kms:EncryptionContext:aws:logs:arn" = "arn:${data.aws_partition.current.partition}:logs:${data.aws_region.current.region}:${data.aws_caller_identity.current.account_id}:log-group:/vpc/${local.name}/*"
        } }
      },
    ]
  })
}

module "network" {
  source = "../../modules/network"

  name               = local.name
  cidr               = "10.10.0.0/16"
  zones              = var.zones
  nat_gateways       = "one"
  kms_key_arn        = aws_kms_key.this.arn
  log_retention_days = 30
}

# ------------------------------------------------------------------ who may speak to whom

resource "aws_security_group" "nodes" {
  name        = "${local.name}-nodes"
  description = "Nodes of the cluster: everything among themselves, packages and images from outside"
  vpc_id      = module.network.vpc_id

  tags = { Name = "${local.name}-nodes" }
}

# The API server, kubelets and Calico's tunnels; nobody else has a way in, shells go through SSM.
resource "aws_vpc_security_group_ingress_rule" "nodes" {
  security_group_id            = aws_security_group.nodes.id
  description                  = "Nodes among themselves"
  referenced_security_group_id = aws_security_group.nodes.id
  ip_protocol                  = "-1"
}

resource "aws_vpc_security_group_egress_rule" "nodes" {
  security_group_id            = aws_security_group.nodes.id
  description                  = "Nodes among themselves"
  referenced_security_group_id = aws_security_group.nodes.id
  ip_protocol                  = "-1"
}

# Ubuntu's mirrors speak HTTP; packages are signed.
resource "aws_vpc_security_group_egress_rule" "outside" {
  for_each = { http = 80, https = 443 }

  security_group_id = aws_security_group.nodes.id
  description       = "Packages and images: ${each.key}"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = each.value
  to_port           = each.value
}

# ------------------------------------------------------------------ what nodes may do

resource "aws_iam_role" "node" {
  for_each = toset(["control-plane", "worker"])

  name = "${local.name}-${each.key}"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ec2.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy_attachment" "shell" {
  for_each = aws_iam_role.node

  role       = each.value.name
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/AmazonSSMManagedInstanceCore"
}

resource "aws_iam_role_policy" "join" {
  for_each = {
    control-plane = ["ssm:PutParameter"]
    worker        = ["ssm:GetParameter"]
  }

  name = "join"
  role = aws_iam_role.node[each.key].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect   = "Allow"
        Action   = each.value
        Resource = "${local.account_arn}:parameter${local.join_parameter}"
      },
      {
        Effect   = "Allow"
        Action   = each.key == "control-plane" ? ["kms:GenerateDataKey", "kms:Encrypt"] : ["kms:Decrypt"]
        Resource = aws_kms_key.this.arn
      },
    ]
  })
}

resource "aws_iam_instance_profile" "node" {
  for_each = aws_iam_role.node

  name = each.value.name
  role = each.value.name
}

# ------------------------------------------------------------------ the machines

resource "aws_instance" "node" {
  for_each = local.nodes

  ami                    = data.aws_ssm_parameter.image[each.value.image].insecure_value
  instance_type          = each.value.type
  subnet_id              = module.network.private_subnet_ids[each.value.zone]
  vpc_security_group_ids = [aws_security_group.nodes.id]
  iam_instance_profile   = aws_iam_instance_profile.node[each.value.role].name
  monitoring             = true
  ebs_optimized          = true

  # Settings as exports, then the scripts as they are: those can be linted, and hold no templates.
  user_data = join("\n", concat(
    ["#!/usr/bin/env bash"],
    [for name, value in local.settings : "export ${name}='${value}'"],
    [file("${path.module}/scripts/node.sh"), file("${path.module}/scripts/${each.value.script}")],
  ))
  user_data_replace_on_change = true

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  root_block_device {
    volume_type           = "gp3"
    volume_size           = each.value.disk_gib
    encrypted             = true
    delete_on_termination = true
    tags                  = merge(local.tags, { Name = "${local.name}-${each.key}" })
  }

  tags = { Name = "${local.name}-${each.key}" }

  lifecycle {
    # A newer image is no reason to lose the cluster.
    ignore_changes = [ami]
  }

  depends_on = [aws_iam_role_policy.join, module.network]
}
