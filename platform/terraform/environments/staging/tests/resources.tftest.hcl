# What is planned. Needs the AWS and Helm providers' schemas, but neither an account nor credentials.
mock_provider "aws" {
  override_during = plan

  mock_data "aws_default_tags" {
    defaults = { tags = { Project = "p", Environment = "staging", ManagedBy = "terraform", CostCenter = "c" } }
  }

  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:us-east-1:111122223333:key/1" }
  }

  mock_resource "aws_eks_cluster" {
    defaults = {
      arn                   = "arn:aws:eks:us-east-1:111122223333:cluster/inference-staging"
      endpoint              = "https://example.com"
      certificate_authority = [{ data = "Y2E=" }]
      identity              = [{ oidc = [{ issuer = "https://oidc.eks.us-east-1.amazonaws.com/id/1" }] }]
      vpc_config            = { cluster_security_group_id = "sg-0123" }
    }
  }

  mock_resource "aws_vpc" {
    defaults = { id = "vpc-0123" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111122223333:role/mock" }
  }

  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::mock" }
  }

  mock_resource "aws_dynamodb_table" {
    defaults = { arn = "arn:aws:dynamodb:us-east-1:111122223333:table/mock" }
  }

  mock_resource "aws_prometheus_workspace" {
    defaults = { arn = "arn:aws:aps:us-east-1:111122223333:workspace/mock" }
  }
}

mock_provider "helm" {}

variables {
  cost_center       = "inference"
  admin_role_arns   = ["arn:aws:iam::111122223333:role/admin"]
  model_bucket_name = "example-models"
  domain            = { name = "llm.example.com", zone_id = "Z0123" }
  budget_emails     = ["platform@example.com"]
}

run "whole_environment" {
  command = plan

  assert {
    condition     = output.cluster_name == "inference-staging"
    error_message = "The cluster is named for its environment."
  }
}
