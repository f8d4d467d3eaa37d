output "state_bucket" {
  description = "Name for `bucket` in each environment's backend.hcl."
  value       = aws_s3_bucket.state.id
}

output "state_kms_key_arn" {
  description = "Key for `kms_key_id` in each environment's backend.hcl."
  value       = aws_kms_key.state.arn
}
