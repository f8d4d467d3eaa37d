# What is planned. Needs the AWS provider's schema, but neither an account nor credentials.
mock_provider "aws" {
  override_during = plan

  mock_data "aws_default_tags" {
    defaults = { tags = { Project = "faultload", Environment = "staging", ManagedBy = "terraform", CostCenter = "c" } }
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
    defaults = { arn = "arn:aws:kms:us-east-1:111122223333:key/1" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111122223333:role/mock" }
  }

  mock_resource "aws_iam_openid_connect_provider" {
    defaults = { arn = "arn:aws:iam::111122223333:oidc-provider/token.actions.githubusercontent.com" }
  }

  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::mock" }
  }

  mock_resource "aws_cloudwatch_log_group" {
    defaults = { arn = "arn:aws:logs:us-east-1:111122223333:log-group:mock" }
  }

  mock_resource "aws_cloudwatch_metric_alarm" {
    defaults = { arn = "arn:aws:cloudwatch:us-east-1:111122223333:alarm:mock" }
  }

  mock_resource "aws_fis_experiment_template" {
    defaults = { id = "EXT123" }
  }
}

variables {
  environment              = "staging"
  cost_center              = "inference"
  cluster_name             = "inference-staging"
  spot_node_groups         = { l40s-x4-spot = 1 }
  load_balancer_arn_suffix = "app/inference-staging/1"
  report_bucket_name       = "example-reports"
  github                   = { repository = "example/faultload" }
}

run "alarm" {
  command = plan

  assert {
    condition     = aws_cloudwatch_metric_alarm.stop.treat_missing_data == "breaching" && aws_cloudwatch_metric_alarm.stop.threshold == 50 && aws_cloudwatch_metric_alarm.stop.comparison_operator == "GreaterThanOrEqualToThreshold"
    error_message = "Half of the requests lost stops an experiment, and no requests, too."
  }

  assert {
    condition = [
      for each in aws_cloudwatch_metric_alarm.stop.metric_query : each.expression if each.return_data
    ] == ["100 * (FILL(router, 0) + FILL(balancer, 0)) / requests"]
    error_message = "The alarm judges one series: the share of errors."
  }

  assert {
    condition = {
      for each in aws_cloudwatch_metric_alarm.stop.metric_query :
      each.id => "${each.metric[0].metric_name} ${each.metric[0].stat} ${each.metric[0].dimensions["LoadBalancer"]}" if !each.return_data
      } == {
      router   = "HTTPCode_Target_5XX_Count Sum app/inference-staging/1"
      balancer = "HTTPCode_ELB_5XX_Count Sum app/inference-staging/1"
      requests = "RequestCount Sum app/inference-staging/1"
    }
    error_message = "It counts errors of the router's and of the load balancer's own, and all requests."
  }
}

run "spot_experiment" {
  command = plan

  assert {
    condition     = one(aws_fis_experiment_template.spot["l40s-x4-spot"].stop_condition).source == "aws:cloudwatch:alarm" && one(aws_fis_experiment_template.spot["l40s-x4-spot"].stop_condition).value == aws_cloudwatch_metric_alarm.stop.arn
    error_message = "An experiment is stopped by the alarm."
  }

  assert {
    condition     = one(aws_fis_experiment_template.spot["l40s-x4-spot"].action).action_id == "aws:ec2:send-spot-instance-interruptions" && one(one(aws_fis_experiment_template.spot["l40s-x4-spot"].action).parameter).value == "PT2M"
    error_message = "Victims get the two minutes that EC2 gives."
  }

  assert {
    condition     = one(one(aws_fis_experiment_template.spot["l40s-x4-spot"].action).target).key == "SpotInstances" && one(one(aws_fis_experiment_template.spot["l40s-x4-spot"].action).target).value == one(aws_fis_experiment_template.spot["l40s-x4-spot"].target).name
    error_message = "The action hits the target that the template names."
  }

  assert {
    condition = { for tag in one(aws_fis_experiment_template.spot["l40s-x4-spot"].target).resource_tag : tag.key => tag.value } == {
      "eks:cluster-name" = "inference-staging", "eks:nodegroup-name" = "l40s-x4-spot"
    }
    error_message = "Victims are machines of the group, in this cluster."
  }

  assert {
    condition     = one(aws_fis_experiment_template.spot["l40s-x4-spot"].target).selection_mode == "COUNT(1)" && one(aws_fis_experiment_template.spot["l40s-x4-spot"].experiment_options).empty_target_resolution_mode == "fail"
    error_message = "As many as were named, and none is an error."
  }

  assert {
    condition     = length(aws_iam_service_linked_role.fis) == 1 && aws_iam_service_linked_role.fis[0].aws_service_name == "fis.amazonaws.com"
    error_message = "An account that never ran an experiment lacks FIS's own role."
  }
}

run "account_that_has_fis_role" {
  command = plan

  variables {
    create_fis_role = false
  }

  assert {
    condition     = length(aws_iam_service_linked_role.fis) == 0
    error_message = "A role that is there is not made again."
  }
}

run "schedule" {
  command = plan

  assert {
    condition     = strcontains(aws_scheduler_schedule.spot["l40s-x4-spot"].target[0].input, "\"ClientToken\":\"<aws.scheduler.execution-id>\"")
    error_message = "Scheduler replaces its keyword only where it is written to the letter."
  }

  assert {
    condition = jsondecode(aws_scheduler_schedule.spot["l40s-x4-spot"].target[0].input) == {
      ClientToken          = "<aws.scheduler.execution-id>"
      ExperimentTemplateId = "EXT123"
      ExperimentOptions    = { ActionsMode = "skip-all" }
      Tags                 = { Project = "faultload", Environment = "staging", ManagedBy = "terraform", CostCenter = "inference" }
    }
    error_message = "Scheduler starts the template, looks up its victims and harms none."
  }

  assert {
    condition     = aws_scheduler_schedule.spot["l40s-x4-spot"].state == "DISABLED"
    error_message = "Nothing is started by the clock before somebody says so."
  }
}

run "continuous_integration" {
  command = plan

  assert {
    condition     = aws_eks_access_entry.ci.principal_arn == aws_iam_role.ci.arn && aws_eks_access_entry.ci.kubernetes_groups == toset(["faultload"])
    error_message = "CI enters the cluster as a group that the harness's chart can give rights to."
  }

  assert {
    condition = jsondecode(aws_iam_role.ci.assume_role_policy).Statement[0].Condition.StringEquals == {
      "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com"
      "token.actions.githubusercontent.com:sub" = "repo:example/faultload:ref:refs/heads/main"
    }
    error_message = "One branch of one repository takes the role."
  }
}
