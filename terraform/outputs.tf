output "report_bucket" {
  description = "Bucket of records and reports."
  value       = aws_s3_bucket.reports.id
}

output "faultload_irsa_role_arn" {
  description = "Role of the ServiceAccount faultload: writes reports, starts and stops the templates."
  value       = aws_iam_role.faultload.arn
}

output "ci_role_arn" {
  description = "Role that GitHub Actions takes (role-to-assume); in the cluster it is of the group faultload."
  value       = aws_iam_role.ci.arn
}

output "fis_template_ids" {
  description = "Experiment templates of Fault Injection Service, by spot node group."
  value       = { for group, template in aws_fis_experiment_template.spot : group => template.id }
}

output "stop_alarm" {
  description = "Alarm that stops every experiment."
  value       = aws_cloudwatch_metric_alarm.stop.alarm_name
}
