# What is planned. Needs the AWS provider's schema, but neither an account nor credentials.
mock_provider "aws" {
  override_during = plan

  mock_data "aws_default_tags" {
    defaults = { tags = { Project = "p", Environment = "kubeadm", ManagedBy = "terraform", CostCenter = "c" } }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_data "aws_region" {
    defaults = { region = "us-east-1" }
  }

  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }

  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:us-east-1:111122223333:key/1", key_id = "1" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111122223333:role/mock" }
  }

  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:us-east-1:111122223333:log-group:mock" }
  }
}

variables {
  cost_center = "inference"
}

run "three_machines" {
  command = plan

  assert {
    condition = { for name, node in aws_instance.node : name => node.instance_type } == {
      control-plane = "t3.medium", worker = "t3.medium", gpu-worker = "g4dn.xlarge"
    }
    error_message = "One control-plane node, a worker, and a worker with a GPU."
  }

  assert {
    condition = alltrue([
      for node in aws_instance.node :
      node.metadata_options[0].http_tokens == "required" && node.metadata_options[0].http_put_response_hop_limit == 1 && node.root_block_device[0].encrypted
    ])
    error_message = "Machines give pods nothing, and their disks are encrypted."
  }

  assert {
    condition = alltrue([
      for name, node in aws_instance.node :
      strcontains(node.user_data, "export JOIN_PARAMETER='/inference-kubeadm/join'") && strcontains(node.user_data, "kubeadm init") == (name == "control-plane")
    ])
    error_message = "One machine makes the cluster, the others join it."
  }

  assert {
    condition     = alltrue([for node in aws_instance.node : length(node.user_data) <= 16384])
    error_message = "EC2 takes 16 KiB of user data."
  }

  assert {
    condition     = jsondecode(aws_iam_role_policy.join["worker"].policy).Statement[0].Action == ["ssm:GetParameter"] && jsondecode(aws_iam_role_policy.join["control-plane"].policy).Statement[0].Action == ["ssm:PutParameter"]
    error_message = "Only workers read what they join with."
  }
}
