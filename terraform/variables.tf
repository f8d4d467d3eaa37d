variable "region" {
  description = "AWS region of the cluster under test."
  type        = string
  default     = "us-east-1"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region: expected a name like us-east-1."
  }
}

variable "environment" {
  description = "Environment under test. Never prod: there, interruptions are left to EC2."
  type        = string
  nullable    = false

  validation {
    condition     = contains(["dev", "staging"], var.environment)
    error_message = "environment: expected dev or staging."
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

variable "cluster_name" {
  description = "EKS cluster under test: the platform's output cluster_name."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}$", var.cluster_name))
    error_message = "cluster_name: expected 2 to 31 lower-case letters, digits and hyphens."
  }
}

variable "spot_node_groups" {
  description = "Spot node groups that may be interrupted, and how many of their machines at once; each gets an experiment template."
  type        = map(number)
  nullable    = false

  validation {
    condition     = alltrue([for each in values(var.spot_node_groups) : each >= 1 && each <= 5 && floor(each) == each])
    error_message = "spot_node_groups: expected whole numbers from 1 to 5 machines, the most that FIS takes."
  }
}

variable "create_fis_role" {
  description = "Whether the account still lacks AWSServiceRoleForFIS, the role with which FIS finds its victims and watches its alarm; false where an experiment has run before."
  type        = bool
  default     = true
  nullable    = false

  validation {
    condition     = contains([true, false], var.create_fis_role)
    error_message = "create_fis_role: expected true or false."
  }
}

variable "load_balancer_arn_suffix" {
  description = "Load balancer whose errors stop an experiment: the platform's output load_balancer_arn_suffix. A run's load has to come through it, so the target's inference_url is the platform's output url."
  type        = string
  nullable    = false

  validation {
    condition     = startswith(var.load_balancer_arn_suffix, "app/")
    error_message = "load_balancer_arn_suffix: expected app/NAME/ID."
  }
}

variable "stop_at_error_percent" {
  description = "Share of requests with a 5xx answer, over one minute, at which experiments are stopped."
  type        = number
  default     = 50
  nullable    = false

  validation {
    condition     = var.stop_at_error_percent > 0 && var.stop_at_error_percent <= 100
    error_message = "stop_at_error_percent: expected more than 0, and 100 at most."
  }
}

variable "report_bucket_name" {
  description = "Name of the bucket of records and reports; unique in all of AWS."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.report_bucket_name))
    error_message = "report_bucket_name: expected 3 to 63 lower-case letters, digits and hyphens."
  }
}

variable "report_days" {
  description = "How long reports are kept."
  type        = number
  default     = 400
  nullable    = false

  validation {
    condition     = var.report_days >= 30
    error_message = "report_days: expected 30 or more: SLOs look back over 30 days."
  }
}

variable "github" {
  description = "Repository and branch whose GitHub Actions may take the CI role, and whether the account still lacks GitHub's OIDC provider."
  type = object({
    repository      = string
    branch          = optional(string, "main")
    create_provider = optional(bool, true)
  })
  nullable = false

  validation {
    condition     = can(regex("^[A-Za-z0-9-]+/[A-Za-z0-9._-]+$", var.github.repository))
    error_message = "github: expected a repository like owner/name, without a wildcard."
  }

  validation {
    condition     = can(regex("^[A-Za-z0-9._/-]+$", var.github.branch))
    error_message = "github: expected the name of one branch, without a wildcard."
  }
}

variable "schedule" {
  description = "When EventBridge starts the spot experiments: an expression of EventBridge Scheduler and its time zone; actions_mode skip-all looks up the victims and harms nobody, run-all interrupts."
  type = object({
    enabled      = bool
    expression   = optional(string, "cron(0 10 ? * TUE *)")
    time_zone    = optional(string, "UTC")
    actions_mode = optional(string, "skip-all")
  })
  default  = { enabled = false }
  nullable = false

  validation {
    condition     = can(regex("^(cron|rate|at)\\(.+\\)$", var.schedule.expression))
    error_message = "schedule: expected an expression like cron(0 10 ? * TUE *)."
  }

  validation {
    condition     = contains(["skip-all", "run-all"], var.schedule.actions_mode)
    error_message = "schedule: expected an actions_mode of skip-all or run-all."
  }
}
