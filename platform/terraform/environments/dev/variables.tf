variable "region" {
  description = "AWS region of the environment."
  type        = string
  default     = "us-east-1"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region: expected a name like us-east-1."
  }
}

variable "zones" {
  description = "Three availability zones of the region that have the GPU types asked for."
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

variable "admin_role_arns" {
  description = "IAM roles that administer the cluster; whoever runs Terraform must be one of them."
  type        = set(string)
  nullable    = false

  validation {
    condition     = length(var.admin_role_arns) > 0
    error_message = "admin_role_arns: expected at least one ARN of an IAM role."
  }
}

variable "public_access_cidrs" {
  description = "Who may reach the API server from the internet, such as your office; empty: only the VPC."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition     = !contains(var.public_access_cidrs, "0.0.0.0/0")
    error_message = "public_access_cidrs: expected your own addresses, never 0.0.0.0/0."
  }
}

variable "model_bucket_name" {
  description = "Name of the bucket of models; unique in all of AWS."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.model_bucket_name))
    error_message = "model_bucket_name: expected 3 to 63 lower-case letters, digits and hyphens."
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
    condition     = can(regex("^([a-z0-9-]+\\.)+[a-z]{2,}$", var.domain.name))
    error_message = "domain: expected a name like llm.example.com."
  }
}

variable "budget_emails" {
  description = "Who hears that the month's budget is nearly spent."
  type        = list(string)
  nullable    = false

  validation {
    condition     = length(var.budget_emails) > 0 && alltrue([for each in var.budget_emails : strcontains(each, "@")])
    error_message = "budget_emails: expected one address or more."
  }
}

variable "install_operators" {
  description = "Whether Terraform installs the operators' charts. Nothing else does: without them nothing is scaled, scraped or given traffic and no GPU is offered, so false is for as long as there is no way to the API server."
  type        = bool
  default     = true
  nullable    = false

  validation {
    condition     = contains([true, false], var.install_operators)
    error_message = "install_operators: expected true or false."
  }
}
