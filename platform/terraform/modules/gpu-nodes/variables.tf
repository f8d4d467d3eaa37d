variable "cluster_name" {
  description = "EKS cluster that the nodes join."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}$", var.cluster_name))
    error_message = "cluster_name: expected 2 to 31 lower-case letters, digits and hyphens."
  }
}

variable "cluster_arn" {
  description = "ARN of the same cluster, for Karpenter's role."
  type        = string
  nullable    = false

  validation {
    condition     = startswith(var.cluster_arn, "arn:")
    error_message = "cluster_arn: expected an ARN."
  }
}

variable "kubernetes_version" {
  description = "Kubernetes version of the nodes: the cluster's."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^1\\.[0-9]{2}$", var.kubernetes_version))
    error_message = "kubernetes_version: expected a version like 1.35."
  }
}

variable "node_role_arn" {
  description = "IAM role of the nodes."
  type        = string
  nullable    = false

  validation {
    condition     = startswith(var.node_role_arn, "arn:")
    error_message = "node_role_arn: expected an ARN."
  }
}

variable "node_role_name" {
  description = "Name of the same role, for Karpenter's instance profile."
  type        = string
  nullable    = false

  validation {
    condition     = length(var.node_role_name) > 0
    error_message = "node_role_name: expected a name, found an empty text."
  }
}

variable "security_group_id" {
  description = "Security group of control plane and nodes, which Karpenter's nodes join too."
  type        = string
  nullable    = false

  validation {
    condition     = startswith(var.security_group_id, "sg-")
    error_message = "security_group_id: expected an id like sg-0123."
  }
}

variable "subnet_ids" {
  description = "Private subnets by zone."
  type        = map(string)
  nullable    = false

  validation {
    condition     = length(var.subnet_ids) >= 3
    error_message = "subnet_ids: expected three zones or more: spot capacity differs between them."
  }
}

variable "groups" {
  description = <<-EOT
    GPU nodes by group name. All instance types of a group have the same GPU, and `gpus` of them or more.
    capacity_type: ON_DEMAND or SPOT. size is the number at creation, which nothing changes by itself: where pods
    are to bring nodes, Karpenter adds some of the same kind beside the group, up to size_max of its own.
    zones: those to use, all when left out. disk_gib: the image of vLLM alone unpacks to about 25 GiB.
  EOT
  type = map(object({
    gpu            = string
    gpus           = number
    instance_types = list(string)
    capacity_type  = string
    size_min       = number
    size           = number
    size_max       = number
    zones          = optional(set(string))
    disk_gib       = optional(number, 200)
    labels         = optional(map(string), {})
  }))
  nullable = false

  validation {
    condition     = alltrue([for each in var.groups : contains(["t4", "l4", "a10g", "l40s", "h100"], each.gpu)])
    error_message = "groups: expected a gpu of t4, l4, a10g, l40s or h100."
  }

  validation {
    condition = alltrue([
      for each in var.groups : alltrue([
        for type in each.instance_types : startswith(type, lookup({
          t4 = "g4dn.", l4 = "g6.", a10g = "g5.", l40s = "g6e.", h100 = "p5."
        }, each.gpu, "?"))
      ])
    ])
    error_message = "groups: expected instance types with the group's gpu: g4dn for t4, g6 for l4, g5 for a10g, g6e for l40s, p5 for h100."
  }

  validation {
    condition     = alltrue([for each in var.groups : contains(["ON_DEMAND", "SPOT"], each.capacity_type)])
    error_message = "groups: expected a capacity_type of ON_DEMAND or SPOT."
  }

  validation {
    condition = alltrue([
      for each in var.groups : length(distinct(each.instance_types)) >= (each.capacity_type == "SPOT" ? 3 : 1)
    ])
    error_message = "groups: expected three instance types or more in a SPOT group: one type alone is often out of capacity."
  }

  validation {
    condition = alltrue([
      for each in var.groups :
      each.size_min >= 0 && each.size_min <= each.size && each.size <= each.size_max && each.size_max >= 1
    ])
    error_message = "groups: expected 0 <= size_min <= size <= size_max, and size_max of at least 1."
  }

  validation {
    condition     = alltrue([for each in var.groups : each.gpus >= 1 && each.disk_gib >= 100])
    error_message = "groups: expected one GPU or more, and a disk of at least 100 GiB."
  }
}

variable "karpenter" {
  description = "Let Karpenter launch GPU nodes, too: whether, and its chart's version."
  type = object({
    enabled       = bool
    chart_version = optional(string, "1.14.0")
  })
  default  = { enabled = false }
  nullable = false

  validation {
    condition     = can(regex("^1\\.[0-9]+\\.[0-9]+$", var.karpenter.chart_version))
    error_message = "karpenter: expected an exact chart_version like 1.14.0."
  }
}

variable "install_operators" {
  description = "Whether to install Karpenter's chart where Karpenter is on; false while there is no way to the API server: until then no node is added."
  type        = bool
  default     = true
  nullable    = false

  validation {
    condition     = contains([true, false], var.install_operators)
    error_message = "install_operators: expected true or false."
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
