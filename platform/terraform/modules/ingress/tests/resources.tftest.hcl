# What is planned. Needs the AWS and Helm providers' schemas, but neither an account nor credentials.
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

run "world_sees_the_api_alone" {
  command = plan

  assert {
    condition     = aws_lb_listener.https.default_action[0].type == "fixed-response" && aws_lb_listener.https.default_action[0].fixed_response[0].status_code == "404"
    error_message = "What no rule names must be 404: metrics, health and documents are for the inside."
  }

  assert {
    condition     = toset(flatten([for each in aws_lb_listener_rule.api.condition : [for path in each.path_pattern : tolist(path.values)]])) == toset(["/v1/*"])
    error_message = "The API's paths go to the router, and no others."
  }

  assert {
    condition     = aws_lb_listener_rule.api.action[0].target_group_arn == output.target_group_arn
    error_message = "The API is what the target group's pods serve."
  }

  assert {
    condition     = aws_lb_target_group.router.health_check[0].path == "/v1/models"
    error_message = "A tier without replicas must not take all routers out."
  }
}
