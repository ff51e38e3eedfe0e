variable "migration" {
  description = "Name of the migration; the dimension Migration of its metrics."
  type        = string
}

variable "tables" {
  description = "Names of the tables; the new one once it exists."
  type        = object({ source = string, target = optional(string) })
}

variable "streams" {
  description = "Names of the streams."
  type        = object({ source = string, target = string, feed = string })
}

variable "alarm_arns" {
  description = "Alarms to show on top: values of output arns of module alarms."
  type        = list(string)
  default     = []

  validation {
    condition     = length(var.alarm_arns) <= 100
    error_message = "A dashboard's alarm widget takes at most 100 alarms: leave some out."
  }
}
