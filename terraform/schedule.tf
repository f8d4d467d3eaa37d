# EventBridge starts the templates by the clock. What it starts is not judged: judged game days are the
# CronJob's of charts/faultload. `skip-all` asks weekly whether the victims can still be found.

resource "aws_scheduler_schedule_group" "this" {
  name = local.name
}

resource "aws_iam_role" "scheduler" {
  name = "${local.name}-scheduler"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "scheduler.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    }]
  })
}

resource "aws_iam_role_policy" "scheduler" {
  name = "start-experiments"
  role = aws_iam_role.scheduler.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(slice(local.use_experiments, 0, 2), [{
      Sid      = "ReadItsOwnInput"
      Effect   = "Allow"
      Action   = "kms:Decrypt"
      Resource = aws_kms_key.this.arn
    }])
  })
}

resource "aws_scheduler_schedule" "spot" {
  for_each = aws_fis_experiment_template.spot

  name                         = "${local.name}-${each.key}"
  group_name                   = aws_scheduler_schedule_group.this.name
  state                        = var.schedule.enabled ? "ENABLED" : "DISABLED"
  schedule_expression          = var.schedule.expression
  schedule_expression_timezone = var.schedule.time_zone
  kms_key_arn                  = aws_kms_key.this.arn

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = "arn:${local.partition}:scheduler:::aws-sdk:fis:startExperiment"
    role_arn = aws_iam_role.scheduler.arn

    # Scheduler knows its keyword as it stands here; jsonencode writes < and > as escapes, and with a token that
    # never changes FIS would not start a second experiment.
    input = replace(replace(jsonencode({
      ClientToken          = "<aws.scheduler.execution-id>"
      ExperimentTemplateId = each.value.id
      ExperimentOptions    = { ActionsMode = var.schedule.actions_mode }
      Tags                 = local.tags
    }), "\\u003c", "<"), "\\u003e", ">")

    # Late is not started at all: the window has an end.
    retry_policy {
      maximum_event_age_in_seconds = 300
      maximum_retry_attempts       = 2
    }
  }
}
