# GPU nodes as managed groups. EKS turns capacity rebalancing on for every managed spot group: a node
# at risk gets a replacement first, and is drained when that is ready or the two-minute notice comes.

resource "aws_launch_template" "gpu" {
  for_each = var.groups

  name_prefix = "${var.cluster_name}-${each.key}-"

  # One hop: pods cannot reach the node's credentials, they have their own.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_type = "gp3"
      volume_size = each.value.disk_gib
      # An image of 10 GB has to be read and unpacked before anything starts.
      throughput            = 500
      iops                  = 4000
      encrypted             = true
      delete_on_termination = true
    }
  }

  monitoring {
    enabled = true
  }

  dynamic "tag_specifications" {
    for_each = toset(["instance", "volume", "network-interface"])

    content {
      resource_type = tag_specifications.key
      tags          = merge(var.tags, { Name = "${var.cluster_name}-${each.key}" })
    }
  }
}

resource "aws_eks_node_group" "gpu" {
  for_each = var.groups

  cluster_name    = var.cluster_name
  node_group_name = each.key
  node_role_arn   = var.node_role_arn
  subnet_ids      = [for zone, id in var.subnet_ids : id if each.value.zones == null || contains(coalesce(each.value.zones, []), zone)]
  # Driver and container toolkit are in it; the device plugin is not (modules/observability).
  ami_type       = "AL2023_x86_64_NVIDIA"
  capacity_type  = each.value.capacity_type
  instance_types = each.value.instance_types
  version        = var.kubernetes_version
  labels         = local.labels[each.key]

  launch_template {
    id      = aws_launch_template.gpu[each.key].id
    version = aws_launch_template.gpu[each.key].latest_version
  }

  scaling_config {
    min_size     = each.value.size_min
    desired_size = each.value.size
    max_size     = each.value.size_max
  }

  update_config {
    max_unavailable = 1
  }

  # Xid errors that want a new machine (79, 119, 140, ...) get one. One at a time: a bad driver release
  # would otherwise take every node at once.
  node_repair_config {
    enabled                           = true
    max_parallel_nodes_repaired_count = 1
  }

  dynamic "taint" {
    for_each = local.taints[each.key]

    content {
      key    = taint.key
      value  = taint.value
      effect = "NO_SCHEDULE"
    }
  }

  lifecycle {
    # Whoever gives a group another size, in an incident or a game day, is not undone by the next apply.
    ignore_changes = [scaling_config[0].desired_size]
  }
}
