variable "cluster_name" {
  description = "EKS cluster whose ServiceAccounts get roles; prefix of the roles' names."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}$", var.cluster_name))
    error_message = "cluster_name: expected 2 to 31 lower-case letters, digits and hyphens."
  }
}

variable "cluster_arn" {
  description = "ARN of the same cluster."
  type        = string
  nullable    = false

  validation {
    condition     = startswith(var.cluster_arn, "arn:")
    error_message = "cluster_arn: expected an ARN."
  }
}

variable "mode" {
  description = "How pods get their role: pod_identity (EKS Pod Identity) or irsa (IAM roles for service accounts, by OIDC)."
  type        = string
  default     = "pod_identity"
  nullable    = false

  validation {
    condition     = contains(["pod_identity", "irsa"], var.mode)
    error_message = "mode: expected pod_identity or irsa."
  }
}

variable "oidc_issuer_url" {
  description = "Issuer of the cluster's ServiceAccount tokens; used with irsa only."
  type        = string
  nullable    = false

  validation {
    condition     = startswith(var.oidc_issuer_url, "https://")
    error_message = "oidc_issuer_url: expected an https URL."
  }
}

variable "model_bucket_arn" {
  description = "Bucket that holds the models."
  type        = string
  nullable    = false

  validation {
    condition     = startswith(var.model_bucket_arn, "arn:")
    error_message = "model_bucket_arn: expected an ARN."
  }
}

variable "model_table_arn" {
  description = "DynamoDB table that holds their versions."
  type        = string
  nullable    = false

  validation {
    condition     = startswith(var.model_table_arn, "arn:")
    error_message = "model_table_arn: expected an ARN."
  }
}

variable "kms_key_arn" {
  description = "Key that both are encrypted with."
  type        = string
  nullable    = false

  validation {
    condition     = startswith(var.kms_key_arn, "arn:")
    error_message = "kms_key_arn: expected an ARN."
  }
}

variable "prometheus_workspace_arn" {
  description = "Amazon Managed Prometheus workspace that Prometheus writes to and KEDA asks; null for none."
  type        = string
  default     = null

  validation {
    condition     = var.prometheus_workspace_arn == null || can(regex("^arn:[a-z-]+:aps:", var.prometheus_workspace_arn))
    error_message = "prometheus_workspace_arn: expected the ARN of a workspace, or null."
  }
}

variable "prometheus_workspace_enabled" {
  description = "Whether there is such a workspace: known before its ARN is."
  type        = bool
  default     = false
  nullable    = false

  validation {
    condition     = contains([true, false], var.prometheus_workspace_enabled)
    error_message = "prometheus_workspace_enabled: expected true or false."
  }
}
