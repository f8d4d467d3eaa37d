# What the variables refuse. Needs no AWS: tests/deploy/terraform runs it on variables and locals alone.
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
    on-demand = {
      gpu            = "l40s", gpus = 4, capacity_type = "ON_DEMAND", size_min = 0, size = 0, size_max = 1
      instance_types = ["g6e.12xlarge"]
    }
  }
}

run "good_groups" {
  command = plan

  assert {
    condition     = local.taints["spot"] == { "nvidia.com/gpu" = "true", "faultload.io/spot" = "true" }
    error_message = "A spot group has to carry both taints."
  }

  assert {
    condition     = local.taints["on-demand"] == { "nvidia.com/gpu" = "true" }
    error_message = "An on-demand group has to carry the GPU's taint only."
  }

  assert {
    condition     = local.labels["spot"]["faultload.io/gpu"] == "l4"
    error_message = "Nodes have to say which GPU they have."
  }
}

run "spot_with_two_types" {
  command = plan

  variables {
    groups = { spot = {
      gpu            = "l4", gpus = 1, capacity_type = "SPOT", size_min = 0, size = 1, size_max = 2
      instance_types = ["g6.xlarge", "g6.2xlarge"]
    } }
  }

  expect_failures = [var.groups]
}

run "another_gpu_among_the_types" {
  command = plan

  variables {
    groups = { mixed = {
      gpu            = "l4", gpus = 1, capacity_type = "ON_DEMAND", size_min = 0, size = 1, size_max = 2
      instance_types = ["g6.xlarge", "g5.xlarge"]
    } }
  }

  expect_failures = [var.groups]
}

run "more_than_the_largest_size" {
  command = plan

  variables {
    groups = { big = {
      gpu            = "l4", gpus = 1, capacity_type = "ON_DEMAND", size_min = 0, size = 3, size_max = 2
      instance_types = ["g6.xlarge"]
    } }
  }

  expect_failures = [var.groups]
}

run "missing_tag" {
  command = plan

  variables {
    tags = { Project = "p", Environment = "e", ManagedBy = "terraform" }
  }

  expect_failures = [var.tags]
}
