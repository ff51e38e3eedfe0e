variable "name" {
  description = "Name of the migration."
  type        = string
}

variable "region" {
  description = "AWS Region."
  type        = string
}
