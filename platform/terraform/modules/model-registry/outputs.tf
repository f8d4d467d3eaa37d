output "bucket" {
  description = "Name of the bucket of models."
  value       = aws_s3_bucket.models.id

  # Nothing may be put into it before it is closed to the public and encrypted.
  depends_on = [
    aws_s3_bucket_public_access_block.models,
    aws_s3_bucket_server_side_encryption_configuration.models,
  ]
}

output "bucket_arn" {
  description = "ARN of the bucket of models."
  value       = aws_s3_bucket.models.arn
}

output "table" {
  description = "Name of the table of versions: keys `model` and `version`."
  value       = aws_dynamodb_table.versions.name
}

output "table_arn" {
  description = "ARN of the table of versions."
  value       = aws_dynamodb_table.versions.arn
}
