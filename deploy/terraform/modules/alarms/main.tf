locals {
  actions = { page = var.alarm_actions, ticket = length(var.ticket_actions) > 0 ? var.ticket_actions : var.alarm_actions }

  # Made from the alert rules: one source for Prometheus and CloudWatch (scripts/terraform/alarms.py).
  own = { for each in jsondecode(file("${path.module}/alarms.json")) : each.name => each }
}

# On Crossfade's own metrics, which come in the logs (embedded metric format).
resource "aws_cloudwatch_metric_alarm" "own" {
  for_each = local.own

  alarm_name        = "${var.migration}-crossfade-${each.key}"
  alarm_description = "${each.value.alert} (${each.value.severity}). Runbook: ${var.runbooks_url}/${each.value.runbook}"

  namespace   = "Crossfade"
  metric_name = each.value.metric
  dimensions  = merge({ Service = each.value.service, Migration = var.migration }, each.value.dimensions)

  statistic           = each.value.statistic
  extended_statistic  = each.value.percentile
  comparison_operator = each.value.below ? "LessThanThreshold" : "GreaterThanThreshold"
  threshold           = lookup(var.bounds, each.value.alarm, each.value.bound)
  period              = 60
  evaluation_periods  = each.value.minutes
  datapoints_to_alarm = each.value.minutes
  treat_missing_data  = each.value.silence && contains(var.running, each.value.watches) ? "breaching" : "notBreaching"

  actions_enabled = var.enabled
  alarm_actions   = local.actions[each.value.severity]
  ok_actions      = local.actions[each.value.severity]
  tags            = var.tags
}
