# ---- adopted after the import ---------------------------------------------------------------------
# DynamoDB's ImportTable makes the target table and the controller turns its capture on; from then on both belong here.

import {
  for_each = local.target_table
  to       = module.target_table[each.key].aws_dynamodb_table.this
  id       = each.key
}

module "target_table" {
  source   = "../../modules/table"
  for_each = local.target_table

  name        = each.key
  kms_key_arn = module.key.arn

  # Nothing expires before COMPLETE; after it: ttl_attribute = "ttl".
  ttl_attribute = null
}

import {
  for_each = local.target_table
  to       = aws_dynamodb_kinesis_streaming_destination.target[each.key]
  id       = "${each.key},${module.streams["target"].arn}"
}

resource "aws_dynamodb_kinesis_streaming_destination" "target" {
  for_each = local.target_table

  table_name                               = module.target_table[each.key].name
  stream_arn                               = module.streams["target"].arn
  approximate_creation_date_time_precision = "MICROSECOND"
}
