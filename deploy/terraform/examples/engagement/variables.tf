variable "region" {
  description = "AWS Region of both tables and all streams: change streams stay in their table's Region."
  type        = string
  default     = "us-east-1"
}

# How far the migration has come. Terraform does not drive it: the CLI does, and these follow.

variable "capturing" {
  description = "`crossfade start` has begun, and COMPLETE is not reached: the source table's changes are captured, so somebody must read them in time."
  type        = bool
  default     = false
}

variable "target_table_imported" {
  description = "The snapshot's import has made the target table (phase CATCHING_UP or later): adopt it and its change stream."
  type        = bool
  default     = false
}

variable "replicating" {
  description = "Forward, reverse and feed must run (BOTH_WAYS to COMPLETE): their silence alarms."
  type        = bool
  default     = false

  validation {
    condition     = !var.replicating || var.target_table_imported
    error_message = "replicating needs target_table_imported: nothing replicates before there is a target table."
  }
}

variable "source_writes_revoked" {
  description = "`crossfade complete` asks for it: take away the API's right to write the source table."
  type        = bool
  default     = false

  validation {
    condition     = !var.source_writes_revoked || var.target_table_imported
    error_message = "source_writes_revoked needs target_table_imported: the API would have no table left to write."
  }
}

variable "shards" {
  description = "Shards of each stream; null for on demand. `crossfade plan` says how many."
  type        = number
  default     = null
}

variable "retention_h" {
  description = "Hours that the streams keep records: 168 during the migration."
  type        = number
  default     = 168
}

variable "bucket" {
  description = "Name of the bucket for export and import; unique in all of AWS."
  type        = string
}

variable "log_bucket" {
  description = "Bucket for access logs; null for none."
  type        = string
  default     = null
}

variable "vpc_id" {
  description = "VPC of the cluster."
  type        = string
}

variable "private_subnet_ids" {
  description = "Private subnets of it, in two availability zones at least."
  type        = list(string)
}

variable "service_security_group_ids" {
  description = "Who connects to the marks: name to security group of API and replicators."
  type        = map(string)
}

variable "redis_auth_token" {
  description = "Password of the marks' store: TF_VAR_redis_auth_token, from your secret store. In no plan and no state."
  type        = string
  sensitive   = true
  ephemeral   = true
}

variable "redis_auth_token_version" {
  description = "Raise it to send a new password."
  type        = number
  default     = 1
}

variable "oidc_provider_arn" {
  description = "The cluster's OpenID Connect provider in IAM."
  type        = string
}

variable "namespace" {
  description = "Kubernetes namespace of the services."
  type        = string
  default     = "migration"
}

variable "release" {
  description = "Name of the umbrella chart's release."
  type        = string
  default     = "wallet"
}

variable "operator_principals" {
  description = "ARNs of the roles that may become the operator."
  type        = list(string)
}

variable "forward_lambda" {
  description = "Run the forward replicator as Lambda: the zip of `make lambda` in a bucket. Null: in the cluster, by its chart."
  type        = object({ bucket = string, key = string, concurrency = number })
  default     = null
}

variable "pager_topic_arn" {
  description = "SNS topic that wakes somebody."
  type        = string
}

variable "runbooks_url" {
  description = "Where deploy/runbooks can be read."
  type        = string
}
