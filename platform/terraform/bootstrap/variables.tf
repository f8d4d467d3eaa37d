variable "region" {
  description = "AWS region of the state bucket."
  type        = string
  default     = "us-east-1"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region: expected a name like us-east-1."
  }
}

variable "state_bucket" {
  description = "Name of the bucket that will hold the state of every environment; unique in all of AWS."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.state_bucket))
    error_message = "state_bucket: expected 3 to 63 lower-case letters, digits and hyphens."
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

variable "create_spot_role" {
  description = "Whether the account still lacks AWSServiceRoleForEC2Spot, the role with which EC2 launches spot machines; false where any has run before."
  type        = bool
  default     = true
  nullable    = false

  validation {
    condition     = contains([true, false], var.create_spot_role)
    error_message = "create_spot_role: expected true or false."
  }
}
