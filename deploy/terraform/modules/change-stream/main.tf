resource "aws_kinesis_stream" "this" {
  name             = var.name
  retention_period = var.retention_h
  shard_count      = var.shards
  encryption_type  = "KMS"
  kms_key_id       = var.kms_key_arn == null ? "alias/aws/kinesis" : var.kms_key_arn

  # Per shard, so that one hot shard is seen.
  shard_level_metrics = ["IteratorAgeMilliseconds", "ReadProvisionedThroughputExceeded", "WriteProvisionedThroughputExceeded"]

  stream_mode_details {
    stream_mode = var.shards == null ? "ON_DEMAND" : "PROVISIONED"
  }

  tags = var.tags
}

resource "aws_dynamodb_kinesis_streaming_destination" "this" {
  count = var.table == null ? 0 : 1

  table_name = var.table
  stream_arn = aws_kinesis_stream.this.arn

  # Not a variable: unstamped writes of one millisecond could not be put in order otherwise.
  approximate_creation_date_time_precision = "MICROSECOND"
}
