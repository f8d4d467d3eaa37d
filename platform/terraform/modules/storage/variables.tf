variable "name" {
  description = "Prefix of the names, for example inference-dev."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}$", var.name))
    error_message = "name: expected 2 to 31 lower-case letters, digits and hyphens."
  }
}

variable "vpc_id" {
  description = "VPC of the file system."
  type        = string
  nullable    = false

  validation {
    condition     = startswith(var.vpc_id, "vpc-")
    error_message = "vpc_id: expected an id like vpc-0123."
  }
}

variable "subnet_id" {
  description = "The one private subnet of the file system: it lives in a single zone."
  type        = string
  nullable    = false

  validation {
    condition     = startswith(var.subnet_id, "subnet-")
    error_message = "subnet_id: expected an id like subnet-0123."
  }
}

variable "security_group_id" {
  description = "Security group of the nodes that mount the file system."
  type        = string
  nullable    = false

  validation {
    condition     = startswith(var.security_group_id, "sg-")
    error_message = "security_group_id: expected an id like sg-0123."
  }
}

variable "model_bucket" {
  description = "Bucket whose models the file system shows and caches."
  type        = string
  nullable    = false

  validation {
    condition     = length(var.model_bucket) >= 3
    error_message = "model_bucket: expected the name of a bucket."
  }
}

variable "kms_key_arn" {
  description = "Key that encrypts file system and images."
  type        = string
  nullable    = false

  validation {
    condition     = startswith(var.kms_key_arn, "arn:")
    error_message = "kms_key_arn: expected an ARN."
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

variable "repositories" {
  description = "Images that this platform builds, each a repository in ECR."
  type        = set(string)
  default     = ["vllm", "router", "chat", "engine-sim", "faultload"]
  nullable    = false

  validation {
    condition     = alltrue([for each in var.repositories : can(regex("^[a-z0-9][a-z0-9/_-]+$", each))])
    error_message = "repositories: expected names of lower-case letters, digits, /, _ and -."
  }
}

variable "images_kept" {
  description = "How many images each repository keeps; older ones are deleted."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.images_kept >= 5 && var.images_kept <= 1000
    error_message = "images_kept: expected 5 to 1000: a rollback needs the images before."
  }
}
