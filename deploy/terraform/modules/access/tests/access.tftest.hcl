mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }
  mock_data "aws_region" {
    defaults = { region = "us-east-1" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
}

variables {
  migration           = "engagement"
  tables              = { source = "wallet", target = "engagement" }
  streams             = { source = "wallet-changes", target = "engagement-changes", feed = "engagement-events" }
  bucket              = "crossfade-demo"
  oidc_provider_arn   = "arn:aws:iam::111122223333:oidc-provider/oidc.eks.us-east-1.amazonaws.com/id/EXAMPLE"
  operator_principals = ["arn:aws:iam::111122223333:role/sre"]

  # Lists of an account, and of what belongs to others.
  of_no_resource = [
    "application-autoscaling:DescribeScalableTargets", "backup:ListRecoveryPointsByResource", "cloudwatch:GetMetricStatistics",
    "cloudwatch:ListMetrics", "dax:DescribeClusters", "dynamodb:DescribeLimits", "dynamodb:ListBackups", "kinesis:ListStreams",
    "lambda:ListEventSourceMappings", "logs:DescribeLogGroups", "osis:ListPipelines", "pipes:ListPipes",
  ]
}

run "no_policy_has_a_wildcard_among_its_actions" {
  command = plan

  assert {
    condition = alltrue(flatten([for policy in values(output.policies) : [
      for statement in jsondecode(policy).Statement : [for action in statement.Action : !strcontains(action, "*")]
    ]]))
    error_message = "an action has a wildcard"
  }
  assert {
    condition = alltrue(flatten([for policy in values(output.policies) : [
      for statement in jsondecode(policy).Statement : length(setsubtract(statement.Action, var.of_no_resource)) == 0 if contains(statement.Resource, "*")
    ]]))
    error_message = "a statement is for all resources that could name its own"
  }
}

run "rule_3_only_the_operator_deletes_items_of_the_two_tables" {
  command = plan

  assert {
    condition = [for service, policy in output.policies : service if anytrue([
      for statement in jsondecode(policy).Statement :
      anytrue([for action in statement.Action : contains(["dynamodb:DeleteItem", "dynamodb:BatchWriteItem", "dynamodb:PartiQLDelete"], action)])
      && anytrue([for arn in statement.Resource : contains(["arn:aws:dynamodb:us-east-1:111122223333:table/wallet", "arn:aws:dynamodb:us-east-1:111122223333:table/engagement"], arn)])
    ])] == ["operator"]
    error_message = "somebody else may delete items"
  }
  assert {
    condition     = alltrue([for policy in values(output.policies) : !strcontains(policy, "DeleteTable") && !strcontains(policy, "dynamodb:CreateTable")])
    error_message = "somebody may create or delete tables"
  }
}

run "the_api_writes_both_tables_until_complete" {
  command = plan

  assert {
    condition     = contains(one([for statement in jsondecode(output.policies["engagement-api"]).Statement : statement.Action if statement.Sid == "SourceTable"]), "dynamodb:UpdateItem")
    error_message = "the API can't write its source table"
  }
}

run "and_only_reads_the_source_table_after_it" {
  command = plan
  variables {
    source_writes_revoked = true
  }

  assert {
    condition     = one([for statement in jsondecode(output.policies["engagement-api"]).Statement : statement.Action if statement.Sid == "SourceTable"]) == ["dynamodb:BatchGetItem", "dynamodb:DescribeTable", "dynamodb:GetItem"]
    error_message = "the API may still write the source table"
  }
}

run "a_role_is_for_one_service_account_of_one_cluster" {
  command = plan

  assert {
    condition     = jsondecode(aws_iam_role.service["forward"].assume_role_policy).Statement[0].Condition.StringEquals["oidc.eks.us-east-1.amazonaws.com/id/EXAMPLE:sub"] == "system:serviceaccount:crossfade:crossfade-forward"
    error_message = "another service account may take the role"
  }
  assert {
    condition     = jsondecode(aws_iam_role.service["forward"].assume_role_policy).Statement[0].Condition.StringEquals["oidc.eks.us-east-1.amazonaws.com/id/EXAMPLE:aud"] == "sts.amazonaws.com"
    error_message = "tokens for others are taken"
  }
  assert {
    condition     = length(aws_iam_role.service) == 6 && jsondecode(aws_iam_role.operator[0].assume_role_policy).Statement[0].Principal.AWS == ["arn:aws:iam::111122223333:role/sre"]
    error_message = "there are other roles than six services and the operator"
  }
}

run "a_replicator_on_lambda_is_lambdas" {
  command = plan
  variables {
    lambda_roles = { forward = { function_name = "f", on_failure_arn = "arn:aws:sqs:us-east-1:111122223333:f-on-failure" } }
  }

  assert {
    condition     = jsondecode(aws_iam_role.service["forward"].assume_role_policy).Statement[0].Principal.Service == "lambda.amazonaws.com"
    error_message = "Lambda can't take the role"
  }
  assert {
    condition     = one([for statement in jsondecode(output.policies["forward"]).Statement : statement.Resource if statement.Sid == "OnFailure"]) == ["arn:aws:sqs:us-east-1:111122223333:f-on-failure"]
    error_message = "Lambda can't tell what it gave up on"
  }
  assert {
    condition     = one([for statement in jsondecode(output.policies["forward"]).Statement : statement.Resource if statement.Sid == "EventSource"]) == ["arn:aws:kinesis:us-east-1:111122223333:stream/wallet-changes"]
    error_message = "forward reads another stream than the source table's"
  }
  assert {
    condition     = !strcontains(output.policies["forward"], "engagement-leases") && strcontains(output.policies["reverse"], "engagement-leases")
    error_message = "Lambda takes leases, or the worker takes none"
  }
  assert {
    condition     = !strcontains(output.policies["reverse"], "sqs:")
    error_message = "the pod's policy has Lambda's statements"
  }
}

run "a_plain_migration_has_no_api_of_ours_and_its_replicators_hold_no_wildcard" {
  command = plan
  variables {
    protocol = "plain"
  }

  assert {
    condition     = toset(keys(output.role_arns)) == toset(["controller", "feed", "forward", "reverse", "verifier"])
    error_message = "there are other roles than those of the plain protocol's processes and the feed"
  }
  assert {
    condition = alltrue(flatten([for policy in values(output.policies) : [
      for statement in jsondecode(policy).Statement : [for action in statement.Action : !strcontains(action, "*")]
    ]]))
    error_message = "an action has a wildcard"
  }
  assert {
    condition = alltrue(flatten([for policy in values(output.policies) : [
      for statement in jsondecode(policy).Statement : length(setsubtract(statement.Action, var.of_no_resource)) == 0 if contains(statement.Resource, "*")
    ]]))
    error_message = "a statement is for all resources that could name its own"
  }
}

run "only_the_plain_controller_writes_the_map_turns_the_ttl_off_and_puts_a_guard" {
  command = plan
  variables {
    protocol = "plain"
  }

  assert {
    condition = [for service, policy in output.policies : service if anytrue([
      for statement in jsondecode(policy).Statement : contains(statement.Action, "dynamodb:UpdateTimeToLive") || contains(statement.Action, "dynamodb:PutResourcePolicy")
    ])] == ["controller"]
    error_message = "somebody else may, or the controller may not"
  }
  assert {
    condition = [for service, policy in output.policies : service if anytrue([
      for statement in jsondecode(policy).Statement :
      contains(statement.Action, "dynamodb:PutItem") && contains(statement.Resource, "arn:aws:dynamodb:us-east-1:111122223333:table/engagement-journal")
      && try(statement.Condition["ForAllValues:StringLike"]["dynamodb:LeadingKeys"], ["*"]) != ["journal"]
    ])] == ["controller"]
    error_message = "somebody else may write the map, or the controller may not"
  }
  assert {
    condition     = !strcontains(output.policies["controller"], "kinesis:CreateStream") && !strcontains(output.policies["operator"], "dynamodb:CreateTable")
    error_message = "something is created without a word"
  }
}

run "a_keyed_migration_gets_no_right_of_the_plain_protocol" {
  command = plan

  assert {
    condition     = alltrue([for policy in values(output.policies) : !strcontains(policy, "PutResourcePolicy") && !strcontains(policy, "UpdateTimeToLive")])
    error_message = "a keyed role may put a policy or switch a table's TTL"
  }
}

run "a_plain_replicator_is_no_function" {
  command = plan
  variables {
    protocol     = "plain"
    lambda_roles = { forward = { function_name = "f", on_failure_arn = "arn:aws:sqs:us-east-1:111122223333:f-on-failure" } }
  }
  expect_failures = [var.lambda_roles]
}

run "there_are_two_protocols" {
  command = plan
  variables {
    protocol = "open"
  }
  expect_failures = [var.protocol]
}

run "keys_are_used_through_the_services_only" {
  command = plan
  variables {
    kms_key_arns = ["arn:aws:kms:us-east-1:111122223333:key/1"]
  }

  assert {
    condition = alltrue([for policy in values(output.policies) : alltrue([
      for statement in jsondecode(policy).Statement : contains(statement.Condition.StringEquals["kms:ViaService"], "dynamodb.us-east-1.amazonaws.com") if statement.Sid == "Encryption"
    ]) && strcontains(policy, "kms:Decrypt")])
    error_message = "a key can be used directly, or not at all"
  }
}

run "nobody_operates_by_wildcard_and_unknown_services_are_named" {
  command = plan
  variables {
    operator_principals = ["*"]
    oidc_provider_arn   = "https://oidc.example"
    service_accounts    = { api = "x" }
    lambda_roles        = { verifier = { function_name = "f", on_failure_arn = "a" } }
    tables              = { source = "wallet", target = "wallet" }
  }
  expect_failures = [var.operator_principals, var.oidc_provider_arn, var.service_accounts, var.lambda_roles, var.tables]
}
