mock_provider "aws" {}

variables {
  migration     = "engagement"
  tables        = { source = "wallet", target = "engagement" }
  streams       = { source = "wallet-changes", target = "engagement-changes", feed = "engagement-events" }
  alarm_actions = ["arn:aws:sns:us-east-1:111122223333:pager"]
}

run "every_subject_of_the_issue_is_watched" {
  command = plan

  assert {
    condition = alltrue([for name in [
      "iterator-age-forward", "iterator-age-reverse", "iterator-age-feed", "table-to-stream-age", "throttles-forward", "dead-letters",
      "lag", "gates", "ramp-halted", "api-errors", "dual-write-failing", "checkpoints-stopped-feed-target", "no-controller", "parity-drift-diverged", "two-owners", "stray-writes-reverse",
    ] : contains(keys(aws_cloudwatch_metric_alarm.own), name)])
    error_message = "an alarm on Crossfade's metrics is missing"
  }
  assert {
    condition     = toset(keys(aws_cloudwatch_metric_alarm.first_hop)) == toset(flatten([for side in ["source", "target"] : ["table-to-stream-age-${side}", "failed-replication-${side}", "throttled-replication-${side}"]]))
    error_message = "an alarm on the first hop is missing"
  }
  assert {
    condition     = alltrue([for name in ["stream-iterator-age-source", "stream-expiry-target", "stream-write-throttles-feed", "stream-read-throttles-source", "table-write-throttles-target", "table-read-throttles-source"] : contains(keys(aws_cloudwatch_metric_alarm.aws), name)])
    error_message = "an alarm on AWS's metrics is missing"
  }
}

run "each_alarm_wakes_somebody_and_names_its_runbook" {
  command = plan

  assert {
    condition = alltrue([for each in concat(values(aws_cloudwatch_metric_alarm.own), values(aws_cloudwatch_metric_alarm.first_hop), values(aws_cloudwatch_metric_alarm.aws)) :
      each.alarm_actions == toset(["arn:aws:sns:us-east-1:111122223333:pager"]) && can(regex("Runbook: https://.+/[a-z-]+\\.md$", each.alarm_description)) && each.actions_enabled
    ])
    error_message = "an alarm is silent, or without a runbook"
  }
}

run "rule_12_the_first_hop_is_asked_by_table_whatever_the_other_dimension_is" {
  command = plan

  assert {
    condition     = one(aws_cloudwatch_metric_alarm.first_hop["table-to-stream-age-source"].metric_query).expression == "SELECT MAX(AgeOfOldestUnreplicatedRecord) FROM SCHEMA(\"AWS/DynamoDB\", DelegatedOperation, TableName) WHERE TableName = 'wallet'"
    error_message = "another metric, or another table"
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.first_hop["failed-replication-target"].threshold == 0
    error_message = "a lost record would go unseen"
  }
}

run "records_near_their_expiry_page_a_day_before" {
  command = plan

  assert {
    condition     = aws_cloudwatch_metric_alarm.aws["stream-expiry-source"].threshold == (168 - 24) * 3600 * 1000
    error_message = "the margin is not a day"
  }
}

run "before_the_import_the_target_table_is_not_watched" {
  command = plan
  variables {
    tables = { source = "wallet" }
  }

  assert {
    condition     = length(aws_cloudwatch_metric_alarm.first_hop) == 3 && !contains(keys(aws_cloudwatch_metric_alarm.aws), "table-write-throttles-new")
    error_message = "a table that is not there is watched"
  }
}

run "silence_alarms_for_those_who_must_run_and_what_they_said_last_stays" {
  command = plan
  variables {
    running = ["controller", "forward"]
  }

  assert {
    condition     = { for name in ["no-controller", "no-pods", "no-leases-forward", "no-leases-reverse", "dead-letters", "iterator-age-forward", "iterator-age-reverse"] : name => aws_cloudwatch_metric_alarm.own[name].treat_missing_data } == { no-controller = "breaching", no-pods = "breaching", no-leases-forward = "breaching", no-leases-reverse = "notBreaching", dead-letters = "ignore", iterator-age-forward = "ignore", iterator-age-reverse = "notBreaching" }
    error_message = "silence means something else"
  }
}

