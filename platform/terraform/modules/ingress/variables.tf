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
  description = "EKS cluster whose router gets the traffic."
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

variable "vpc_id" {
  description = "VPC of the load balancer."
  type        = string
  nullable    = false

  validation {
    condition     = startswith(var.vpc_id, "vpc-")
    error_message = "vpc_id: expected an id like vpc-0123."
  }
}

variable "public_subnet_ids" {
  description = "Public subnets, one in each zone."
  type        = list(string)
  nullable    = false

  validation {
    condition     = length(distinct(var.public_subnet_ids)) >= 3
    error_message = "public_subnet_ids: expected three subnets or more, in three zones."
  }
}

variable "security_group_id" {
  description = "Security group of the nodes, which lets the load balancer reach the router."
  type        = string
  nullable    = false

  validation {
    condition     = startswith(var.security_group_id, "sg-")
    error_message = "security_group_id: expected an id like sg-0123."
  }
}

variable "domain" {
  description = "Name that users call, such as llm.example.com, and its Route 53 zone."
  type = object({
    name    = string
    zone_id = string
  })
  nullable = false

  validation {
    condition     = can(regex("^([a-z0-9-]+\\.)+[a-z]{2,}$", var.domain.name)) && startswith(var.domain.zone_id, "Z")
    error_message = "domain: expected a name like llm.example.com and the id of a Route 53 zone like Z0123."
  }
}

variable "waf" {
  description = "AWS WAF in front: whether, and how many requests one address may send in five minutes."
  type = object({
    enabled           = bool
    requests_per_5min = optional(number, 3000)
  })
  nullable = false

  validation {
    condition     = var.waf.requests_per_5min >= 100
    error_message = "waf: expected requests_per_5min of at least 100."
  }
}

variable "controller_chart_version" {
  description = "Version of the chart aws-load-balancer-controller."
  type        = string
  default     = "3.4.1"
  nullable    = false

  validation {
    condition     = can(regex("^[0-9]+\\.[0-9]+\\.[0-9]+$", var.controller_chart_version))
    error_message = "controller_chart_version: expected an exact version like 3.4.1."
  }
}

variable "install_controller" {
  description = "Whether to install the controller's chart; false where Argo CD does."
  type        = bool
  nullable    = false

  validation {
    condition     = contains([true, false], var.install_controller)
    error_message = "install_controller: expected true or false."
  }
}

variable "deletion_protection" {
  description = "Whether the load balancer refuses to be deleted."
  type        = bool
  nullable    = false

  validation {
    condition     = contains([true, false], var.deletion_protection)
    error_message = "deletion_protection: expected true or false."
  }
}
