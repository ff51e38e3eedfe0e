mock_provider "aws" {
  mock_resource "aws_sqs_queue" {
    defaults = { arn = "arn:aws:sqs:us-east-1:111122223333:forward-on-failure" }
  }
  mock_resource "aws_lambda_function" {
    defaults = { arn = "arn:aws:lambda:us-east-1:111122223333:function:forward" }
  }
}

variables {
  name        = "forward"
  consumer    = "forward"
  role_arn    = "arn:aws:iam::111122223333:role/engagement-crossfade-forward"
  stream_arns = { source = "arn:aws:kinesis:us-east-1:111122223333:stream/wallet-changes" }
  retention_h = 168
  package     = { bucket = "code", key = "replicator.zip" }
  concurrency = 8
}

run "the_mapping_keeps_the_order_and_drops_nothing" {
  assert {
    condition     = aws_lambda_event_source_mapping.this["source"].function_response_types == toset(["ReportBatchItemFailures"])
    error_message = "a failed record would send the whole batch again, or count as done"
  }
  assert {
    condition     = aws_lambda_event_source_mapping.this["source"].bisect_batch_on_function_error
    error_message = "a poison record would hold up its batch"
  }
  assert {
    condition     = aws_lambda_event_source_mapping.this["source"].starting_position == "TRIM_HORIZON"
    error_message = "records before the first call would be left out"
  }
  assert {
    condition     = aws_lambda_event_source_mapping.this["source"].parallelization_factor == 1
    error_message = "two batches of a shard at once would overwrite each other's reports, and disorder the feed"
  }
  assert {
    condition     = length(aws_lambda_event_source_mapping.this["source"].filter_criteria) == 0
    error_message = "records that are filtered out are gone without a word"
  }
  assert {
    condition     = coalesce(aws_lambda_event_source_mapping.this["source"].tumbling_window_in_seconds, 0) == 0
    error_message = "a tumbling window changes what a checkpoint means"
  }
}

run "lambda_gives_up_in_time_and_says_so" {
  assert {
    condition     = aws_lambda_event_source_mapping.this["source"].maximum_record_age_in_seconds == (168 - 24) * 3600
    error_message = "what Lambda gives up on must be in the stream for another day"
  }
  assert {
    condition     = aws_lambda_event_source_mapping.this["source"].maximum_retry_attempts == 10000
    error_message = "retries are not bounded high"
  }
  assert {
    condition     = one(one(aws_lambda_event_source_mapping.this["source"].destination_config).on_failure).destination_arn == aws_sqs_queue.on_failure.arn
    error_message = "nobody is told of what Lambda gave up on"
  }
  assert {
    condition     = aws_sqs_queue.on_failure.message_retention_seconds == 14 * 86400
    error_message = "messages go before anybody looks"
  }
  assert {
    condition     = aws_lambda_event_source_mapping.this["source"].metrics_config[0].metrics == toset(["EventCount"])
    error_message = "dropped records are not counted"
  }
}

run "the_age_limit_follows_a_shorter_retention" {
  variables {
    retention_h = 48
  }
  assert {
    condition     = aws_lambda_event_source_mapping.this["source"].maximum_record_age_in_seconds == 86400
    error_message = "the age limit is not retention less a day"
  }
}

run "and_never_exceeds_what_lambda_takes" {
  variables {
    retention_h = 8760
  }
  assert {
    condition     = aws_lambda_event_source_mapping.this["source"].maximum_record_age_in_seconds == 604800
    error_message = "Lambda takes at most 604800 s"
  }
}

run "the_function_knows_its_consumer_and_keeps_its_logs" {
  variables {
    environment = { CROSSFADE_CONSUMER = "reverse" }
  }
  assert {
    condition     = aws_lambda_function.this.environment[0].variables["CROSSFADE_CONSUMER"] == "forward"
    error_message = "the consumer can be overridden by mistake"
  }
  assert {
    condition     = aws_lambda_function.this.environment[0].variables["CROSSFADE_PARTIAL_RESPONSES"] == "true"
    error_message = "the function does not know that partial responses are taken"
  }
  assert {
    condition     = aws_cloudwatch_log_group.this.name == "/aws/lambda/forward" && aws_cloudwatch_log_group.this.retention_in_days == 30
    error_message = "logs are kept for ever, or elsewhere"
  }
}

run "still_shards_are_reported_on_each_minute" {
  assert {
    condition     = aws_cloudwatch_event_rule.report.schedule_expression == "rate(1 minute)" && aws_cloudwatch_event_rule.report.state == "ENABLED"
    error_message = "the report of a still shard would grow old, and shut the gates"
  }
  assert {
    condition     = jsondecode(aws_cloudwatch_event_target.report.input) == { crossfade = "report" } && aws_lambda_permission.report.principal == "events.amazonaws.com"
    error_message = "the schedule's event is not the function's, or may not call it"
  }
}

run "a_function_that_is_off_reads_nothing_and_reports_nothing" {
  variables {
    enabled = false
  }
  assert {
    condition     = !aws_lambda_event_source_mapping.this["source"].enabled && aws_cloudwatch_event_rule.report.state == "DISABLED"
    error_message = "it goes on"
  }
}

run "the_feed_reads_both_streams" {
  variables {
    consumer    = "feed"
    stream_arns = { source = "arn:aws:kinesis:us-east-1:111122223333:stream/a", target = "arn:aws:kinesis:us-east-1:111122223333:stream/b" }
  }
  assert {
    condition     = toset(keys(aws_lambda_event_source_mapping.this)) == toset(["source", "target"])
    error_message = "the feed misses a table"
  }
}

run "endless_retries_would_stop_a_shard" {
  command = plan
  variables {
    retries     = -1
    window_s    = 6
    retention_h = 47
    concurrency = 0
    environment = { CROSSFADE_INSECURE = "1" }
  }
  expect_failures = [var.retries, var.window_s, var.retention_h, var.concurrency, var.environment]
}

run "a_replicator_reads_one_stream" {
  command = plan
  variables {
    stream_arns = { source = "arn:a", target = "arn:b" }
  }
  expect_failures = [var.stream_arns]
}

run "an_image_is_named_by_its_digest" {
  command = plan
  variables {
    package   = null
    image_uri = "111122223333.dkr.ecr.us-east-1.amazonaws.com/replicator:latest"
  }
  expect_failures = [var.image_uri]
}

run "code_comes_from_one_place" {
  command = plan
  variables {
    image_uri = "111122223333.dkr.ecr.us-east-1.amazonaws.com/replicator@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
  }
  expect_failures = [var.package]
}
