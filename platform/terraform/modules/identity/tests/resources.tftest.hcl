# What is planned. Needs the AWS provider's schema, but neither an account nor credentials.
mock_provider "aws" {
  override_during = plan

  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111122223333:role/mock" }
  }

  mock_resource "aws_iam_openid_connect_provider" {
    defaults = { arn = "arn:aws:iam::111122223333:oidc-provider/oidc.eks.us-east-1.amazonaws.com/id/1" }
  }
}

variables {
  cluster_name     = "inference-test"
  cluster_arn      = "arn:aws:eks:us-east-1:111122223333:cluster/inference-test"
  oidc_issuer_url  = "https://oidc.eks.us-east-1.amazonaws.com/id/1"
  model_bucket_arn = "arn:aws:s3:::models"
  model_table_arn  = "arn:aws:dynamodb:us-east-1:111122223333:table/versions"
  kms_key_arn      = "arn:aws:kms:us-east-1:111122223333:key/1"
}

run "pod_identity" {
  command = plan

  assert {
    condition = { for name, each in aws_eks_pod_identity_association.this : name => each.namespace } == {
      vllm = "inference", prometheus = "observability", keda-operator = "observability"
    }
    error_message = "A ServiceAccount has its role where the charts put it."
  }

  assert {
    condition     = toset(keys(aws_iam_role_policy.this)) == toset(["vllm"]) && length(aws_iam_openid_connect_provider.cluster) == 0
    error_message = "Without a workspace nobody may write to one; without IRSA nobody trusts the cluster's tokens."
  }

  assert {
    condition = alltrue([
      for each in jsondecode(aws_iam_role_policy.this["vllm"].policy).Statement :
      alltrue([for action in flatten([each.Action]) : !strcontains(action, "Put") && !strcontains(action, "Delete") && !strcontains(action, "*")])
    ])
    error_message = "Engines read models and change none."
  }
}

run "irsa" {
  command = plan

  variables {
    mode = "irsa"
  }

  assert {
    condition     = length(aws_eks_pod_identity_association.this) == 0
    error_message = "One way to a role, not two."
  }

  assert {
    condition = jsondecode(aws_iam_role.this["keda-operator"].assume_role_policy).Statement[0].Condition.StringEquals == {
      "oidc.eks.us-east-1.amazonaws.com/id/1:aud" = "sts.amazonaws.com"
      "oidc.eks.us-east-1.amazonaws.com/id/1:sub" = "system:serviceaccount:observability:keda-operator"
    }
    error_message = "A role is for one ServiceAccount of one namespace."
  }
}
