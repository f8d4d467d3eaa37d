# Option: Karpenter launches GPU nodes for pods that fit nowhere, of the same groups' instance types.
# Managed groups keep what must always be there, at the size they were given; Karpenter adds and removes the rest.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  karpenter_count = var.karpenter.enabled ? 1 : 0
  arn_prefix      = "arn:${data.aws_partition.current.partition}"
  ec2_arn         = "${local.arn_prefix}:ec2:${data.aws_region.current.region}"
  # What Karpenter made for this cluster, by the tag that it puts on it.
  owned = { StringEquals = { "aws:ResourceTag/kubernetes.io/cluster/${var.cluster_name}" = "owned" } }
  owns = {
    StringEquals = {
      "aws:RequestTag/kubernetes.io/cluster/${var.cluster_name}" = "owned"
      "aws:RequestTag/eks:eks-cluster-name"                      = var.cluster_name
    }
    StringLike = { "aws:RequestTag/karpenter.sh/nodepool" = "*" }
  }

  karpenter_manifests = templatefile("${path.module}/karpenter.yaml.tftpl", {
    cluster_name      = var.cluster_name
    groups            = var.groups
    labels            = local.labels
    taints            = local.taints
    instance_profile  = one(aws_iam_instance_profile.karpenter[*].name)
    security_group_id = var.security_group_id
    subnet_ids        = values(var.subnet_ids)
    tags              = var.tags
    # One node class for all pools: as much disk as the group with most.
    disk_gib = max([for group in var.groups : group.disk_gib]...)
    zones    = { for name, group in var.groups : name => group.zones == null ? keys(var.subnet_ids) : tolist(group.zones) }
  })
}

resource "aws_iam_instance_profile" "karpenter" {
  count = local.karpenter_count

  name = "${var.cluster_name}-karpenter-node"
  role = var.node_role_name
}

resource "aws_iam_role" "karpenter" {
  count = local.karpenter_count

  name = "${var.cluster_name}-karpenter"

  assume_role_policy = jsonencode({
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
}

resource "aws_iam_role_policy" "karpenter" {
  count = local.karpenter_count

  name = "launch-nodes"
  role = aws_iam_role.karpenter[0].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "LaunchFromWhatIsThere"
        Effect = "Allow"
        Action = ["ec2:RunInstances", "ec2:CreateFleet"]
        Resource = concat(
          [for kind in ["image", "snapshot"] : "${local.ec2_arn}::${kind}/*"],
          [for kind in ["security-group", "subnet", "capacity-reservation"] : "${local.ec2_arn}:*:${kind}/*"],
        )
      },
      {
        Sid       = "LaunchFromItsOwnTemplates"
        Effect    = "Allow"
        Action    = ["ec2:RunInstances", "ec2:CreateFleet"]
        Resource  = "${local.ec2_arn}:*:launch-template/*"
        Condition = local.owned
      },
      {
        Sid    = "MakeWhatIsTaggedAsItsOwn"
        Effect = "Allow"
        Action = ["ec2:RunInstances", "ec2:CreateFleet", "ec2:CreateLaunchTemplate"]
        Resource = [
          for kind in ["fleet", "instance", "volume", "network-interface", "launch-template", "spot-instances-request"] :
          "${local.ec2_arn}:*:${kind}/*"
        ]
        Condition = local.owns
      },
      {
        Sid      = "TagWhatItMakes"
        Effect   = "Allow"
        Action   = "ec2:CreateTags"
        Resource = [for kind in ["fleet", "instance", "volume", "network-interface", "launch-template", "spot-instances-request"] : "${local.ec2_arn}:*:${kind}/*"]
        Condition = merge(local.owns, {
          StringEquals = merge(local.owns.StringEquals, {
            "ec2:CreateAction" = ["RunInstances", "CreateFleet", "CreateLaunchTemplate"]
          })
        })
      },
      # Once an instance runs: its name, and the claim that it was launched for.
      {
        Sid      = "TagItsOwnInstances"
        Effect   = "Allow"
        Action   = "ec2:CreateTags"
        Resource = "${local.ec2_arn}:*:instance/*"
        Condition = {
          StringEquals                = local.owned.StringEquals
          StringLike                  = { "aws:ResourceTag/karpenter.sh/nodepool" = "*" }
          StringEqualsIfExists        = { "aws:RequestTag/eks:eks-cluster-name" = var.cluster_name }
          "ForAllValues:StringEquals" = { "aws:TagKeys" = ["eks:eks-cluster-name", "karpenter.sh/nodeclaim", "Name"] }
        }
      },
      {
        Sid       = "EndItsOwn"
        Effect    = "Allow"
        Action    = ["ec2:TerminateInstances", "ec2:DeleteLaunchTemplate"]
        Resource  = [for kind in ["instance", "launch-template"] : "${local.ec2_arn}:*:${kind}/*"]
        Condition = local.owned
      },
      {
        Sid    = "Look"
        Effect = "Allow"
        Action = [
          "ec2:DescribeAvailabilityZones", "ec2:DescribeCapacityReservations", "ec2:DescribeImages",
          "ec2:DescribeInstances", "ec2:DescribeInstanceTypeOfferings", "ec2:DescribeInstanceTypes",
          "ec2:DescribeInstanceStatus", "ec2:DescribeLaunchTemplates", "ec2:DescribeSecurityGroups",
          "ec2:DescribeSpotPriceHistory", "ec2:DescribeSubnets", "pricing:GetProducts",
        ]
        # EC2's and the price list's read calls know no resources.
        Resource = "*"
      },
      {
        Sid      = "FindImages"
        Effect   = "Allow"
        Action   = "ssm:GetParameter"
        Resource = "${local.arn_prefix}:ssm:${data.aws_region.current.region}::parameter/aws/service/eks/*"
      },
      {
        Sid      = "GiveNodesTheirRole"
        Effect   = "Allow"
        Action   = ["iam:PassRole"]
        Resource = var.node_role_arn
        Condition = {
          StringEquals = { "iam:PassedToService" = "ec2.amazonaws.com" }
        }
      },
      {
        Sid      = "ReadTheInstanceProfile"
        Effect   = "Allow"
        Action   = "iam:GetInstanceProfile"
        Resource = aws_iam_instance_profile.karpenter[0].arn
      },
      # It looks for profiles of its own making to clean up; ours is none, so it finds nothing.
      {
        Sid      = "ListInstanceProfiles"
        Effect   = "Allow"
        Action   = "iam:ListInstanceProfiles"
        Resource = "${local.arn_prefix}:iam::${data.aws_caller_identity.current.account_id}:instance-profile/*"
      },
      {
        Sid      = "FindTheCluster"
        Effect   = "Allow"
        Action   = "eks:DescribeCluster"
        Resource = var.cluster_arn
      },
      {
        Sid      = "HearOfInterruptions"
        Effect   = "Allow"
        Action   = ["sqs:DeleteMessage", "sqs:GetQueueUrl", "sqs:ReceiveMessage"]
        Resource = aws_sqs_queue.interruptions[0].arn
      },
    ]
  })
}

