variable "name" {
  description = "Prefix of every name in this network, for example inference-dev."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}$", var.name))
    error_message = "name: expected 2 to 31 lower-case letters, digits and hyphens."
  }
}

variable "cidr" {
  description = "Addresses of the VPC: a /16, so that every zone has room for 8,000 pods."
  type        = string
  nullable    = false

  validation {
    condition     = can(cidrnetmask(var.cidr)) && endswith(var.cidr, "/16")
    error_message = "cidr: expected an IPv4 block of size /16, like 10.0.0.0/16."
  }
}

variable "zones" {
  description = "The three availability zones, by name; the first one is where a single NAT gateway stands."
  type        = list(string)
  nullable    = false

  validation {
    condition     = length(distinct(var.zones)) == 3 && length(var.zones) == 3
    error_message = "zones: expected three different zones, so that losing one leaves two."
  }
}

variable "nat_gateways" {
  description = "one: a single gateway, cheap, and lost with its zone; per_zone: a gateway in each zone."
  type        = string
  nullable    = false

  validation {
    condition     = contains(["one", "per_zone"], var.nat_gateways)
    error_message = "nat_gateways: expected one or per_zone."
  }
}

variable "interface_endpoints" {
  description = "AWS services to reach without the NAT gateway, such as ecr.api; each costs by the hour and zone."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for each in var.interface_endpoints : can(regex("^[a-z0-9.-]+$", each))])
    error_message = "interface_endpoints: expected service names such as ecr.api or ecr.dkr."
  }
}

variable "kms_key_arn" {
  description = "Key that encrypts the flow logs."
  type        = string
  nullable    = false

  validation {
    condition     = startswith(var.kms_key_arn, "arn:")
    error_message = "kms_key_arn: expected the ARN of a KMS key."
  }
}

variable "log_retention_days" {
  description = "How long flow logs are kept; a value that CloudWatch Logs knows."
  type        = number
  default     = 365
  nullable    = false

  validation {
    condition     = contains([30, 60, 90, 120, 150, 180, 365, 400, 545, 731], var.log_retention_days)
    error_message = "log_retention_days: expected 30, 60, 90, 120, 150, 180, 365, 400, 545 or 731."
  }
}

variable "cluster_name" {
  description = "EKS cluster whose nodes and load balancers find their subnets by tag; null for none."
  type        = string
  default     = null

  validation {
    condition     = var.cluster_name == null || can(regex("^[a-zA-Z][a-zA-Z0-9-]{0,99}$", var.cluster_name))
    error_message = "cluster_name: expected letters, digits and hyphens, or null."
  }
}
