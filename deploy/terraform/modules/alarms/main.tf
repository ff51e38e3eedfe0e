locals {
  actions = { page = var.alarm_actions, ticket = length(var.ticket_actions) > 0 ? var.ticket_actions : var.alarm_actions }

  own = { for each in yamldecode(file("${path.module}/alarms.yaml")) : each.name => merge(
    { alarm = each.name, metric = null, watches = [each.service], dimensions = {}, statistic = "Maximum", percentile = null, below = false, expression = null, parts = {}, period_s = 60, minutes = 5, silence = false },
    { runbook = "${lower(replace(trimprefix(each.alert, "Crossfade"), "/([a-z])([A-Z])/", "$1-$2"))}.md" },
    each,
  ) }
}

# On Crossfade's own metrics, which come in the logs (embedded metric format).
resource "aws_cloudwatch_metric_alarm" "own" {
  for_each = local.own

  alarm_name        = "${var.migration}-crossfade-${each.key}"
  alarm_description = "${each.value.alert} (${each.value.severity}). Runbook: ${var.runbooks_url}/${each.value.runbook}"

  namespace   = each.value.expression == null ? "Crossfade" : null
  metric_name = each.value.expression == null ? each.value.metric : null
  dimensions  = each.value.expression == null ? merge({ Service = each.value.service, Migration = var.migration }, each.value.dimensions) : null

  # Shares and the like: metric math. Where a part is missing there is nothing to compute, and so no data.
  dynamic "metric_query" {
    for_each = each.value.parts
    content {
      id          = metric_query.key
      return_data = false
      metric {
        namespace   = "Crossfade"
        metric_name = metric_query.value.metric
        dimensions  = merge({ Service = each.value.service, Migration = var.migration }, try(metric_query.value.dimensions, {}))
        stat        = try(metric_query.value.statistic, "Sum")
        period      = each.value.period_s
      }
    }
  }
  dynamic "metric_query" {
    for_each = each.value.expression == null ? [] : [each.value.expression]
    content {
      id          = "computed"
      label       = each.key
      expression  = metric_query.value
      return_data = true
    }
  }

  statistic           = each.value.expression == null && each.value.percentile == null ? each.value.statistic : null
  extended_statistic  = each.value.percentile
  comparison_operator = each.value.below ? "LessThanThreshold" : "GreaterThanThreshold"
  threshold           = lookup(var.bounds, each.value.alarm, each.value.bound)
  period              = each.value.expression == null ? each.value.period_s : null
  evaluation_periods  = each.value.minutes * 60 / each.value.period_s
  datapoints_to_alarm = each.value.minutes * 60 / each.value.period_s

  # Who must run and says nothing alarms; what he said last stays, since nobody is left to say that it is over.
  treat_missing_data = length(setintersection(var.running, each.value.watches)) == 0 ? "notBreaching" : each.value.silence ? "breaching" : "ignore"

  actions_enabled = var.enabled
  alarm_actions   = local.actions[each.value.severity]
  ok_actions      = local.actions[each.value.severity]
  tags            = var.tags
}
