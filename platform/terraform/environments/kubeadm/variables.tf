variable "region" {
  description = "AWS region of the cluster."
  type        = string
  default     = "us-east-1"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region: expected a name like us-east-1."
  }
}

variable "zones" {
  description = "Three availability zones of the region: one machine in each."
  type        = list(string)
  default     = ["us-east-1a", "us-east-1b", "us-east-1c"]
  nullable    = false

  validation {
    condition     = length(distinct(var.zones)) == 3 && alltrue([for each in var.zones : startswith(each, var.region)])
    error_message = "zones: expected three different zones of the region."
  }
}

variable "cost_center" {
  description = "Who pays: the CostCenter tag."
  type        = string
  nullable    = false

  validation {
    condition     = length(var.cost_center) > 0
    error_message = "cost_center: expected a name, found an empty text."
  }
}

variable "kubernetes_version" {
  description = "Exact version of Kubernetes; its minor version names the package repository."
  type        = string
  default     = "1.35.0"
  nullable    = false

  validation {
    condition     = can(regex("^1\\.3[45]\\.[0-9]+$", var.kubernetes_version))
    error_message = "kubernetes_version: expected an exact version of 1.34 or 1.35, like 1.35.0."
  }
}

variable "calico_version" {
  description = "Version of Calico, the network of the pods and of their policies."
  type        = string
  default     = "v3.31.2"
  nullable    = false

  validation {
    condition     = can(regex("^v3\\.3[01]\\.[0-9]+$", var.calico_version))
    error_message = "calico_version: expected an exact version of 3.30 or 3.31, whose manifests control-plane.sh knows, like v3.31.2."
  }
}

variable "device_plugin_version" {
  description = "Version of NVIDIA's device plugin."
  type        = string
  default     = "v0.18.0"
  nullable    = false

  validation {
    condition     = can(regex("^v0\\.[0-9]+\\.[0-9]+$", var.device_plugin_version))
    error_message = "device_plugin_version: expected an exact version like v0.18.0."
  }
}

variable "instance_types" {
  description = "Instance type of each of the three machines."
  type = object({
    control_plane = optional(string, "t3.medium")
    worker        = optional(string, "t3.medium")
    gpu_worker    = optional(string, "g4dn.xlarge")
  })
  default  = {}
  nullable = false

  validation {
    condition     = can(regex("^(g4dn|g5|g6|g6e)\\.", var.instance_types.gpu_worker))
    error_message = "instance_types: expected a gpu_worker of g4dn, g5, g6 or g6e."
  }
}
