locals {
  in_vpc = var.vpc == null ? [] : [var.vpc]

  # What is given up on must still be in the stream for a day at least: the message names its place, not its content.
  record_age_s = min(604800, (var.retention_h - 24) * 3600)
}

resource "aws_cloudwatch_log_group" "this" {
  # checkov:skip=CKV_AWS_338: what must be kept is in the journal; logs outlive the migration by a month
  name              = "/aws/lambda/${var.name}"
  retention_in_days = var.log_days
  kms_key_id        = var.kms_key_arn
  tags              = var.tags
}

# Where Lambda tells of batches that it gave up on: shard and range of sequence numbers, without the records.
resource "aws_sqs_queue" "on_failure" {
  name                      = "${var.name}-on-failure"
  message_retention_seconds = 1209600
  kms_master_key_id         = var.kms_key_arn
  sqs_managed_sse_enabled   = var.kms_key_arn == null ? true : null
  tags                      = var.tags
}

resource "aws_lambda_function" "this" {
  # checkov:skip=CKV_AWS_116: that queue is for asynchronous calls; the event source mapping has a failure destination
  # checkov:skip=CKV_AWS_117: DynamoDB and Kinesis are called over TLS at their public endpoints unless vpc is given
  # checkov:skip=CKV_AWS_272: the package is named by its place, an image by its digest; signing needs a profile of yours
  function_name = var.name
  description   = "Crossfade replicator, ${var.consumer}"
  role          = var.role_arn

  package_type  = var.image_uri == null ? "Zip" : "Image"
  image_uri     = var.image_uri
  s3_bucket     = var.image_uri == null ? var.package.bucket : null
  s3_key        = var.image_uri == null ? var.package.key : null
  runtime       = var.image_uri == null ? "python3.11" : null
  handler       = var.image_uri == null ? var.handler : null
  architectures = [var.architecture]

  memory_size                    = var.memory_mb
  timeout                        = var.timeout_s
  reserved_concurrent_executions = var.concurrency
  kms_key_arn                    = var.kms_key_arn

  environment {
    # The second tells the function that the mapping below takes partial responses.
    variables = merge(var.environment, { CROSSFADE_CONSUMER = var.consumer, CROSSFADE_PARTIAL_RESPONSES = "true" })
  }

  dynamic "vpc_config" {
    for_each = local.in_vpc
    content {
      subnet_ids         = vpc_config.value.subnet_ids
      security_group_ids = vpc_config.value.security_group_ids
    }
  }

  tracing_config {
    mode = "PassThrough" # the trace comes in the item's event
  }

  tags       = var.tags
  depends_on = [aws_cloudwatch_log_group.this]
}

resource "aws_lambda_event_source_mapping" "this" {
  for_each = var.stream_arns

  function_name    = aws_lambda_function.this.arn
  event_source_arn = each.value
  enabled          = var.enabled

  # From the oldest record: what was applied before is skipped, what was not must not be left out.
  starting_position = "TRIM_HORIZON"

  batch_size                         = var.batch_size
  maximum_batching_window_in_seconds = var.window_s
  parallelization_factor             = 1 # reports and the feed's order are of one invocation a shard

  # A failed record is the checkpoint, with all behind it sent again; what is before it counts as done. No filter: a
  # record that is filtered out is gone without a word.
  function_response_types        = ["ReportBatchItemFailures"]
  bisect_batch_on_function_error = true
  maximum_retry_attempts         = var.retries
  maximum_record_age_in_seconds  = local.record_age_s

  destination_config {
    on_failure {
      destination_arn = aws_sqs_queue.on_failure.arn
    }
  }

  metrics_config {
    metrics = ["EventCount"]
  }

  tags = var.tags
}

# A shard without records calls nobody, and its report would grow old and shut the gates.
resource "aws_cloudwatch_event_rule" "report" {
  name                = "${var.name}-report"
  description         = "Reports of shards that are still"
  schedule_expression = "rate(1 minute)"
  state               = var.enabled ? "ENABLED" : "DISABLED"
  tags                = var.tags
}

resource "aws_cloudwatch_event_target" "report" {
  rule  = aws_cloudwatch_event_rule.report.name
  arn   = aws_lambda_function.this.arn
  input = jsonencode({ crossfade = "report" })

  retry_policy {
    maximum_retry_attempts       = 0 # the next one comes in a minute
    maximum_event_age_in_seconds = 60
  }
}

resource "aws_lambda_permission" "report" {
  statement_id  = "Report"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.this.function_name
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.report.arn
}
