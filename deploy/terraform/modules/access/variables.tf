variable "migration" {
  description = "Name of the migration: of its mapping. The control tables and the roles are named after it."
  type        = string

  validation {
    condition     = can(regex("^[a-zA-Z0-9_.-]{1,40}$", var.migration))
    error_message = "A migration's name has 1 to 40 of a-z, A-Z, 0-9, '_', '.' and '-': role names hold no more."
  }
}

variable "protocol" {
  description = "Protocol of the mapping: \"keyed\", or \"plain\", whose writers nobody changes. A keyed migration's roles get no right that only the plain protocol needs."
  type        = string
  default     = "keyed"

  validation {
    condition     = contains(["keyed", "plain"], var.protocol)
    error_message = "protocol is keyed or plain, as the mapping says: `RuleMapping(protocol=PLAIN)` is plain."
  }
}

variable "tables" {
  description = "Names of the two tables."
  type        = object({ source = string, target = string })

  validation {
    condition     = var.tables.source != var.tables.target
    error_message = "tables.source and tables.target are the same table: a migration has two."
  }
}

variable "streams" {
  description = "Names of the streams: both tables' change records, and the feed."
  type        = object({ source = string, target = string, feed = string })
}

variable "bucket" {
  description = "Bucket of export and import."
  type        = string
}

variable "bucket_prefix" {
  description = "Prefix of all keys in it."
  type        = string
  default     = "crossfade"
}

variable "spill_prefix" {
  description = "Prefix in the bucket under which the verifier keeps rows that wait: its CROSSFADE_SPILL is s3://<bucket>/<prefix>. Null keeps them in the table of reports."
  type        = string
  default     = null

  validation {
    condition     = var.spill_prefix == null ? true : can(regex("^[A-Za-z0-9!_.*'()-]+(/[A-Za-z0-9!_.*'()-]+)*$", var.spill_prefix))
    error_message = "spill_prefix is the prefix alone, without the bucket and without a slash at either end."
  }
}

variable "kms_key_arns" {
  description = "Customer managed keys of tables, streams and bucket; the services may use them through these only."
  type        = list(string)
  default     = []
}

variable "oidc_provider_arn" {
  description = "The cluster's OpenID Connect provider in IAM, for roles of service accounts (IRSA)."
  type        = string

  validation {
    condition     = can(regex("^arn:[a-z-]+:iam::[0-9]{12}:oidc-provider/.+$", var.oidc_provider_arn))
    error_message = "oidc_provider_arn must be arn:aws:iam::<account>:oidc-provider/<issuer>: see `aws iam list-open-id-connect-providers`."
  }
}

variable "namespace" {
  description = "Kubernetes namespace of the services."
  type        = string
  default     = "crossfade"
}

variable "release" {
  description = "Name of the umbrella chart's release: the service accounts are <release>-<service>."
  type        = string
  default     = "crossfade"
}

variable "service_accounts" {
  description = "Service accounts with other names, by service."
  type        = map(string)
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.service_accounts), ["engagement-api", "forward", "reverse", "feed", "verifier", "controller"])) == 0
    error_message = "service_accounts names a service that there is not; there are engagement-api, forward, reverse, feed, verifier and controller."
  }
}

variable "operator_principals" {
  description = "ARNs of who may become the operator: runs the CLI, redrives dead letters, and alone may delete items."
  type        = list(string)

  validation {
    condition     = alltrue([for arn in var.operator_principals : can(regex("^arn:[a-z-]+:(iam|sts)::[0-9]{12}:(role|user|assumed-role)/.+$", arn))])
    error_message = "operator_principals takes ARNs of roles and users: no wildcard and no whole account."
  }
}

variable "source_writes_revoked" {
  description = "Take away the API's right to write the source table. A step of COMPLETE, after all pods work under the final flag."
  type        = bool
  default     = false
}

variable "controller_creates" {
  description = "Let the controller create the streams. Not needed where Terraform made them."
  type        = bool
  default     = false
}

variable "operator_creates" {
  description = "Let the operator create and protect the control tables (`crossfade control create`). Not needed where Terraform made them."
  type        = bool
  default     = false
}

variable "open_mapping" {
  description = "The mapping keeps attributes that it does not know (`open`): its transfers are read and written item by item."
  type        = bool
  default     = false
}

variable "lambda_roles" {
  description = "Replicators that run as Lambda instead of in the cluster, with the queue of what could not be processed."
  type        = map(object({ function_name = string, on_failure_arn = string, in_vpc = optional(bool, true) }))
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.lambda_roles), ["forward", "reverse", "feed"])) == 0
    error_message = "lambda_roles may have forward, reverse and feed: nothing else runs as Lambda."
  }

  validation {
    condition     = var.protocol == "keyed" || length(setsubtract(keys(var.lambda_roles), ["feed"])) == 0
    error_message = "lambda_roles may have only feed under the plain protocol: its replicators run in the cluster (ADR 0044)."
  }
}

variable "permissions_boundary" {
  description = "Permissions boundary of the roles; null for none."
  type        = string
  default     = null
}

variable "tags" {
  description = "Tags of the roles."
  type        = map(string)
  default     = {}
}
