variable "name" {
  description = "Prefix of the names, for example inference-dev."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,30}$", var.name))
    error_message = "name: expected 2 to 31 lower-case letters, digits and hyphens."
  }
}

variable "bucket_name" {
  description = "Name of the bucket of models; unique in all of AWS."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.bucket_name))
    error_message = "bucket_name: expected 3 to 63 lower-case letters, digits and hyphens."
  }
}

variable "kms_key_arn" {
  description = "Key that encrypts bucket and table."
  type        = string
  nullable    = false

  validation {
    condition     = startswith(var.kms_key_arn, "arn:")
    error_message = "kms_key_arn: expected an ARN."
  }
}

variable "old_versions_days" {
  description = "How long an overwritten or deleted file can still be brought back."
  type        = number
  default     = 90
  nullable    = false

  validation {
    condition     = var.old_versions_days >= 7 && var.old_versions_days <= 3650
    error_message = "old_versions_days: expected 7 to 3650 days."
  }
}

variable "deletion_protection" {
  description = "Whether the table refuses to be deleted."
  type        = bool
  nullable    = false

  validation {
    condition     = contains([true, false], var.deletion_protection)
    error_message = "deletion_protection: expected true or false."
  }
}
