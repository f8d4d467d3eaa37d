# What is planned. Needs the AWS provider's schema, but neither an account nor credentials.
mock_provider "aws" {
  override_during = plan

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111122223333:role/mock" }
  }

  mock_resource "aws_eks_cluster" {
    defaults = {
      arn                   = "arn:aws:eks:us-east-1:111122223333:cluster/inference-test"
      certificate_authority = [{ data = "Y2E=" }]
      identity              = [{ oidc = [{ issuer = "https://oidc.eks.us-east-1.amazonaws.com/id/1" }] }]
    }
  }
}

variables {
  name                = "inference-test"
  subnet_ids          = ["subnet-1", "subnet-2", "subnet-3"]
  admin_role_arns     = ["arn:aws:iam::111122223333:role/admin"]
  viewer_role_arns    = ["arn:aws:iam::111122223333:role/viewer"]
  kms_key_arn         = "arn:aws:kms:us-east-1:111122223333:key/1"
  system_nodes        = { instance_types = ["m7i.large"], size = 2, size_max = 4 }
  deletion_protection = true
  tags                = { Project = "p", Environment = "e", ManagedBy = "terraform", CostCenter = "c" }
}

run "closed_to_the_world" {
  command = plan

  assert {
    condition     = aws_eks_cluster.this.vpc_config[0].endpoint_private_access && !aws_eks_cluster.this.vpc_config[0].endpoint_public_access
    error_message = "Without public_access_cidrs the API server answers the VPC only."
  }

  assert {
    condition     = aws_eks_cluster.this.access_config[0].authentication_mode == "API" && !aws_eks_cluster.this.access_config[0].bootstrap_cluster_creator_admin_permissions
    error_message = "Whoever enters the cluster has an access entry, its maker, too."
  }

  assert {
    condition     = aws_eks_cluster.this.encryption_config[0].provider[0].key_arn == var.kms_key_arn && aws_eks_cluster.this.encryption_config[0].resources == toset(["secrets"])
    error_message = "Secrets are encrypted with the environment's key."
  }

  assert {
    condition     = aws_eks_cluster.this.deletion_protection && aws_eks_cluster.this.upgrade_policy[0].support_type == "STANDARD"
    error_message = "The cluster is protected, and never slips into extended support."
  }

  assert {
    condition     = aws_cloudwatch_log_group.cluster.name == "/aws/eks/inference-test/cluster" && aws_cloudwatch_log_group.cluster.kms_key_id == var.kms_key_arn
    error_message = "Control plane logs go where EKS looks, encrypted."
  }
}

run "open_to_some" {
  command = plan

  variables {
    public_access_cidrs = ["203.0.113.0/24"]
  }

  assert {
    condition     = aws_eks_cluster.this.vpc_config[0].endpoint_public_access && aws_eks_cluster.this.vpc_config[0].public_access_cidrs == toset(["203.0.113.0/24"])
    error_message = "Those named, and only those, reach the API server from outside."
  }
}

run "who_may_do_what" {
  command = plan

  assert {
    condition = {
      for arn, each in aws_eks_access_policy_association.this : arn => reverse(split("/", each.policy_arn))[0]
      } == {
      "arn:aws:iam::111122223333:role/admin"  = "AmazonEKSClusterAdminPolicy"
      "arn:aws:iam::111122223333:role/viewer" = "AmazonEKSViewPolicy"
    }
    error_message = "Administrators administer, viewers look."
  }

  assert {
    condition = alltrue([
      for role in aws_iam_role.addon : jsondecode(role.assume_role_policy).Statement[0].Condition == {
        StringEquals = { "aws:SourceAccount" = "111122223333" }
        ArnEquals    = { "aws:SourceArn" = "arn:aws:eks:us-east-1:111122223333:cluster/inference-test" }
      }
    ])
    error_message = "An add-on's role is for pods of this cluster alone."
  }
}

run "addons_and_system_nodes" {
  command = plan

  assert {
    condition     = toset(keys(aws_eks_addon.before_nodes)) == toset(["eks-pod-identity-agent", "kube-proxy", "vpc-cni"])
    error_message = "Network and credentials come before the first node."
  }

  assert {
    condition     = toset(keys(aws_eks_addon.after_nodes)) == toset(["coredns", "aws-ebs-csi-driver", "aws-fsx-csi-driver", "metrics-server", "eks-node-monitoring-agent"])
    error_message = "What needs nodes comes after them; HorizontalPodAutoscalers need metrics-server."
  }

  assert {
    condition     = jsondecode(aws_eks_addon.before_nodes["vpc-cni"].configuration_values).enableNetworkPolicy == "true"
    error_message = "Without it NetworkPolicies are words."
  }

  assert {
    condition     = aws_eks_node_group.system.scaling_config[0].min_size == 2 && aws_eks_node_group.system.scaling_config[0].max_size == 4 && length(aws_eks_node_group.system.taint) == 0
    error_message = "System nodes have the size that was asked for, and take every pod."
  }

  assert {
    condition     = aws_launch_template.system.metadata_options[0].http_tokens == "required" && aws_launch_template.system.metadata_options[0].http_put_response_hop_limit == 1
    error_message = "Pods cannot reach the node's credentials."
  }

  assert {
    condition     = tobool(aws_launch_template.system.block_device_mappings[0].ebs[0].encrypted)
    error_message = "Disks are encrypted."
  }

  assert {
    condition = alltrue([
      for each in aws_launch_template.system.tag_specifications : each.tags["CostCenter"] == "c"
    ]) && length(aws_launch_template.system.tag_specifications) == 3
    error_message = "Machines, disks and interfaces carry the tags."
  }
}
