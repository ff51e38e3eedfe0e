variable "name" {
  description = "Name of the function."
  type        = string

  validation {
    condition     = can(regex("^[a-zA-Z0-9_-]{1,64}$", var.name))
    error_message = "A function's name has 1 to 64 of a-z, A-Z, 0-9, '_' and '-'."
  }
}

variable "consumer" {
  description = "What it does: forward, reverse or feed."
  type        = string

  validation {
    condition     = contains(["forward", "reverse", "feed"], var.consumer)
    error_message = "consumer must be forward, reverse or feed."
  }
}

variable "role_arn" {
  description = "IAM role: module access with this role in lambda_roles makes it."
  type        = string
}

variable "stream_arns" {
  description = "The streams that it reads: one for forward or reverse, both tables' for the feed; by a name of yours."
  type        = map(string)

  validation {
    condition     = length(var.stream_arns) == (var.consumer == "feed" ? 2 : 1)
    error_message = "A forward or reverse replicator reads one stream, the feed reads two: correct stream_arns."
  }
}

variable "retention_h" {
  description = "Hours that the streams keep records: output retention_h of module change-stream."
  type        = number

  validation {
    condition     = var.retention_h >= 48
    error_message = "retention_h is below 48: what Lambda gives up on would be out of the stream before anybody could look. Raise the stream's retention."
  }
}

variable "package" {
  description = "The zip of `make lambda` in a bucket; null with image_uri."
  type        = object({ bucket = string, key = string })
  default     = null

  validation {
    condition     = (var.package == null) != (var.image_uri == null)
    error_message = "Give either package (a zip) or image_uri (a container image)."
  }
}

variable "image_uri" {
  description = "Container image, by digest; null with package."
  type        = string
  default     = null

  validation {
    condition     = var.image_uri == null || can(regex("@sha256:[0-9a-f]{64}$", var.image_uri))
    error_message = "image_uri must end with a digest, @sha256:…: a tag can change under a running migration."
  }
}

variable "handler" {
  description = "Handler within the zip."
  type        = string
  default     = "crossfade_replicator.lambda_handler.lambda_handler"
}

variable "architecture" {
  description = "x86_64 or arm64, as the package was built."
  type        = string
  default     = "x86_64"

  validation {
    condition     = contains(["x86_64", "arm64"], var.architecture)
    error_message = "architecture must be x86_64 or arm64."
  }
}

variable "environment" {
  description = "CROSSFADE_… and OTEL_… settings of the replicator; no secrets: they are in the state."
  type        = map(string)
  default     = {}

  validation {
    condition     = length(setintersection(keys(var.environment), ["CROSSFADE_INSECURE", "CROSSFADE_REDIS_URL"])) == 0
    error_message = "CROSSFADE_INSECURE is for tests, and CROSSFADE_REDIS_URL carries the password of the marks, which would be in the state: take them out of environment. Without marks every copy is written, which is right, but costs the duplicates."
  }
}

variable "vpc" {
  description = "Subnets and security groups, where what it calls is in a VPC; null for none."
  type        = object({ subnet_ids = list(string), security_group_ids = list(string) })
  default     = null
}

variable "enabled" {
  description = "Read the streams. Off until the phase begins that needs this consumer."
  type        = bool
  default     = true
}

variable "batch_size" {
  description = "Most records of one call."
  type        = number
  default     = 1000

  validation {
    condition     = var.batch_size >= 1 && var.batch_size <= 10000
    error_message = "batch_size must be 1 to 10000."
  }
}

variable "window_s" {
  description = "Longest wait for a batch to fill, in seconds: it is added to the lag."
  type        = number
  default     = 1

  validation {
    condition     = var.window_s >= 0 && var.window_s <= 5
    error_message = "window_s must be 0 to 5: the lag gate before RAMPING is 5 s."
  }
}

variable "retries" {
  description = "Attempts at a batch before Lambda gives it up. A throttled batch is sent again, so keep it high."
  type        = number
  default     = 10000

  validation {
    condition     = var.retries >= 100 && var.retries <= 10000
    error_message = "retries must be 100 to 10000: below, a throttled hour would end in the failure queue; endless (-1) would stop the shard until its records expire."
  }
}

variable "memory_mb" {
  description = "Memory in MB; the CPU share grows with it, 1769 is one core."
  type        = number
  default     = 1769

  validation {
    condition     = var.memory_mb >= 512 && var.memory_mb <= 10240
    error_message = "memory_mb must be 512 to 10240."
  }
}

variable "timeout_s" {
  description = "Longest time of one call."
  type        = number
  default     = 60

  validation {
    condition     = var.timeout_s >= 15 && var.timeout_s <= 900
    error_message = "timeout_s must be 15 to 900: a batch that is throttled takes its time."
  }
}

variable "concurrency" {
  description = "Concurrent calls kept for it: one more than there are shards, or shards wait for each other."
  type        = number

  validation {
    condition     = var.concurrency >= 1
    error_message = "concurrency must be at least 1: 0 would stop the function."
  }
}

variable "log_days" {
  description = "Days that logs are kept; the metrics travel in them (EMF), and stay in CloudWatch."
  type        = number
  default     = 30
}

variable "kms_key_arn" {
  description = "Customer managed key of environment, queue and logs; null for those that AWS manages."
  type        = string
  default     = null
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
}
