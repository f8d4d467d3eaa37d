variable "name" {
  description = "Prefix of the names, for example inference-dev."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}$", var.name))
    error_message = "name: expected 2 to 31 lower-case letters, digits and hyphens."
  }
}

variable "cluster_name" {
  description = "EKS cluster whose logs Loki keeps."
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

variable "log_days" {
  description = "How long Loki keeps logs in days; 31 is one more than the window of an error budget."
  type        = number
  default     = 31
  nullable    = false

  validation {
    condition     = var.log_days >= 7 && var.log_days <= 365
    error_message = "log_days: expected 7 to 365."
  }
}

variable "install_operators" {
  description = "Whether to install the operators' charts; false where Argo CD does, or while there is no way to the API server."
  type        = bool
  nullable    = false

  validation {
    condition     = contains([true, false], var.install_operators)
    error_message = "install_operators: expected true or false."
  }
}

variable "managed_prometheus" {
  description = "Whether to make a workspace in Amazon Managed Prometheus, for keeping samples longer than the cluster lives."
  type        = bool
  nullable    = false

  validation {
    condition     = contains([true, false], var.managed_prometheus)
    error_message = "managed_prometheus: expected true or false."
  }
}

variable "kms_key_arn" {
  description = "Key that encrypts logs and the workspace."
  type        = string
  nullable    = false

  validation {
    condition     = startswith(var.kms_key_arn, "arn:")
    error_message = "kms_key_arn: expected an ARN."
  }
}

variable "chart_versions" {
  description = "Exact versions of the charts that are installed."
  type = object({
    kube_prometheus_stack = optional(string, "88.3.0")
    loki                  = optional(string, "18.7.6")
    alloy                 = optional(string, "1.11.1")
    opencost              = optional(string, "2.5.17")
    keda                  = optional(string, "2.21.0")
    nvidia_device_plugin  = optional(string, "0.18.0")
    dcgm_exporter         = optional(string, "4.8.2")
  })
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for each in values(var.chart_versions) : can(regex("^[0-9]+\\.[0-9]+\\.[0-9]+$", each))])
    error_message = "chart_versions: expected exact versions like 2.19.0."
  }
}
