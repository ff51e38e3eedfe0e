output "role_arns" {
  description = "For the charts: serviceAccount.annotations eks.amazonaws.com/role-arn."
  value       = module.access.role_arns
}

output "operator_role_arn" {
  description = "For the CLI: aws sts assume-role."
  value       = module.access.operator_role_arn
}

output "bucket" {
  description = "CROSSFADE_BUCKET of the controller."
  value       = module.snapshot.bucket
}

output "redis_address" {
  description = "Host in CROSSFADE_REDIS_URL: rediss://:<password>@<host>:6379/0, from a Secret."
  value       = module.dedup.address
}

output "dashboard" {
  description = "Name of the CloudWatch dashboard."
  value       = module.dashboard.name
}
