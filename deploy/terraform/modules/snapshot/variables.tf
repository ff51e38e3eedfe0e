variable "source_table" {
  description = "Name of the table that the snapshot is taken of; only read about."
  type        = string
}

variable "bucket" {
  description = "Name of the bucket; CROSSFADE_BUCKET of the controller."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.bucket))
    error_message = "A bucket's name has 3 to 63 of a-z, 0-9, '.' and '-', and begins and ends with a letter or digit."
  }
}

variable "prefix" {
  description = "Prefix of all keys; CROSSFADE_BUCKET_PREFIX of the controller."
  type        = string
  default     = "crossfade"

  validation {
    condition     = length(var.prefix) > 0 && !endswith(var.prefix, "/") && !startswith(var.prefix, "/")
    error_message = "prefix is needed, without a slash at its ends: the lifecycle rule goes by it."
  }
}

variable "keep_days" {
  description = "Days after which export and import files go: they hold rows of the source table."
  type        = number
  default     = 14

  validation {
    condition     = var.keep_days >= 7 && var.keep_days <= 90
    error_message = "keep_days must be 7 to 90: a migration may import again for as long as the streams keep their records (168 h), and copies of customers' rows must not stay."
  }
}

variable "kms_key_arn" {
  description = "Customer managed key; null for the key that AWS manages for S3."
  type        = string
  default     = null
}

variable "log_bucket" {
  description = "Bucket for access logs; null for none."
  type        = string
  default     = null
}

variable "tags" {
  description = "Tags of the bucket."
  type        = map(string)
  default     = {}
}
