output "names" {
  description = "Names of all alarms."
  value = concat(
    [for each in aws_cloudwatch_metric_alarm.own : each.alarm_name],
    [for each in aws_cloudwatch_metric_alarm.first_hop : each.alarm_name],
    [for each in aws_cloudwatch_metric_alarm.unread : each.alarm_name],
    [for each in aws_cloudwatch_metric_alarm.aws : each.alarm_name],
  )
}

output "arns" {
  description = "ARNs of all alarms, by name: for the dashboard."
  value = merge(
    { for each in aws_cloudwatch_metric_alarm.own : each.alarm_name => each.arn },
    { for each in aws_cloudwatch_metric_alarm.first_hop : each.alarm_name => each.arn },
    { for each in aws_cloudwatch_metric_alarm.unread : each.alarm_name => each.arn },
    { for each in aws_cloudwatch_metric_alarm.aws : each.alarm_name => each.arn },
  )
}
