variable "name" {
  description = "Name of the table."
  type        = string

  validation {
    condition     = can(regex("^[a-zA-Z0-9_.-]{3,255}$", var.name))
    error_message = "A table's name has 3 to 255 of a-z, A-Z, 0-9, '_', '.' and '-': give it such a name."
  }
}

variable "hash_key" {
  description = "Name of the partition key."
  type        = string
  default     = "pk"
}

variable "range_key" {
  description = "Name of the sort key; null for a table without one."
  type        = string
  default     = "sk"
}

variable "key_types" {
  description = "Types of the key attributes that are not strings: N or B, by name."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for kind in values(var.key_types) : contains(["S", "N", "B"], kind)])
    error_message = "The type of a key attribute is S, N or B: correct key_types."
  }
}

variable "ttl_attribute" {
  description = "Attribute that rows expire by. Leave it null until the migration is COMPLETE: nothing of it may expire before."
  type        = string
  default     = null
}

variable "max_write_units" {
  description = "Upper bound of write units a second, against runaway cost; null for none. A bound that is met is a throttle."
  type        = number
  default     = null

  validation {
    condition     = var.max_write_units == null || try(var.max_write_units >= 1, false)
    error_message = "max_write_units must be at least 1; leave it null for no bound."
  }
}

variable "kms_key_arn" {
  description = "Customer managed key; null for the key that AWS manages for DynamoDB."
  type        = string
  default     = null
}

variable "deletion_protection" {
  description = "Refuse to delete the table."
  type        = bool
  default     = true
}

variable "tags" {
  description = "Tags of the table."
  type        = map(string)
  default     = {}
}
