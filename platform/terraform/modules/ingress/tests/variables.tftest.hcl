# What the variables refuse. Needs no AWS: tests/deploy/terraform runs it on variables and locals alone.
mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}
mock_provider "helm" {}

variables {
  name                = "inference-test"
  cluster_name        = "inference-test"
  cluster_arn         = "arn:aws:eks:us-east-1:111122223333:cluster/inference-test"
  vpc_id              = "vpc-0123"
  public_subnet_ids   = ["subnet-1", "subnet-2", "subnet-3"]
  security_group_id   = "sg-0123"
  domain              = { name = "llm.example.com", zone_id = "Z0123" }
  waf                 = { enabled = true }
  install_controller  = true
  deletion_protection = true
}

run "good_ingress" {
  command = plan
}

run "url_instead_of_a_name" {
  command = plan

  variables {
    domain = { name = "https://llm.example.com", zone_id = "Z0123" }
  }

  expect_failures = [var.domain]
}
