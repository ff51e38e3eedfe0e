output "role_arns" {
  description = "Role of each service: the charts' serviceAccount annotation eks.amazonaws.com/role-arn, or a Lambda function's role."
  value       = { for service, role in aws_iam_role.service : service => role.arn }
}

output "operator_role_arn" {
  description = "Role of the operator; null when nobody may become one."
  value       = one(aws_iam_role.operator[*].arn)
}

output "policies" {
  description = "The policies as JSON, by service."
  value       = local.policies
}

output "control_tables" {
  description = "Names of the control tables."
  value       = local.control_tables
}
