# ---- adopted after the import ---------------------------------------------------------------------
# DynamoDB's ImportTable makes the new table and the controller turns its capture on; from then on both belong here.

import {
  for_each = local.new_table
  to       = module.new_table[each.key].aws_dynamodb_table.this
  id       = each.key
}

module "new_table" {
  source   = "../../modules/table"
  for_each = local.new_table

  name        = each.key
  kms_key_arn = module.key.arn

  # Nothing expires before COMPLETE; after it: ttl_attribute = "ttl".
  ttl_attribute = null
}

import {
  for_each = local.new_table
  to       = aws_dynamodb_kinesis_streaming_destination.new[each.key]
  id       = "${each.key},${module.streams["new"].arn}"
}

resource "aws_dynamodb_kinesis_streaming_destination" "new" {
  for_each = local.new_table

  table_name                               = module.new_table[each.key].name
  stream_arn                               = module.streams["new"].arn
  approximate_creation_date_time_precision = "MICROSECOND"
}
