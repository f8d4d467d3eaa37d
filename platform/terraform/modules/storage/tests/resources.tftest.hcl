# What is planned. Needs the AWS provider's schema, but neither an account nor credentials.
mock_provider "aws" {}

variables {
  name              = "inference-test"
  vpc_id            = "vpc-0123"
  subnet_id         = "subnet-0123"
  security_group_id = "sg-0123"
  model_bucket      = "example-models"
  kms_key_arn       = "arn:aws:kms:us-east-1:111122223333:key/1"
  lustre            = { enabled = true }
}

run "file_system_of_models" {
  command = plan

  assert {
    condition     = aws_fsx_data_repository_association.models[0].file_system_path == "/" && aws_fsx_data_repository_association.models[0].data_repository_path == "s3://example-models/models"
    error_message = "Mounted at /models, the file system has to show NAME/VERSION, with no folder between."
  }

  assert {
    condition     = length(aws_fsx_data_repository_association.models[0].s3[0].auto_export_policy) == 0
    error_message = "What a pod writes must not become a model unless that is asked for."
  }

  assert {
    condition     = aws_fsx_lustre_file_system.models[0].kms_key_id == var.kms_key_arn && aws_fsx_lustre_file_system.models[0].deployment_type == "PERSISTENT_2"
    error_message = "The file system is encrypted with the environment's key, and of the kind that can be linked."
  }

  assert {
    condition = alltrue([
      for rule in aws_vpc_security_group_ingress_rule.lustre_nodes : rule.referenced_security_group_id == "sg-0123" && rule.cidr_ipv4 == null
    ]) && length(aws_vpc_security_group_ingress_rule.lustre_nodes) == 2
    error_message = "Nodes reach it, and nobody else."
  }
}

run "no_file_system" {
  command = plan

  variables {
    lustre = { enabled = false }
  }

  assert {
    condition     = length(aws_fsx_lustre_file_system.models) == 0 && length(aws_security_group.lustre) == 0 && output.lustre == null
    error_message = "Without a file system nothing of it is made."
  }
}

run "images" {
  command = plan

  assert {
    condition     = toset([for each in aws_ecr_repository.this : each.name]) == toset(["inference-test/vllm", "inference-test/router", "inference-test/engine-sim", "inference-test/faultload", "inference-test/chat"])
    error_message = "Repositories are named ENVIRONMENT/IMAGE, as the charts' layers name them."
  }

  assert {
    condition = alltrue([
      for each in aws_ecr_repository.this :
      each.image_tag_mutability == "IMMUTABLE" && each.encryption_configuration[0].encryption_type == "KMS" && each.image_scanning_configuration[0].scan_on_push
    ])
    error_message = "An image's tag is for ever, its layers encrypted and scanned."
  }
}
