data "aws_partition" "current" {}

data "aws_region" "current" {}

data "aws_caller_identity" "current" {}

locals {
  partition = data.aws_partition.current.partition
  place     = "${data.aws_region.current.region}:${data.aws_caller_identity.current.account_id}"

  # As crossfade/core/migration/control.py names them.
  control_tables = {
    journal      = "${var.migration}-journal"
    leases       = "${var.migration}-leases"
    heartbeats   = "${var.migration}-heartbeats"
    reports      = "${var.migration}-reports"
    dead_letters = "${var.migration}-dead-letters"
  }

  table   = { for name, value in merge(var.tables, local.control_tables) : name => "arn:${local.partition}:dynamodb:${local.place}:table/${value}" }
  stream  = { for name, value in var.streams : name => "arn:${local.partition}:kinesis:${local.place}:stream/${value}" }
  bucket  = "arn:${local.partition}:s3:::${var.bucket}"
  objects = "${local.bucket}/${var.bucket_prefix}/*"

  import_log   = "arn:${local.partition}:logs:${local.place}:log-group:/aws-dynamodb/*"
  capture_role = "arn:${local.partition}:iam::${data.aws_caller_identity.current.account_id}:role/aws-service-role/kinesisreplication.dynamodb.amazonaws.com/AWSServiceRoleForDynamoDBKinesisDataStreamsReplication"
}
