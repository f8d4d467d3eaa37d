variable "environment" {
  description = "Which environment this is; part of every name and the Environment tag."
  type        = string
  nullable    = false

  validation {
    condition     = contains(["dev", "staging", "prod"], var.environment)
    error_message = "environment: expected dev, staging or prod."
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

variable "gpu_groups" {
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
    condition     = length(var.gpu_groups) > 0
    error_message = "gpu_groups: expected one group or more: without a GPU there is nothing to serve."
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

variable "identity_mode" {
  description = "How pods get their role: pod_identity (EKS Pod Identity) or irsa (IAM roles for service accounts, by OIDC)."
  type        = string
  default     = "pod_identity"
  nullable    = false

  validation {
    condition     = contains(["pod_identity", "irsa"], var.identity_mode)
    error_message = "identity_mode: expected pod_identity or irsa."
  }
}

variable "lustre" {
  description = "FSx for Lustre as a cache of models: whether, its size in GiB, and its throughput in MB/s for each TiB."
  type = object({
    enabled                 = bool
    capacity_gib            = optional(number, 1200)
    throughput_mbs_per_tib  = optional(number, 125)
    copy_back_to_the_bucket = optional(bool, false)
  })
  nullable = false

  validation {
    condition     = var.lustre.capacity_gib == 1200 || var.lustre.capacity_gib % 2400 == 0
    error_message = "lustre: expected a capacity_gib of 1200 or a multiple of 2400, as PERSISTENT_2 on SSD has it."
  }

  validation {
    condition     = contains([125, 250, 500, 1000], var.lustre.throughput_mbs_per_tib)
    error_message = "lustre: expected a throughput_mbs_per_tib of 125, 250, 500 or 1000."
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

variable "managed_prometheus" {
  description = "Whether to make a workspace in Amazon Managed Prometheus, for keeping samples longer than the cluster lives."
  type        = bool
  nullable    = false

  validation {
    condition     = contains([true, false], var.managed_prometheus)
    error_message = "managed_prometheus: expected true or false."
  }
}

variable "install_operators" {
  description = "Whether Terraform installs the operators' charts. Nothing else does: without them nothing is scaled, scraped or given traffic and no GPU is offered, so false is for as long as there is no way to the API server."
  type        = bool
  nullable    = false

  validation {
    condition     = contains([true, false], var.install_operators)
    error_message = "install_operators: expected true or false."
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

variable "budget" {
  description = "What the environment may cost in US dollars a month, and who hears of it at 80 % and when 100 % is forecast."
  type = object({
    usd_per_month = number
    emails        = list(string)
  })
  nullable = false

  validation {
    condition     = var.budget.usd_per_month > 0 && length(var.budget.emails) > 0
    error_message = "budget: expected a sum above 0 and one address or more."
  }
}
