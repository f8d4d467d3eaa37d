# Spot interruptions by AWS Fault Injection Service: the real notice, rebalance signal and end of a machine.

locals {
  template_arns   = [for template in aws_fis_experiment_template.spot : "arn:${local.partition}:fis:${local.region}:${local.account}:experiment-template/${template.id}"]
  experiment_arns = "arn:${local.partition}:fis:${local.region}:${local.account}:experiment/*"

  # Start what is here, and stop, watch or look at the victims of what was started from it.
  use_experiments = [
    {
      Sid      = "StartTheseTemplates"
      Effect   = "Allow"
      Action   = ["fis:StartExperiment", "fis:GetExperimentTemplate"]
      Resource = local.template_arns
    },
    {
      Sid       = "StartAsTagged"
      Effect    = "Allow"
      Action    = ["fis:StartExperiment", "fis:TagResource"]
      Resource  = local.experiment_arns
      Condition = { StringEquals = { "aws:RequestTag/Project" = "faultload" } }
    },
    {
      Sid       = "WatchAndStop"
      Effect    = "Allow"
      Action    = ["fis:GetExperiment", "fis:StopExperiment", "fis:ListExperimentResolvedTargets"]
      Resource  = local.experiment_arns
      Condition = { StringEquals = { "aws:ResourceTag/Project" = "faultload" } }
    },
  ]
}

# FIS makes it when an experiment first starts, for which whoever starts one would need rights to make roles.
resource "aws_iam_service_linked_role" "fis" {
  count = var.create_fis_role ? 1 : 0

  aws_service_name = "fis.amazonaws.com"
}

resource "aws_iam_role" "fis" {
  name = "${local.name}-fis"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "fis.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    }]
  })
}

resource "aws_iam_role_policy" "fis" {
  name = "interrupt-spot"
  role = aws_iam_role.fis.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "FindMachines"
        Effect   = "Allow"
        Action   = "ec2:DescribeInstances"
        Resource = "*" # EC2's read calls know no resources
      },
      {
        Sid       = "InterruptNodesOfThisCluster"
        Effect    = "Allow"
        Action    = "ec2:SendSpotInstanceInterruptions"
        Resource  = "arn:${local.partition}:ec2:${local.region}:${local.account}:instance/*"
        Condition = { StringEquals = { "aws:ResourceTag/eks:cluster-name" = var.cluster_name } }
      },
      {
        Sid    = "WriteLogs"
        Effect = "Allow"
        Action = [
          "logs:CreateLogDelivery", "logs:DescribeLogGroups", "logs:DescribeResourcePolicies",
          "logs:PutResourcePolicy",
        ]
        Resource = "*" # the calls that connect FIS to its log group know no resources
      },
    ]
  })
}

resource "aws_cloudwatch_log_group" "fis" {
  name              = "/aws/fis/${local.name}"
  retention_in_days = 400
  kms_key_id        = aws_kms_key.this.arn
}

# AWS's own brake, for when the harness that should stop an experiment is gone itself. It counts what comes
# through the load balancer, so load has to come that way. No requests is no data is an alarm: without load there
# is nothing to learn, and FIS does not start while the alarm is on.
resource "aws_cloudwatch_metric_alarm" "stop" {
  alarm_name          = "${local.name}-stop"
  alarm_description   = "Stops experiments: ${var.stop_at_error_percent} % of requests or more got a 5xx over a minute, or there were none"
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = var.stop_at_error_percent
  evaluation_periods  = 1
  treat_missing_data  = "breaching"

  metric_query {
    id          = "share"
    label       = "5xx, percent of requests"
    expression  = "100 * (FILL(router, 0) + FILL(balancer, 0)) / requests"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = {
      router   = "HTTPCode_Target_5XX_Count"
      balancer = "HTTPCode_ELB_5XX_Count"
      requests = "RequestCount"
    }

    content {
      id          = metric_query.key
      return_data = false

      metric {
        namespace   = "AWS/ApplicationELB"
        metric_name = metric_query.value
        dimensions  = { LoadBalancer = var.load_balancer_arn_suffix }
        period      = 60
        stat        = "Sum"
      }
    }
  }
}

resource "aws_fis_experiment_template" "spot" {
  for_each = var.spot_node_groups

  description = "Interrupt ${each.value} of the spot machines of ${each.key}"
  role_arn    = aws_iam_role.fis.arn

  stop_condition {
    source = "aws:cloudwatch:alarm"
    value  = aws_cloudwatch_metric_alarm.stop.arn
  }

  action {
    name      = "interrupt"
    action_id = "aws:ec2:send-spot-instance-interruptions"

    parameter {
      key   = "durationBeforeInterruption"
      value = "PT2M" # the notice that EC2 itself gives
    }

    target {
      key   = "SpotInstances"
      value = "nodes"
    }
  }

  target {
    name           = "nodes"
    resource_type  = "aws:ec2:spot-instance"
    selection_mode = "COUNT(${each.value})"

    resource_tag {
      key   = "eks:cluster-name"
      value = var.cluster_name
    }

    resource_tag {
      key   = "eks:nodegroup-name"
      value = each.key
    }

    filter {
      path   = "State.Name"
      values = ["running"]
    }
  }

  # No victim is an error, never a success.
  experiment_options {
    account_targeting            = "single-account"
    empty_target_resolution_mode = "fail"
  }

  log_configuration {
    log_schema_version = 2

    cloudwatch_logs_configuration {
      log_group_arn = "${aws_cloudwatch_log_group.fis.arn}:*"
    }
  }

  tags = { Name = "${local.name}-${each.key}" }

  depends_on = [aws_iam_service_linked_role.fis]
}
