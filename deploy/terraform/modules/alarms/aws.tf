# On AWS's own metrics: they are there even when nothing of Crossfade runs.

locals {
  tables  = { for side, name in var.tables : side => name if name != null }
  changes = { legacy = var.streams.legacy, new = var.streams.new }

  # The first hop's metrics have a dimension DelegatedOperation whose values AWS does not document, so a query asks for
  # them by the table alone.
  first_hop = { for each in flatten([for side, table in local.tables : [
    { key = "table-to-stream-age-${side}", table = table, metric = "AgeOfOldestUnreplicatedRecord", function = "MAX", bound = var.aws_bounds.table_to_stream_s * 1000, minutes = 5, severity = "page" },
    { key = "failed-replication-${side}", table = table, metric = "FailedToReplicateRecordCount", function = "SUM", bound = 0, minutes = 1, severity = "page" },
    { key = "throttled-replication-${side}", table = table, metric = "ThrottledPutRecordCount", function = "MAX", bound = var.aws_bounds.throttles_per_min, minutes = 10, severity = "ticket" },
  ]]) : each.key => each }

  metrics = merge(
    { for side, stream in local.changes : "stream-iterator-age-${side}" => {
      namespace = "AWS/Kinesis", metric = "GetRecords.IteratorAgeMilliseconds", dimensions = { StreamName = stream }
      statistic = "Maximum", bound = var.aws_bounds.iterator_age_s * 1000, minutes = 5, severity = "page", runbook = "replication-lag.md"
    } },
    { for side, stream in local.changes : "stream-expiry-${side}" => {
      namespace = "AWS/Kinesis", metric = "GetRecords.IteratorAgeMilliseconds", dimensions = { StreamName = stream }
      statistic = "Maximum", bound = (var.retention_h - var.aws_bounds.expiry_margin_h) * 3600000, minutes = 1, severity = "page", runbook = "records-near-expiry.md"
    } },
    { for side, stream in merge(local.changes, { feed = var.streams.feed }) : "stream-write-throttles-${side}" => {
      namespace = "AWS/Kinesis", metric = "WriteProvisionedThroughputExceeded", dimensions = { StreamName = stream }
      statistic = "Sum", bound = var.aws_bounds.throttles_per_min, minutes = 10, severity = "ticket", runbook = "table-to-stream-lag.md"
    } },
    { for side, stream in local.changes : "stream-read-throttles-${side}" => {
      namespace = "AWS/Kinesis", metric = "ReadProvisionedThroughputExceeded", dimensions = { StreamName = stream }
      statistic = "Sum", bound = var.aws_bounds.throttles_per_min, minutes = 10, severity = "ticket", runbook = "replication-lag.md"
    } },
    { for side, table in local.tables : "table-write-throttles-${side}" => {
      namespace = "AWS/DynamoDB", metric = "WriteThrottleEvents", dimensions = { TableName = table }
      statistic = "Sum", bound = var.aws_bounds.throttles_per_min, minutes = 5, severity = "ticket", runbook = "transfers-throttled.md"
    } },
    { for side, table in local.tables : "table-read-throttles-${side}" => {
      namespace = "AWS/DynamoDB", metric = "ReadThrottleEvents", dimensions = { TableName = table }
      statistic = "Sum", bound = var.aws_bounds.throttles_per_min, minutes = 5, severity = "ticket", runbook = "api-slow.md"
    } },
    { for role, each in var.functions : "lambda-iterator-age-${role}" => {
      namespace = "AWS/Lambda", metric = "IteratorAge", dimensions = { FunctionName = each.function_name }
      statistic = "Maximum", bound = var.aws_bounds.iterator_age_s * 1000, minutes = 5, severity = "page", runbook = "replication-lag.md"
    } },
    { for role, each in var.functions : "lambda-errors-${role}" => {
      namespace = "AWS/Lambda", metric = "Errors", dimensions = { FunctionName = each.function_name }
      statistic = "Sum", bound = 0, minutes = 5, severity = "page", runbook = "replicator-down.md"
    } },
    { for role, each in var.functions : "lambda-throttles-${role}" => {
      namespace = "AWS/Lambda", metric = "Throttles", dimensions = { FunctionName = each.function_name }
      statistic = "Sum", bound = 0, minutes = 5, severity = "ticket", runbook = "replication-lag.md"
    } },
    { for role, each in var.functions : "lambda-gave-up-${role}" => {
      namespace = "AWS/SQS", metric = "ApproximateNumberOfMessagesVisible", dimensions = { QueueName = each.on_failure_queue }
      statistic = "Maximum", bound = 0, minutes = 1, severity = "page", runbook = "records-near-expiry.md"
    } },
    { for node in var.dedup_nodes : "dedup-memory-${node}" => {
      namespace = "AWS/ElastiCache", metric = "DatabaseMemoryUsagePercentage", dimensions = { CacheClusterId = node }
      statistic = "Maximum", bound = var.aws_bounds.dedup_memory_pct, minutes = 10, severity = "ticket", runbook = "transfers-throttled.md"
    } },
    { for node in var.dedup_nodes : "dedup-evictions-${node}" => {
      namespace = "AWS/ElastiCache", metric = "Evictions", dimensions = { CacheClusterId = node }
      statistic = "Sum", bound = 0, minutes = 1, severity = "ticket", runbook = "transfers-throttled.md"
    } },
    { for node in var.dedup_nodes : "dedup-cpu-${node}" => {
      namespace = "AWS/ElastiCache", metric = "EngineCPUUtilization", dimensions = { CacheClusterId = node }
      statistic = "Maximum", bound = var.aws_bounds.dedup_cpu_pct, minutes = 10, severity = "ticket", runbook = "transfers-throttled.md"
    } },
  )
}

resource "aws_cloudwatch_metric_alarm" "first_hop" {
  for_each = local.first_hop

  alarm_name        = "${var.migration}-crossfade-${each.key}"
  alarm_description = "${each.value.metric} of ${each.value.table} (${each.value.severity}). Runbook: ${var.runbooks_url}/table-to-stream-lag.md"

  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.bound
  evaluation_periods  = each.value.minutes
  datapoints_to_alarm = each.value.minutes
  treat_missing_data  = "notBreaching"

  metric_query {
    id          = "q"
    label       = each.value.metric
    return_data = true
    period      = 60
    expression  = "SELECT ${each.value.function}(${each.value.metric}) FROM SCHEMA(\"AWS/DynamoDB\", DelegatedOperation, TableName) WHERE TableName = '${each.value.table}'"
  }

  actions_enabled = var.enabled
  alarm_actions   = local.actions[each.value.severity]
  ok_actions      = local.actions[each.value.severity]
  tags            = var.tags
}

resource "aws_cloudwatch_metric_alarm" "aws" {
  for_each = local.metrics

  alarm_name        = "${var.migration}-crossfade-${each.key}"
  alarm_description = "${each.value.namespace} ${each.value.metric} (${each.value.severity}). Runbook: ${var.runbooks_url}/${each.value.runbook}"

  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.bound
  period              = 60
  evaluation_periods  = each.value.minutes
  datapoints_to_alarm = each.value.minutes
  treat_missing_data  = "notBreaching"

  actions_enabled = var.enabled
  alarm_actions   = local.actions[each.value.severity]
  ok_actions      = local.actions[each.value.severity]
  tags            = var.tags
}
