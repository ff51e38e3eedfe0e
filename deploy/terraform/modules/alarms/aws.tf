# On AWS's own metrics. What counts events is missing when there are none: not breaching. What tells an age is missing when
# nobody reads: the alarm stays as it was. What says that a node lives breaches. Alarms on AWS/DynamoDB always stay as they were,
# whatever is said here (AWS, "Configuring how CloudWatch alarms treat missing data").

locals {
  tables  = { for side, name in var.tables : side => name if name != null }
  changes = { source = var.streams.source, target = var.streams.target }

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
      statistic = "Maximum", bound = var.aws_bounds.iterator_age_s * 1000, minutes = 5, severity = "page", runbook = "replication-lag.md", missing = "ignore"
    } },
    { for side, stream in local.changes : "stream-expiry-${side}" => {
      namespace = "AWS/Kinesis", metric = "GetRecords.IteratorAgeMilliseconds", dimensions = { StreamName = stream }
      statistic = "Maximum", bound = (var.retention_h - var.aws_bounds.expiry_margin_h) * 3600000, minutes = 1, severity = "page", runbook = "records-near-expiry.md", missing = "ignore"
    } },
    { for side, stream in merge(local.changes, { feed = var.streams.feed }) : "stream-write-throttles-${side}" => {
      namespace = "AWS/Kinesis", metric = "WriteProvisionedThroughputExceeded", dimensions = { StreamName = stream }
      statistic = "Sum", bound = var.aws_bounds.throttles_per_min, minutes = 10, severity = "ticket", runbook = "table-to-stream-lag.md", missing = "notBreaching"
    } },
    { for side, stream in local.changes : "stream-read-throttles-${side}" => {
      namespace = "AWS/Kinesis", metric = "ReadProvisionedThroughputExceeded", dimensions = { StreamName = stream }
      statistic = "Sum", bound = var.aws_bounds.throttles_per_min, minutes = 10, severity = "ticket", runbook = "replication-lag.md", missing = "notBreaching"
    } },
    { for side, table in local.tables : "table-write-throttles-${side}" => {
      namespace = "AWS/DynamoDB", metric = "WriteThrottleEvents", dimensions = { TableName = table }
      statistic = "Sum", bound = var.aws_bounds.throttles_per_min, minutes = 5, severity = "ticket", runbook = "transfers-throttled.md", missing = "notBreaching"
    } },
    { for side, table in local.tables : "table-read-throttles-${side}" => {
      namespace = "AWS/DynamoDB", metric = "ReadThrottleEvents", dimensions = { TableName = table }
      statistic = "Sum", bound = var.aws_bounds.throttles_per_min, minutes = 5, severity = "ticket", runbook = "api-slow.md", missing = "notBreaching"
    } },
    { for consumer, each in var.functions : "lambda-iterator-age-${consumer}" => {
      namespace = "AWS/Lambda", metric = "IteratorAge", dimensions = { FunctionName = each.function_name }
      statistic = "Maximum", bound = var.aws_bounds.iterator_age_s * 1000, minutes = 5, severity = "page", runbook = "replication-lag.md", missing = "ignore"
    } },
    { for consumer, each in var.functions : "lambda-errors-${consumer}" => {
      namespace = "AWS/Lambda", metric = "Errors", dimensions = { FunctionName = each.function_name }
      statistic = "Sum", bound = 0, minutes = 5, severity = "page", runbook = "replicator-down.md", missing = "ignore"
    } },
    { for consumer, each in var.functions : "lambda-throttles-${consumer}" => {
      namespace = "AWS/Lambda", metric = "Throttles", dimensions = { FunctionName = each.function_name }
      statistic = "Sum", bound = 0, minutes = 5, severity = "ticket", runbook = "replication-lag.md", missing = "notBreaching"
    } },
    { for consumer, each in var.functions : "lambda-gave-up-${consumer}" => {
      namespace = "AWS/SQS", metric = "ApproximateNumberOfMessagesVisible", dimensions = { QueueName = each.on_failure_queue }
      statistic = "Maximum", bound = 0, minutes = 1, severity = "page", runbook = "records-near-expiry.md", missing = "ignore"
    } },
    { for node in var.dedup_nodes : "dedup-memory-${node}" => {
      namespace = "AWS/ElastiCache", metric = "DatabaseMemoryUsagePercentage", dimensions = { CacheClusterId = node }
      statistic = "Maximum", bound = var.aws_bounds.dedup_memory_pct, minutes = 10, severity = "ticket", runbook = "transfers-throttled.md", missing = "ignore"
    } },
    { for node in var.dedup_nodes : "dedup-evictions-${node}" => {
      namespace = "AWS/ElastiCache", metric = "Evictions", dimensions = { CacheClusterId = node }
      statistic = "Sum", bound = 0, minutes = 1, severity = "ticket", runbook = "transfers-throttled.md", missing = "notBreaching"
    } },
    { for node in var.dedup_nodes : "dedup-cpu-${node}" => {
      namespace = "AWS/ElastiCache", metric = "EngineCPUUtilization", dimensions = { CacheClusterId = node }
      statistic = "Maximum", bound = var.aws_bounds.dedup_cpu_pct, minutes = 10, severity = "ticket", runbook = "transfers-throttled.md", missing = "breaching"
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

# Nobody at all asks a stream for records. Its age metrics exist only while somebody does, so they are blind before the first
# consumer and after the death of the last one. A day is as far back as an alarm may look.
resource "aws_cloudwatch_metric_alarm" "unread" {
  for_each = var.captured

  alarm_name        = "${var.migration}-crossfade-stream-unread-${each.key}"
  alarm_description = "AWS/Kinesis GetRecords.Records of ${local.changes[each.key]} (page). Runbook: ${var.runbooks_url}/records-unread.md"

  namespace           = "AWS/Kinesis"
  metric_name         = "GetRecords.Records"
  dimensions          = { StreamName = local.changes[each.key] }
  statistic           = "SampleCount"
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  period              = 3600
  evaluation_periods  = 24
  datapoints_to_alarm = 24
  treat_missing_data  = "breaching"

  actions_enabled = var.enabled
  alarm_actions   = local.actions["page"]
  ok_actions      = local.actions["page"]
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
  treat_missing_data  = each.value.missing

  actions_enabled = var.enabled
  alarm_actions   = local.actions[each.value.severity]
  ok_actions      = local.actions[each.value.severity]
  tags            = var.tags
}
