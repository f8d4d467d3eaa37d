# What is planned. Needs the AWS and Helm providers' schemas, but neither an account nor credentials.
mock_provider "aws" {}
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
  }
}

run "managed_spot_group" {
  command = plan

  assert {
    condition     = aws_eks_node_group.gpu["spot"].capacity_type == "SPOT" && length(aws_eks_node_group.gpu["spot"].taint) == 2
    error_message = "A spot group is SPOT and carries two taints."
  }

  assert {
    condition     = aws_eks_node_group.gpu["spot"].node_repair_config[0].enabled
    error_message = "Nodes with a broken GPU have to be replaced."
  }

  assert {
    condition     = aws_launch_template.gpu["spot"].metadata_options[0].http_tokens == "required"
    error_message = "Nodes have to refuse version 1 of the metadata service."
  }

  assert {
    condition     = length(aws_iam_role.karpenter) == 0 && output.karpenter_manifests == null
    error_message = "Without Karpenter nothing of it is made."
  }
}