run "a_captured_stream_that_nobody_reads_pages_within_a_day" {
  command = plan
  variables {
    captured = ["source"]
  }

  assert {
    condition     = keys(aws_cloudwatch_metric_alarm.unread) == ["source"] && aws_cloudwatch_metric_alarm.unread["source"].treat_missing_data == "breaching" && aws_cloudwatch_metric_alarm.unread["source"].dimensions == tomap({ StreamName = "wallet-changes" })
    error_message = "records could wait until they expire"
  }
  assert {
    condition     = alltrue([for name in ["stream-iterator-age-source", "stream-expiry-target"] : aws_cloudwatch_metric_alarm.aws[name].treat_missing_data == "ignore"])
    error_message = "an alarm on a stream's age would be over as soon as nobody reads"
  }
}

run "tickets_can_wait_and_bounds_can_be_changed" {
  command = plan
  variables {
    ticket_actions = ["arn:aws:sns:us-east-1:111122223333:tickets"]
    bounds         = { iterator-age = 5000 }
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.own["gates"].alarm_actions == toset(["arn:aws:sns:us-east-1:111122223333:tickets"]) && aws_cloudwatch_metric_alarm.own["dead-letters"].alarm_actions == toset(["arn:aws:sns:us-east-1:111122223333:pager"])
    error_message = "severity does not decide who is told"
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.own["iterator-age-reverse"].threshold == 5000
    error_message = "the bound was not taken"
  }
}

run "lambda_and_the_marks_are_watched_where_they_are" {
  command = plan
  variables {
    functions   = { forward = { function_name = "f", on_failure_queue = "f-on-failure" } }
    dedup_nodes = ["marks-001"]
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.aws["lambda-gave-up-forward"].dimensions == tomap({ QueueName = "f-on-failure" }) && aws_cloudwatch_metric_alarm.aws["lambda-iterator-age-forward"].metric_name == "IteratorAge"
    error_message = "Lambda is not watched"
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.aws["dedup-memory-marks-001"].threshold == 80 && aws_cloudwatch_metric_alarm.aws["dedup-evictions-marks-001"].threshold == 0
    error_message = "the marks are not watched"
  }
}

run "a_share_is_computed_from_sums_of_the_same_migration_and_no_data_keeps_the_state" {
  command = apply # the set of queries is known only then

  assert {
    condition     = jsonencode({ for each in aws_cloudwatch_metric_alarm.own["dual-write-failing"].metric_query : each.id => one(each.metric).dimensions if each.id != "computed" }) == jsonencode({ some = { Service = "engagement-api", Migration = "engagement", CopyOutcome = "failed" }, every = { Service = "engagement-api", Migration = "engagement" } })
    error_message = "the share is of something else"
  }
  assert {
    condition     = [for each in aws_cloudwatch_metric_alarm.own["dual-write-failing"].metric_query : each.expression if each.return_data == true] == ["IF(every > 0, some / every, 0)"] && aws_cloudwatch_metric_alarm.own["dual-write-failing"].treat_missing_data == "ignore"
    error_message = "the alarm does not look at the share alone"
  }
}

run "wrong_names_are_named" {
  command = plan
  variables {
    alarm_actions = []
    bounds        = { no-such-alarm = 1 }
    running       = ["api"]
    captured      = ["both"]
    runbooks_url  = "deploy/runbooks"
    aws_bounds    = { expiry_margin_h = 12 }
  }
  expect_failures = [var.alarm_actions, var.bounds, var.running, var.captured, var.runbooks_url, var.aws_bounds]
}