resource "aws_eks_pod_identity_association" "karpenter" {
  count = local.karpenter_count

  cluster_name    = var.cluster_name
  namespace       = "kube-system"
  service_account = "karpenter"
  role_arn        = aws_iam_role.karpenter[0].arn
}

# ------------------------------------------------------------------ interruption notices

resource "aws_sqs_queue" "interruptions" {
  count = local.karpenter_count

  name = "${var.cluster_name}-interruptions"
  # A notice is worthless after its two minutes; five leave room for a restart of Karpenter.
  message_retention_seconds = 300
  sqs_managed_sse_enabled   = true
}

resource "aws_sqs_queue_policy" "interruptions" {
  count = local.karpenter_count

  queue_url = aws_sqs_queue.interruptions[0].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "EventsOfThisAccount"
        Effect    = "Allow"
        Principal = { Service = "events.amazonaws.com" }
        Action    = "sqs:SendMessage"
        Resource  = aws_sqs_queue.interruptions[0].arn
        Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } }
      },
      {
        Sid       = "TlsOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Resource  = aws_sqs_queue.interruptions[0].arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })
}

resource "aws_cloudwatch_event_rule" "interruptions" {
  for_each = var.karpenter.enabled ? {
    spot      = { source = "aws.ec2", type = "EC2 Spot Instance Interruption Warning" }
    rebalance = { source = "aws.ec2", type = "EC2 Instance Rebalance Recommendation" }
    state     = { source = "aws.ec2", type = "EC2 Instance State-change Notification" }
    health    = { source = "aws.health", type = "AWS Health Event" }
  } : {}

  name        = "${var.cluster_name}-${each.key}"
  description = "Tells Karpenter: ${each.value.type}"

  event_pattern = jsonencode({
    source      = [each.value.source]
    detail-type = [each.value.type]
  })
}

resource "aws_cloudwatch_event_target" "interruptions" {
  for_each = aws_cloudwatch_event_rule.interruptions

  rule = each.value.name
  arn  = aws_sqs_queue.interruptions[0].arn
}

# ------------------------------------------------------------------ the controller

resource "helm_release" "karpenter" {
  count = var.install_operators ? local.karpenter_count : 0

  name       = "karpenter"
  repository = "oci://public.ecr.aws/karpenter"
  chart      = "karpenter"
  version    = var.karpenter.chart_version
  namespace  = "kube-system"

  values = [yamlencode({
    serviceAccount = { name = "karpenter" }
    settings = {
      clusterName       = var.cluster_name
      interruptionQueue = aws_sqs_queue.interruptions[0].name
    }
  })]

  depends_on = [aws_eks_pod_identity_association.karpenter, aws_iam_role_policy.karpenter]
}
