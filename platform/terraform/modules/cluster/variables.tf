variable "name" {
  description = "Name of the EKS cluster."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}$", var.name))
    error_message = "name: expected 2 to 31 lower-case letters, digits and hyphens."
  }
}

variable "kubernetes_version" {
  description = "Kubernetes version of control plane and nodes."
  type        = string
  default     = "1.35"
  nullable    = false

  validation {
    # Of those that the charts are checked against, what EKS supports as standard, without which a cluster
    # cannot be made (`upgrade_policy`): 1.33 was until 2026-07-29; 1.34 is until 2026-12-02, 1.35 until 2027-03-27.
    condition     = contains(["1.34", "1.35"], var.kubernetes_version)
    error_message = "kubernetes_version: expected 1.34 or 1.35: the charts are checked against them, and EKS has them in standard support."
  }
}

variable "subnet_ids" {
  description = "Private subnets of the control plane's interfaces and of the system nodes, in three zones."
  type        = list(string)
  nullable    = false

  validation {
    condition     = length(distinct(var.subnet_ids)) >= 3
    error_message = "subnet_ids: expected three subnets or more, in three zones."
  }
}

variable "public_access_cidrs" {
  description = "Who may reach the API server from the internet; empty: nobody, only the VPC."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition = alltrue([
      for each in var.public_access_cidrs : can(cidrnetmask(each)) && tonumber(split("/", each)[1]) >= 16
    ])
    error_message = "public_access_cidrs: expected IPv4 blocks of size /16 or smaller, never 0.0.0.0/0."
  }
}

variable "admin_role_arns" {
  description = "IAM roles that administer the cluster; whoever runs Terraform must be one of them."
  type        = set(string)
  nullable    = false

  validation {
    condition = length(var.admin_role_arns) > 0 && alltrue([
      for each in var.admin_role_arns : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:(role|user)/", each))
    ])
    error_message = "admin_role_arns: expected at least one ARN of an IAM role, like arn:aws:iam::111122223333:role/platform."
  }
}

variable "viewer_role_arns" {
  description = "IAM roles that may look at everything but secrets."
  type        = set(string)
  default     = []
  nullable    = false

  validation {
    condition = alltrue([
      for each in var.viewer_role_arns : can(regex("^arn:[a-z-]+:iam::[0-9]{12}:(role|user)/", each))
    ])
    error_message = "viewer_role_arns: expected ARNs of IAM roles."
  }
}

variable "kms_key_arn" {
  description = "Key that encrypts Kubernetes secrets and control plane logs."
  type        = string
  nullable    = false

  validation {
    condition     = startswith(var.kms_key_arn, "arn:")
    error_message = "kms_key_arn: expected the ARN of a KMS key."
  }
}

variable "system_nodes" {
  description = "Nodes without a GPU, for the router, observability and add-ons: types, how many, disk in GiB."
  type = object({
    instance_types = list(string)
    size           = number
    size_max       = number
    disk_gib       = optional(number, 50)
  })
  nullable = false

  validation {
    condition     = var.system_nodes.size >= 2 && var.system_nodes.size_max > var.system_nodes.size
    error_message = "system_nodes: expected a size of 2 or more and a larger size_max: the router has two replicas, and updates need one node more."
  }

  validation {
    condition     = length(var.system_nodes.instance_types) > 0 && var.system_nodes.disk_gib >= 20
    error_message = "system_nodes: expected an instance type or more, and a disk of at least 20 GiB."
  }
}

variable "addon_versions" {
  description = "Versions of add-ons by name, such as v1.20.4-eksbuild.1; those left out get EKS's default at creation."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = alltrue([for each in values(var.addon_versions) : startswith(each, "v")])
    error_message = "addon_versions: expected versions that begin with v."
  }
}

variable "deletion_protection" {
  description = "Whether the cluster refuses to be deleted."
  type        = bool
  nullable    = false

  validation {
    condition     = var.deletion_protection != null
    error_message = "deletion_protection: expected true or false."
  }
}

variable "log_retention_days" {
  description = "How long control plane logs are kept; a value that CloudWatch Logs knows."
  type        = number
  default     = 365
  nullable    = false

  validation {
    condition     = contains([30, 60, 90, 120, 150, 180, 365, 400, 545, 731], var.log_retention_days)
    error_message = "log_retention_days: expected 30, 60, 90, 120, 150, 180, 365, 400, 545 or 731."
  }
}

variable "tags" {
  description = "Tags of what EC2 launches for the nodes, which the provider's default tags do not reach."
  type        = map(string)
  nullable    = false

  validation {
    condition     = length(setsubtract(["Project", "Environment", "ManagedBy", "CostCenter"], keys(var.tags))) == 0
    error_message = "tags: expected Project, Environment, ManagedBy and CostCenter."
  }
}
