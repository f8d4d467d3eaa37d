# What is planned. Needs the AWS and Helm providers' schemas, but neither an account nor credentials.
mock_provider "aws" {
  override_during = plan

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_data "aws_region" {
    defaults = { region = "us-east-1" }
  }

  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111122223333:role/mock" }
  }

  mock_resource "aws_iam_instance_profile" {
    defaults = { arn = "arn:aws:iam::111122223333:instance-profile/mock" }
  }

  mock_resource "aws_sqs_queue" {
    defaults = { arn = "arn:aws:sqs:us-east-1:111122223333:mock" }
  }
}

mock_provider "helm" {}

variables {
  cluster_name       = "inference-test"
  cluster_arn        = "arn:aws:eks:us-east-1:111122223333:cluster/inference-test"
  kubernetes_version = "1.35"
  node_role_arn      = "arn:aws:iam::111122223333:role/node"
  node_role_name     = "node"
  security_group_id  = "sg-0123"
  subnet_ids         = { a = "subnet-1", b = "subnet-2", c = "subnet-3" }
  tags               = { Project = "p", Environment = "e", ManagedBy = "terraform", CostCenter = "c" }
  groups = {
    spot = {
      gpu            = "l4", gpus = 1, capacity_type = "SPOT", size_min = 0, size = 1, size_max = 2
      instance_types = ["g6.xlarge", "g6.2xlarge", "g6.4xlarge"]
    }
    four = {
      gpu            = "l4", gpus = 4, capacity_type = "ON_DEMAND", size_min = 1, size = 2, size_max = 3
      instance_types = ["g6.12xlarge"], zones = ["a", "b"], disk_gib = 400
    }
  }
}

run "groups_as_asked_for" {
  command = plan

  assert {
    condition     = { for name, group in aws_eks_node_group.gpu : name => group.capacity_type } == { spot = "SPOT", four = "ON_DEMAND" }
    error_message = "A group has the capacity type that it was given."
  }

  assert {
    condition     = aws_eks_node_group.gpu["spot"].instance_types == tolist(["g6.xlarge", "g6.2xlarge", "g6.4xlarge"])
    error_message = "A spot group draws on all its types."
  }

  assert {
    condition = {
      for name, group in aws_eks_node_group.gpu : name => {
        for taint in group.taint : taint.key => "${taint.value} ${taint.effect}"
      }
      } == {
      spot = { "nvidia.com/gpu" = "true NO_SCHEDULE", "faultload.io/spot" = "true NO_SCHEDULE" }
      four = { "nvidia.com/gpu" = "true NO_SCHEDULE" }
    }
    error_message = "Every GPU node has the GPU's taint, a spot node that of spot, too."
  }

  assert {
    condition     = aws_eks_node_group.gpu["four"].labels == tomap({ "faultload.io/gpu" = "l4", "faultload.io/gpus" = "4", "nvidia.com/gpu.present" = "true" })
    error_message = "Nodes say which GPU they have and how many."
  }

  assert {
    condition     = toset(aws_eks_node_group.gpu["four"].subnet_ids) == toset(["subnet-1", "subnet-2"]) && length(aws_eks_node_group.gpu["spot"].subnet_ids) == 3
    error_message = "A group stays in its zones, and is in all without."
  }

  assert {
    condition     = aws_eks_node_group.gpu["four"].scaling_config[0].desired_size == 2 && aws_eks_node_group.gpu["four"].scaling_config[0].max_size == 3
    error_message = "A group has the sizes that it was given."
  }

  assert {
    condition     = alltrue([for group in aws_eks_node_group.gpu : group.ami_type == "AL2023_x86_64_NVIDIA" && group.node_repair_config[0].enabled])
    error_message = "Nodes bring the driver, and with a broken GPU are replaced."
  }
}

run "machines_give_pods_nothing" {
  command = plan

  assert {
    condition = alltrue([
      for template in aws_launch_template.gpu :
      template.metadata_options[0].http_tokens == "required" && template.metadata_options[0].http_put_response_hop_limit == 1
    ])
    error_message = "Nodes have to refuse version 1 of the metadata service, and pods."
  }

  assert {
    condition = alltrue([
      for template in aws_launch_template.gpu : tobool(template.block_device_mappings[0].ebs[0].encrypted)
    ]) && aws_launch_template.gpu["four"].block_device_mappings[0].ebs[0].volume_size == 400
    error_message = "Disks are encrypted and as large as was asked for."
  }

  assert {
    condition = alltrue(flatten([
      for template in aws_launch_template.gpu : [for each in template.tag_specifications : each.tags["CostCenter"] == "c"]
    ])) && length(aws_launch_template.gpu["spot"].tag_specifications) == 3
    error_message = "Machines, disks and interfaces carry the tags."
  }
}

run "without_karpenter" {
  command = plan

  assert {
    condition     = length(aws_iam_role.karpenter) == 0 && length(helm_release.karpenter) == 0 && output.karpenter_manifests == null
    error_message = "Without Karpenter nothing of it is made."
  }
}

run "with_karpenter" {
  command = plan

  variables {
    karpenter = { enabled = true }
  }

  assert {
    condition     = length(helm_release.karpenter) == 1 && yamldecode(helm_release.karpenter[0].values[0]).settings.clusterName == "inference-test"
    error_message = "Karpenter is installed, for this cluster."
  }

  assert {
    condition = one([
      for each in jsondecode(aws_iam_role_policy.karpenter[0].policy).Statement : each.Condition["StringEquals"]
      if each.Sid == "TagItsOwnInstances"
    ]) == { "aws:ResourceTag/kubernetes.io/cluster/inference-test" = "owned" }
    error_message = "Karpenter tags instances after their launch, and its own only."
  }

  assert {
    condition = contains(
      flatten([for each in jsondecode(aws_iam_role_policy.karpenter[0].policy).Statement : each.Action]), "iam:ListInstanceProfiles"
    )
    error_message = "Karpenter looks for instance profiles to clean up."
  }

  assert {
    condition = toset([
      for rule in aws_cloudwatch_event_rule.interruptions : jsondecode(rule.event_pattern)["detail-type"][0]
      ]) == toset([
      "EC2 Spot Instance Interruption Warning", "EC2 Instance Rebalance Recommendation",
      "EC2 Instance State-change Notification", "AWS Health Event",
    ])
    error_message = "Karpenter hears of interruptions before they come."
  }

  assert {
    condition     = strcontains(output.karpenter_manifests, "volumeSize: 400Gi") && strcontains(output.karpenter_manifests, "{key: topology.kubernetes.io/zone, operator: In, values: [\"a\",\"b\"]}")
    error_message = "Karpenter's nodes have the disk and the zones of the groups."
  }
}

run "no_way_to_the_api_server" {
  command = plan

  variables {
    karpenter         = { enabled = true }
    install_operators = false
  }

  assert {
    condition     = length(helm_release.karpenter) == 0 && length(aws_iam_role.karpenter) == 1
    error_message = "Without a way to the API server no chart is installed, and AWS's part is made all the same."
  }
}
