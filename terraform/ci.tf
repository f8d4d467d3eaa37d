# GitHub Actions signs in by OIDC: no key of AWS is ever stored there, and only one branch gets in. No workflow of
# this repository does: its API server answers no address of GitHub's, so a run needs a runner inside the VPC.

locals {
  github          = "token.actions.githubusercontent.com"
  github_provider = var.github.create_provider ? one(aws_iam_openid_connect_provider.github[*].arn) : "arn:${local.partition}:iam::${local.account}:oidc-provider/${local.github}"
}

resource "aws_iam_openid_connect_provider" "github" {
  count = var.github.create_provider ? 1 : 0

  url            = "https://${local.github}"
  client_id_list = ["sts.amazonaws.com"]
}

resource "aws_iam_role" "ci" {
  name                 = "${local.name}-ci"
  max_session_duration = 3600

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Federated = local.github_provider }
      Action    = "sts:AssumeRoleWithWebIdentity"
      Condition = { StringEquals = {
        "${local.github}:aud" = "sts.amazonaws.com"
        # A pull request's token names the pull request instead of a branch, and is refused.
        "${local.github}:sub" = "repo:${var.github.repository}:ref:refs/heads/${var.github.branch}"
      } }
    }]
  })
}

# Into the cluster as a group without rights of its own: charts/faultload gives those of its capabilities to it
# where its value `groups` names it.
resource "aws_eks_access_entry" "ci" {
  cluster_name      = var.cluster_name
  principal_arn     = aws_iam_role.ci.arn
  kubernetes_groups = ["faultload"]
}

resource "aws_iam_role_policy" "ci" {
  name = "run-and-report"
  role = aws_iam_role.ci.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(local.write_reports, local.use_experiments, [{
      Sid      = "FindTheCluster"
      Effect   = "Allow"
      Action   = "eks:DescribeCluster"
      Resource = local.cluster_arn
    }])
  })
}
