locals {
  issuer   = split(":oidc-provider/", var.oidc_provider_arn)[1]
  services = [for service in keys(local.policies) : service if service != "operator"]

  # As the umbrella chart names them.
  accounts = { for service in local.services : service => lookup(var.service_accounts, service, "${var.release}-${service}") }

  trust_pod = { for service in local.services : service => {
    Effect    = "Allow"
    Action    = "sts:AssumeRoleWithWebIdentity"
    Principal = { Federated = var.oidc_provider_arn }
    Condition = { StringEquals = {
      "${local.issuer}:aud" = "sts.amazonaws.com"
      "${local.issuer}:sub" = "system:serviceaccount:${var.namespace}:${local.accounts[service]}"
    } }
  } }

  trust_lambda = { for role in keys(var.lambda_roles) : role => {
    Effect    = "Allow"
    Action    = "sts:AssumeRole"
    Principal = { Service = "lambda.amazonaws.com" }
    Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } }
  } }
}

resource "aws_iam_role" "service" {
  for_each = toset(local.services)

  name                 = "${var.migration}-crossfade-${each.key}"
  description          = "Crossfade ${each.key} of the migration ${var.migration}"
  permissions_boundary = var.permissions_boundary
  tags                 = var.tags

  assume_role_policy = contains(keys(var.lambda_roles), each.key) ? jsonencode({ Version = "2012-10-17", Statement = [local.trust_lambda[each.key]] }) : jsonencode({ Version = "2012-10-17", Statement = [local.trust_pod[each.key]] })
}

resource "aws_iam_role_policy" "service" {
  for_each = toset(local.services)

  name   = "crossfade"
  role   = aws_iam_role.service[each.key].id
  policy = local.policies[each.key]
}

resource "aws_iam_role" "operator" {
  count = length(var.operator_principals) > 0 ? 1 : 0

  name                 = "${var.migration}-crossfade-operator"
  description          = "Drives the migration ${var.migration} by the CLI"
  permissions_boundary = var.permissions_boundary
  max_session_duration = 3600
  tags                 = var.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { AWS = var.operator_principals }
    }]
  })
}

resource "aws_iam_role_policy" "operator" {
  count = length(var.operator_principals) > 0 ? 1 : 0

  name   = "crossfade"
  role   = aws_iam_role.operator[0].id
  policy = local.policies["operator"]
}
