variable "migration" {
  description = "Name of the migration; the dimension Migration of its metrics."
  type        = string

  validation {
    condition     = can(regex("^[a-zA-Z0-9_.-]{1,200}$", var.migration))
    error_message = "migration must be the mapping's name: 1 to 200 of a-z, A-Z, 0-9, '_', '.' and '-'."
  }
}

variable "tables" {
  description = "Names of the tables that are watched. Name the new one once it exists."
  type        = object({ source = string, target = optional(string) })
}

variable "streams" {
  description = "Names of the streams: both tables' change records, and the feed."
  type        = object({ source = string, target = string, feed = string })
}

variable "retention_h" {
  description = "Hours that the change streams keep records."
  type        = number
  default     = 168

  validation {
    condition     = var.retention_h >= 48
    error_message = "retention_h is below 48: raise the streams' retention (module change-stream)."
  }
}

variable "functions" {
  description = "Replicators that run as Lambda: consumer to names of function and failure queue."
  type        = map(object({ function_name = string, on_failure_queue = string }))
  default     = {}
}

variable "dedup_nodes" {
  description = "ElastiCache nodes: output nodes of module dedup."
  type        = list(string)
  default     = []
}

variable "alarm_actions" {
  description = "ARNs of SNS topics for what pages (severity page)."
  type        = list(string)

  validation {
    condition     = length(var.alarm_actions) > 0
    error_message = "alarm_actions is empty: nobody would be woken. Name an SNS topic."
  }
}

variable "ticket_actions" {
  description = "ARNs of SNS topics for what can wait until morning (severity ticket); empty: as alarm_actions."
  type        = list(string)
  default     = []
}

variable "runbooks_url" {
  description = "Where deploy/runbooks can be read; each alarm names its page there."
  type        = string
  default     = "https://example.com/runbooks"

  validation {
    condition     = startswith(var.runbooks_url, "https://") && !endswith(var.runbooks_url, "/")
    error_message = "runbooks_url must begin with https:// and have no slash at its end."
  }
}

variable "running" {
  description = "Who must be heard of: their silence alarms, and their alarms stay as they were while they are silent. Add the consumers and the verifier when BOTH_WAYS begins; take out after COMPLETE or an abort what no longer runs, and whoever sends no metrics to CloudWatch."
  type        = set(string)
  default     = ["engagement-api", "controller"]

  validation {
    condition     = length(setsubtract(var.running, ["engagement-api", "controller", "verifier", "forward", "reverse", "feed-source", "feed-target"])) == 0
    error_message = "running may name engagement-api, controller, verifier, forward, reverse, feed-source and feed-target."
  }
}

variable "captured" {
  description = "Sides (source, target) whose changes are captured into their stream and must be read: source from CAPTURING on, target from BOTH_WAYS on. A stream that nobody reads for a day alarms, also before the first consumer began."
  type        = set(string)
  default     = []

  validation {
    condition     = length(setsubtract(var.captured, ["source", "target"])) == 0
    error_message = "captured may name source and target."
  }
}

variable "bounds" {
  description = "Other bounds than the alert rules have: name of the alarm to bound, in CloudWatch's unit (times in ms)."
  type        = map(number)
  default     = {}

  validation {
    condition     = length(setsubtract(keys(var.bounds), [for each in yamldecode(file("${path.module}/alarms.yaml")) : try(each.alarm, each.name)])) == 0
    error_message = "bounds names an alarm that there is not; alarms.yaml has them under alarm, or else under name: iterator-age, lag, dead-letters, gates …"
  }
}

variable "aws_bounds" {
  description = "Bounds of the alarms on AWS's own metrics."
  type = object({
    iterator_age_s    = optional(number, 60)
    table_to_stream_s = optional(number, 60)
    expiry_margin_h   = optional(number, 24)
    throttles_per_min = optional(number, 100)
    dedup_memory_pct  = optional(number, 80)
    dedup_cpu_pct     = optional(number, 80)
  })
  default = {}

  validation {
    condition     = var.aws_bounds.expiry_margin_h >= 24 && var.aws_bounds.expiry_margin_h < var.retention_h
    error_message = "aws_bounds.expiry_margin_h must be at least 24 and below retention_h: somebody must have the time to act."
  }
}

variable "enabled" {
  description = "Actions of the alarms are carried out."
  type        = bool
  default     = true
}

variable "tags" {
  description = "Tags of the alarms."
  type        = map(string)
  default     = {}
}
