# The one door: an application load balancer that takes TLS on 443 and speaks to the router's pods.
#
# Terraform owns the load balancer. The controller in the cluster does one thing: it keeps the pods of a
# Service registered in the target group, so its role needs two calls on one target group instead of the
# right to make load balancers and security groups. What tells it so is the router chart's TargetGroupBinding.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  router_port = 8080
}

# ------------------------------------------------------------------ who may speak to whom

resource "aws_security_group" "alb" {
  name        = "${var.name}-alb"
  description = "Load balancer: TLS from everywhere, to the router only"
  vpc_id      = var.vpc_id

  tags = { Name = "${var.name}-alb" }
}

# The only rule of the platform that lets the world in.
resource "aws_vpc_security_group_ingress_rule" "alb_https" {
  security_group_id = aws_security_group.alb.id
  description       = "TLS from everywhere"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "alb_router" {
  security_group_id            = aws_security_group.alb.id
  description                  = "To the router"
  referenced_security_group_id = var.security_group_id
  ip_protocol                  = "tcp"
  from_port                    = local.router_port
  to_port                      = local.router_port
}

resource "aws_vpc_security_group_ingress_rule" "router_alb" {
  security_group_id            = var.security_group_id
  description                  = "Router from the load balancer"
  referenced_security_group_id = aws_security_group.alb.id
  ip_protocol                  = "tcp"
  from_port                    = local.router_port
  to_port                      = local.router_port
}

# ------------------------------------------------------------------ certificate and name

resource "aws_acm_certificate" "this" {
  domain_name       = var.domain.name
  validation_method = "DNS"

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_route53_record" "validation" {
  for_each = {
    for each in aws_acm_certificate.this.domain_validation_options : each.domain_name => each
  }

  zone_id = var.domain.zone_id
  name    = each.value.resource_record_name
  type    = each.value.resource_record_type
  records = [each.value.resource_record_value]
  ttl     = 300
}

resource "aws_acm_certificate_validation" "this" {
  certificate_arn         = aws_acm_certificate.this.arn
  validation_record_fqdns = [for record in aws_route53_record.validation : record.fqdn]
}

resource "aws_route53_record" "this" {
  zone_id = var.domain.zone_id
  name    = var.domain.name
  type    = "A"

  alias {
    name                   = aws_lb.this.dns_name
    zone_id                = aws_lb.this.zone_id
    evaluate_target_health = true
  }
}

# ------------------------------------------------------------------ access logs

resource "aws_s3_bucket" "logs" {
  #checkov:skip=CKV2_AWS_62:Nothing waits for new objects here
  #checkov:skip=CKV_AWS_144:Access logs of 90 days are not worth a second copy
  #checkov:skip=CKV_AWS_145:Load balancers can write to S3's own keys only
  #checkov:skip=CKV_AWS_18:This is the bucket of logs
  bucket_prefix = "${var.name}-alb-"
}

resource "aws_s3_bucket_versioning" "logs" {
  bucket = aws_s3_bucket.logs.id

  versioning_configuration {
    status = "Enabled"
  }
}

# Load balancers can write to S3's own keys only, not to KMS.
resource "aws_s3_bucket_server_side_encryption_configuration" "logs" {
  bucket = aws_s3_bucket.logs.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_public_access_block" "logs" {
  bucket                  = aws_s3_bucket.logs.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_policy" "logs" {
  bucket = aws_s3_bucket.logs.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "LoadBalancersWrite"
        Effect    = "Allow"
        Principal = { Service = "logdelivery.elasticloadbalancing.amazonaws.com" }
        Action    = "s3:PutObject"
        Resource  = "${aws_s3_bucket.logs.arn}/AWSLogs/${data.aws_caller_identity.current.account_id}/*"
      },
      {
        Sid       = "TlsOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [aws_s3_bucket.logs.arn, "${aws_s3_bucket.logs.arn}/*"]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
    ]
  })

  depends_on = [aws_s3_bucket_public_access_block.logs]
}

resource "aws_s3_bucket_lifecycle_configuration" "logs" {
  bucket = aws_s3_bucket.logs.id

  rule {
    id     = "old-logs"
    status = "Enabled"
    filter {}

    expiration {
      days = 90
    }

    noncurrent_version_expiration {
      noncurrent_days = 7
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }
}

# ------------------------------------------------------------------ load balancer

resource "aws_lb" "this" {
  #checkov:skip=CKV_AWS_150:A variable: on in prod, off where environments come and go
  #checkov:skip=CKV2_AWS_76:The rule set is in the web ACL below, which is optional
  name                       = var.name
  load_balancer_type         = "application"
  internal                   = false
  subnets                    = var.public_subnet_ids
  security_groups            = [aws_security_group.alb.id]
  drop_invalid_header_fields = true
  enable_deletion_protection = var.deletion_protection
  enable_zonal_shift         = true
  # Seconds without a byte. A long prompt may wait in the queue that long before its first token. Routers keep idle
  # connections for longer (KEEP_ALIVE_S), so that none is used while its router closes it.
  idle_timeout = 300

  access_logs {
    bucket  = aws_s3_bucket.logs.id
    enabled = true
  }

  depends_on = [aws_s3_bucket_policy.logs]
}

resource "aws_lb_target_group" "router" {
  #checkov:skip=CKV_AWS_378:TLS ends at the load balancer; the router's pods speak HTTP inside the VPC
  name        = "${var.name}-router"
  vpc_id      = var.vpc_id
  target_type = "ip"
  protocol    = "HTTP"
  port        = local.router_port
  # As long as a stream may still run on a router that is going: its grace period.
  deregistration_delay          = 120
  load_balancing_algorithm_type = "least_outstanding_requests"

  health_check {
    # Not /health, which is 503 as soon as one tier has no replica: all routers would leave.
    path                = "/v1/models"
    interval            = 5
    timeout             = 3
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

resource "aws_lb_listener" "https" {
  load_balancer_arn = aws_lb.this.arn
  port              = 443
  protocol          = "HTTPS"
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"
  certificate_arn   = aws_acm_certificate_validation.this.certificate_arn

  default_action {
    type = "fixed-response"

    fixed_response {
      content_type = "text/plain"
      message_body = "not found"
      status_code  = "404"
    }
  }
}

# The API alone: metrics, health and the API's documents are for the inside.
resource "aws_lb_listener_rule" "api" {
  listener_arn = aws_lb_listener.https.arn
  priority     = 100

  action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.router.arn
  }

  condition {
    path_pattern {
      values = ["/v1/*"]
    }
  }
}

# ------------------------------------------------------------------ WAF

resource "aws_wafv2_web_acl" "this" {
  #checkov:skip=CKV2_AWS_31:Its log would hold the callers' API keys; metrics say what was blocked
  count = var.waf.enabled ? 1 : 0

  name        = var.name
  description = "In front of ${var.domain.name}"
  scope       = "REGIONAL"

  default_action {
    allow {}
  }

  rule {
    name     = "rate"
    priority = 0

    action {
      block {}
    }

    statement {
      rate_based_statement {
        limit              = var.waf.requests_per_5min
        aggregate_key_type = "IP"
      }
    }

    visibility_config {
      cloudwatch_metrics_enabled = true
      sampled_requests_enabled   = false # requests hold prompts
      metric_name                = "rate"
    }
  }

  rule {
    name     = "known-bad-inputs"
    priority = 1

    override_action {
      none {}
    }

    statement {
      managed_rule_group_statement {
        vendor_name = "AWS"
        name        = "AWSManagedRulesKnownBadInputsRuleSet"
      }
    }

    visibility_config {
      cloudwatch_metrics_enabled = true
      sampled_requests_enabled   = false
      metric_name                = "known-bad-inputs"
    }
  }

  visibility_config {
    cloudwatch_metrics_enabled = true
    sampled_requests_enabled   = false
    metric_name                = var.name
  }
}

resource "aws_wafv2_web_acl_association" "this" {
  count = var.waf.enabled ? 1 : 0

  resource_arn = aws_lb.this.arn
  web_acl_arn  = aws_wafv2_web_acl.this[0].arn
}

# ------------------------------------------------------------------ the controller

resource "aws_iam_role" "controller" {
  name = "${var.name}-load-balancer-controller"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "pods.eks.amazonaws.com" }
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      Condition = {
        StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id }
        ArnEquals    = { "aws:SourceArn" = var.cluster_arn }
      }
    }]
  })
}

resource "aws_iam_role_policy" "controller" {
  name = "register-pods"
  role = aws_iam_role.controller.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "RegisterPods"
        Effect   = "Allow"
        Action   = ["elasticloadbalancing:RegisterTargets", "elasticloadbalancing:DeregisterTargets"]
        Resource = aws_lb_target_group.router.arn
      },
      {
        Sid    = "Look"
        Effect = "Allow"
        Action = [
          "elasticloadbalancing:DescribeTargetGroups", "elasticloadbalancing:DescribeTargetHealth",
          "ec2:DescribeAvailabilityZones", "ec2:DescribeInstances", "ec2:DescribeNetworkInterfaces",
          "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeVpcs",
        ]
        # These read calls know no resources.
        Resource = "*"
      },
    ]
  })
}

resource "aws_eks_pod_identity_association" "controller" {
  cluster_name    = var.cluster_name
  namespace       = "kube-system"
  service_account = "aws-load-balancer-controller"
  role_arn        = aws_iam_role.controller.arn
}

resource "helm_release" "controller" {
  count = var.install_controller ? 1 : 0

  name       = "aws-load-balancer-controller"
  repository = "https://aws.github.io/eks-charts"
  chart      = "aws-load-balancer-controller"
  version    = var.controller_chart_version
  namespace  = "kube-system"

  values = [yamlencode({
    clusterName = var.cluster_name
    # It cannot ask the node: the node's metadata answers one hop only.
    region         = data.aws_region.current.region
    vpcId          = var.vpc_id
    serviceAccount = { name = "aws-load-balancer-controller" }
    # Terraform owns load balancers and their security groups.
    createIngressClassResource  = false
    enableServiceMutatorWebhook = false
    enableBackendSecurityGroup  = false
    enableShield                = false
    enableWaf                   = false
    enableWafv2                 = false
  })]

  depends_on = [aws_eks_pod_identity_association.controller, aws_iam_role_policy.controller]
}
