variable "name" {
  description = "Name of the stream."
  type        = string

  validation {
    condition     = can(regex("^[a-zA-Z0-9_.-]{1,128}$", var.name))
    error_message = "A stream's name has 1 to 128 of a-z, A-Z, 0-9, '_', '.' and '-': give it such a name."
  }
}

variable "table" {
  description = "Table whose change records go to the stream; null when the controller enables that, or for the feed."
  type        = string
  default     = null
}

variable "shards" {
  description = "Number of shards; null for on demand. `crossfade plan` says how many."
  type        = number
  default     = null

  validation {
    condition     = var.shards == null || try(var.shards >= 1, false)
    error_message = "shards must be at least 1; leave it null for an on-demand stream."
  }
}

variable "retention_h" {
  description = "Hours that records are kept: 168 during a migration."
  type        = number
  default     = 168

  validation {
    condition     = var.retention_h >= 48 && var.retention_h <= 8760
    error_message = "retention_h must be 48 to 8760: a record that expires before it is applied is lost. Keep 168 during a migration; after it, 48 is the least."
  }
}

variable "kms_key_arn" {
  description = "Customer managed key; null for the key that AWS manages for Kinesis. DynamoDB's service-linked role must be allowed to use it."
  type        = string
  default     = null
}

variable "tags" {
  description = "Tags of the stream."
  type        = map(string)
  default     = {}
}
