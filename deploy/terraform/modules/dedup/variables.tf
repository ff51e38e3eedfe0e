variable "name" {
  description = "Name of the replication group and of what belongs to it."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,39}$", var.name)) && !endswith(var.name, "-") && !strcontains(var.name, "--")
    error_message = "The name has 1 to 40 of a-z, 0-9 and '-', begins with a letter, and has no two dashes in a row nor one at its end."
  }
}

variable "vpc_id" {
  description = "VPC of the services."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets, in two availability zones at least."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "subnet_ids needs two subnets in different availability zones, for the failover."
  }
}

variable "client_security_group_ids" {
  description = "Who may connect: name to security group."
  type        = map(string)

  validation {
    condition     = length(var.client_security_group_ids) > 0
    error_message = "client_security_group_ids is empty: nobody could connect. Name the security groups of API and replicators."
  }
}

variable "node_type" {
  description = "Node type. A mark takes about 200 bytes: writes a second x TTL in seconds x 200."
  type        = string
  default     = "cache.r7g.large"
}

variable "replicas" {
  description = "Replicas in other availability zones."
  type        = number
  default     = 1

  validation {
    condition     = var.replicas >= 0 && var.replicas <= 5
    error_message = "replicas must be 0 to 5; with 0, losing the node loses all marks, which costs writes but loses nothing."
  }
}

variable "auth_token" {
  description = "Password of the store, 16 to 128 characters. Ephemeral: it is in no plan and no state."
  type        = string
  sensitive   = true
  ephemeral   = true

  validation {
    condition     = length(var.auth_token) >= 16 && length(var.auth_token) <= 128 && !can(regex("[/@\" ]", var.auth_token))
    error_message = "auth_token must have 16 to 128 characters without space, slash, at sign and double quote."
  }
}

variable "auth_token_version" {
  description = "Raise it to send a new auth_token."
  type        = number
  default     = 1
}

variable "kms_key_arn" {
  description = "Customer managed key; null for the one that AWS manages."
  type        = string
  default     = null
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
}
