data "aws_region" "current" {}

locals {
  region = data.aws_region.current.region
  tables = [for name in [var.tables.source, var.tables.target] : name if name != null]

  services = {
    api        = "engagement-api"
    forward    = "replicator-forward"
    reverse    = "replicator-reverse"
    feed       = "replicator-feed"
    verifier   = "verifier"
    controller = "controller"
  }

  # Crossfade's metrics by service and migration, as [metric, service, statistic].
  own = [
    { title = "Operations a minute", metrics = [["Operations", "api", "Sum"], ["Handovers", "api", "Sum"], ["DualWrites", "api", "Sum"]] },
    { title = "API latency, ms", metrics = [["Duration", "api", "p50"], ["Duration", "api", "p99"]] },
    { title = "Records applied a minute", metrics = [["Throughput", "forward", "Sum"], ["Throughput", "reverse", "Sum"], ["Throughput", "feed", "Sum"]] },
    { title = "Iterator age, ms", metrics = [["IteratorAge", "forward", "Maximum"], ["IteratorAge", "reverse", "Maximum"], ["IteratorAge", "feed", "Maximum"]] },
    { title = "Table to stream, ms", metrics = [["TableToStreamAge", "controller", "Maximum"], ["TableToStreamLag", "forward", "Maximum"], ["TableToStreamLag", "reverse", "Maximum"]] },
    { title = "Owner to copy, ms", metrics = [["Lag", "verifier", "p50"], ["Lag", "verifier", "p99"]] },
    { title = "Ramp and moved keys, %", metrics = [["RampPercent", "controller", "Maximum"], ["KeysOnNewPercent", "controller", "Maximum"]] },
    { title = "Gates, halts, pods behind", metrics = [["GateOpen", "controller", "Minimum"], ["RampHalted", "controller", "Maximum"], ["PodsBehind", "controller", "Maximum"]] },
    { title = "Dead letters, keys in handover", metrics = [["DeadLetters", "controller", "Maximum"], ["ParkedEvents", "feed", "Sum"], ["KeysInHandover", "verifier", "Maximum"], ["KeysOverdueInHandover", "controller", "Maximum"]] },
    { title = "Age of the last clean pass, ms", metrics = [["CleanPassAge", "verifier", "Maximum"]] },
    { title = "Statements throttled a minute", metrics = [["ThrottledStatements", "forward", "Sum"], ["ThrottledStatements", "reverse", "Sum"]] },
    { title = "Checkpoints a minute, leases", metrics = [["Checkpoints", "forward", "Sum"], ["Checkpoints", "reverse", "Sum"], ["Leases", "forward", "Sum"], ["Leases", "reverse", "Sum"]] },
  ]

  own_widgets = [for widget in local.own : {
    title = widget.title
    metrics = [for each in widget.metrics : [
      "Crossfade", each[0], "Service", local.services[each[1]], "Migration", var.migration,
      { stat = each[2], label = "${local.services[each[1]]} ${each[0]} ${each[2]}" }
    ]]
  }]

  aws_widgets = [
    {
      title   = "Streams: iterator age of all consumers, ms"
      metrics = [for name in [var.streams.source, var.streams.target] : ["AWS/Kinesis", "GetRecords.IteratorAgeMilliseconds", "StreamName", name, { stat = "Maximum", label = name }]]
    },
    {
      title   = "Streams: throttled writes a minute"
      metrics = [for name in values(var.streams) : ["AWS/Kinesis", "WriteProvisionedThroughputExceeded", "StreamName", name, { stat = "Sum", label = name }]]
    },
    {
      title   = "Tables: write units a minute"
      metrics = [for name in local.tables : ["AWS/DynamoDB", "ConsumedWriteCapacityUnits", "TableName", name, { stat = "Sum", label = name }]]
    },
    {
      title   = "Tables: throttled writes a minute"
      metrics = [for name in local.tables : ["AWS/DynamoDB", "WriteThrottleEvents", "TableName", name, { stat = "Sum", label = name }]]
    },
  ]

  top = length(var.alarm_arns) > 0 ? 4 : 0

  widgets = concat(
    [for arns in [var.alarm_arns] : { type = "alarm", x = 0, y = 0, width = 24, height = 4, properties = { title = "Alarms", alarms = arns } } if length(arns) > 0],
    [for place, each in concat(local.own_widgets, local.aws_widgets) : {
      type   = "metric"
      x      = 8 * (place % 3)
      y      = local.top + 6 * floor(place / 3)
      width  = 8
      height = 6
      properties = {
        title   = each.title
        region  = local.region
        view    = "timeSeries"
        period  = 60
        metrics = each.metrics
      }
    }],
  )
}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = "${var.migration}-crossfade"
  dashboard_body = jsonencode({ start = "-PT3H", widgets = local.widgets })
}
