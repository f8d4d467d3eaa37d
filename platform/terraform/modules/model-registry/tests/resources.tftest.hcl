# What is planned. Needs the AWS provider's schema, but neither an account nor credentials.
mock_provider "aws" {}

variables {
  name                = "inference-test"
  bucket_name         = "example-models"
  kms_key_arn         = "arn:aws:kms:us-east-1:111122223333:key/1"
  deletion_protection = true
}

run "closed_and_kept" {
  command = plan

  assert {
    condition     = aws_s3_bucket_public_access_block.models.restrict_public_buckets && aws_s3_bucket_public_access_block.models.block_public_policy
    error_message = "The bucket of models has to be closed to the public."
  }

  assert {
    condition     = aws_s3_bucket_versioning.models.versioning_configuration[0].status == "Enabled"
    error_message = "Old versions of models have to be kept."
  }

  assert {
    condition     = aws_dynamodb_table.versions.deletion_protection_enabled && aws_dynamodb_table.versions.hash_key == "model" && aws_dynamodb_table.versions.range_key == "version"
    error_message = "The table of versions has the keys model and version, and is protected."
  }
}
