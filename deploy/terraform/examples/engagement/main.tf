# The migration of the demo: from the shared table wallet to the target table engagement.

locals {
  migration = "engagement"
  tables    = { source = "wallet", target = "engagement" }
  streams   = { source = "wallet-changes", target = "engagement-changes", feed = "engagement-events" }

  target_table = var.target_table_imported ? toset([local.tables.target]) : toset([])
  consumers    = ["forward", "reverse", "feed-source", "feed-target"]
  # Forward as Lambda holds no leases: AWS's own metrics watch it.
  replicators   = var.forward_lambda == null ? local.consumers : setsubtract(local.consumers, ["forward"])
  running       = concat(["engagement-api", "controller"], var.replicating ? concat(["verifier"], tolist(local.replicators)) : var.source_writes_revoked ? ["feed-target"] : [])
  function_name = "${local.migration}-crossfade-forward"
  on_failure    = "arn:${data.aws_partition.current.partition}:sqs:${var.region}:${data.aws_caller_identity.current.account_id}:${local.function_name}-on-failure"
}

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

module "key" {
  source = "./key"

  name   = local.migration
  region = var.region
}

# ---- made before `crossfade start` ---------------------------------------------------------------

module "control_tables" {
  source   = "../../modules/table"
  for_each = module.access.control_tables

  name        = each.value
  kms_key_arn = module.key.arn
}

module "streams" {
  source   = "../../modules/change-stream"
  for_each = local.streams

  name        = each.value
  shards      = var.shards
  retention_h = var.retention_h
  kms_key_arn = module.key.arn

  # The controller enables capture at the moment that the snapshot needs, and of the target table when there is one.
  table = null
}

module "snapshot" {
  source = "../../modules/snapshot"

  source_table = local.tables.source
  bucket       = var.bucket
  log_bucket   = var.log_bucket
  kms_key_arn  = module.key.arn
}

module "dedup" {
  source = "../../modules/dedup"

  name                      = "${local.migration}-marks"
  vpc_id                    = var.vpc_id
  subnet_ids                = var.private_subnet_ids
  client_security_group_ids = var.service_security_group_ids
  auth_token                = var.redis_auth_token
  auth_token_version        = var.redis_auth_token_version
  kms_key_arn               = module.key.arn
}

module "access" {
  source = "../../modules/access"

  migration             = local.migration
  tables                = local.tables
  streams               = local.streams
  bucket                = var.bucket
  kms_key_arns          = [module.key.arn]
  oidc_provider_arn     = var.oidc_provider_arn
  namespace             = var.namespace
  release               = var.release
  operator_principals   = var.operator_principals
  source_writes_revoked = var.source_writes_revoked

  lambda_roles = var.forward_lambda == null ? {} : {
    forward = { function_name = local.function_name, on_failure_arn = local.on_failure, in_vpc = false }
  }
}

module "forward_lambda" {
  source = "../../modules/replicator-lambda"
  count  = var.forward_lambda == null ? 0 : 1

  name        = local.function_name
  consumer    = "forward"
  role_arn    = module.access.role_arns["forward"]
  package     = { bucket = var.forward_lambda.bucket, key = var.forward_lambda.key }
  stream_arns = { source = module.streams["source"].arn }
  retention_h = var.retention_h
  concurrency = var.forward_lambda.concurrency
  enabled     = var.target_table_imported # nothing to write to before
  kms_key_arn = module.key.arn

  environment = { CROSSFADE_SOURCE_STREAM = local.streams.source, CROSSFADE_TARGET_STREAM = local.streams.target }
}

module "alarms" {
  source = "../../modules/alarms"

  migration     = local.migration
  tables        = { source = local.tables.source, target = var.target_table_imported ? local.tables.target : null }
  streams       = local.streams
  retention_h   = var.retention_h
  dedup_nodes   = module.dedup.nodes
  running       = local.running
  captured      = compact([var.capturing ? "source" : "", var.replicating ? "target" : ""])
  alarm_actions = [var.pager_topic_arn]
  runbooks_url  = var.runbooks_url

  functions = { for each in module.forward_lambda[*] : "forward" => { function_name = each.function_name, on_failure_queue = each.on_failure_queue } }
}

module "dashboard" {
  source = "../../modules/dashboards"

  migration  = local.migration
  tables     = { source = local.tables.source, target = var.target_table_imported ? local.tables.target : null }
  streams    = local.streams
  alarm_arns = values(module.alarms.arns)
}
