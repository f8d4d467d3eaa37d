# What the variables refuse. Needs no AWS: tests/deploy/terraform runs it on variables and locals alone.
mock_provider "aws" {
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
}

variables {
  name                = "inference-test"
  subnet_ids          = ["subnet-1", "subnet-2", "subnet-3"]
  admin_role_arns     = ["arn:aws:iam::111122223333:role/admin"]
  kms_key_arn         = "arn:aws:kms:us-east-1:111122223333:key/1"
  system_nodes        = { instance_types = ["m7i.large"], size = 2, size_max = 4 }
  deletion_protection = true
  tags                = { Project = "p", Environment = "e", ManagedBy = "terraform", CostCenter = "c" }
}

run "good_cluster" {
  command = plan
}

run "api_server_open_to_the_world" {
  command = plan

  variables {
    public_access_cidrs = ["0.0.0.0/0"]
  }

  expect_failures = [var.public_access_cidrs]
}

run "half_the_world" {
  command = plan

  variables {
    public_access_cidrs = ["128.0.0.0/1"]
  }

  expect_failures = [var.public_access_cidrs]
}

run "nobody_administers" {
  command = plan

  variables {
    admin_role_arns = []
  }

  expect_failures = [var.admin_role_arns]
}

run "version_that_charts_are_not_checked_against" {
  command = plan

  variables {
    kubernetes_version = "1.29"
  }

  expect_failures = [var.kubernetes_version]
}

run "version_past_its_standard_support" {
  command = plan

  variables {
    kubernetes_version = "1.33"
  }

  expect_failures = [var.kubernetes_version]
}

run "one_system_node" {
  command = plan

  variables {
    system_nodes = { instance_types = ["m7i.large"], size = 1, size_max = 4 }
  }

  expect_failures = [var.system_nodes]
}
