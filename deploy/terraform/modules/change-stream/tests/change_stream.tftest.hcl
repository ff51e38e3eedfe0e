mock_provider "aws" {}

variables {
  name = "wallet-changes"
}

run "records_are_kept_for_a_week_and_encrypted" {
  command = plan

  assert {
    condition     = aws_kinesis_stream.this.retention_period == 168
    error_message = "the default retention is not 168 h"
  }
  assert {
    condition     = aws_kinesis_stream.this.encryption_type == "KMS"
    error_message = "the stream is not encrypted"
  }
  assert {
    condition     = contains(aws_kinesis_stream.this.shard_level_metrics, "IteratorAgeMilliseconds")
    error_message = "a single slow shard would not be seen"
  }
  assert {
    condition     = length(aws_dynamodb_kinesis_streaming_destination.this) == 0
    error_message = "a stream without a table has a destination"
  }
}

run "retention_may_fall_to_48_hours" {
  command = plan
  variables {
    retention_h = 48
  }

  assert {
    condition     = aws_kinesis_stream.this.retention_period == 48
    error_message = "48 h was not taken"
  }
}

run "but_never_below" {
  command = plan
  variables {
    retention_h = 47
  }
  expect_failures = [var.retention_h]
}

run "nor_above_a_year" {
  command = plan
  variables {
    retention_h = 8761
  }
  expect_failures = [var.retention_h]
}

run "rule_6_a_tables_records_come_with_microseconds" {
  command = plan
  variables {
    table  = "wallet"
    shards = 4
  }

  assert {
    condition     = aws_dynamodb_kinesis_streaming_destination.this[0].approximate_creation_date_time_precision == "MICROSECOND"
    error_message = "precision is not MICROSECOND"
  }
  assert {
    condition     = aws_dynamodb_kinesis_streaming_destination.this[0].table_name == "wallet"
    error_message = "the destination is of another table"
  }
  assert {
    condition     = aws_kinesis_stream.this.shard_count == 4 && aws_kinesis_stream.this.stream_mode_details[0].stream_mode == "PROVISIONED"
    error_message = "the shards were not taken"
  }
}
