mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_region" {
    defaults = { region = "us-east-1" }
  }
  mock_data "aws_dynamodb_table" {
    defaults = {
      hash_key               = "pk"
      range_key              = "sk"
      point_in_time_recovery = [{ enabled = true, recovery_period_in_days = 35 }]
    }
  }
  mock_resource "aws_kinesis_stream" {
    defaults = { arn = "arn:aws:kinesis:us-east-1:111122223333:stream/mocked" }
  }
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:us-east-1:111122223333:key/mocked" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111122223333:role/mocked" }
  }
}

variables {
  bucket                     = "example-crossfade-engagement"
  vpc_id                     = "vpc-1"
  private_subnet_ids         = ["subnet-1", "subnet-2"]
  service_security_group_ids = { api = "sg-1", replicator = "sg-2" }
  redis_auth_token           = "0123456789abcdef0123456789abcdef"
  oidc_provider_arn          = "arn:aws:iam::111122223333:oidc-provider/oidc.eks.us-east-1.amazonaws.com/id/EXAMPLE"
  operator_principals        = ["arn:aws:iam::111122223333:role/sre"]
  pager_topic_arn            = "arn:aws:sns:us-east-1:111122223333:pager"
  runbooks_url               = "https://git.example.com/runbooks"
}

run "before_the_start_there_is_all_but_the_target_table" {
  command = plan

  assert {
    condition     = length(module.target_table) == 0 && length(aws_dynamodb_kinesis_streaming_destination.target) == 0
    error_message = "a target table would be created, and the import would find it there"
  }
  assert {
    condition     = toset([for each in module.control_tables : each.name]) == toset([for name in ["journal", "leases", "heartbeats", "reports", "dead-letters"] : "engagement-${name}"])
    error_message = "the control tables are not those of the code"
  }
  assert {
    condition     = toset([for each in module.streams : each.name]) == toset(["wallet-changes", "engagement-changes", "engagement-events"]) && alltrue([for each in module.streams : each.retention_h == 168])
    error_message = "the streams are not those of the code"
  }
  assert {
    condition     = toset(keys(module.access.role_arns)) == toset(["engagement-api", "forward", "reverse", "feed", "verifier", "controller"])
    error_message = "a service has no role"
  }
}

run "silence_of_replicators_alarms_only_while_they_replicate" {
  variables {
    replicating = true
  }
  command         = plan
  expect_failures = [var.replicating]
}

run "source_writes_are_not_revoked_before_there_is_a_target_table" {
  variables {
    source_writes_revoked = true
  }
  command         = plan
  expect_failures = [var.source_writes_revoked]
}

run "forward_may_run_as_lambda" {
  variables {
    forward_lambda = { bucket = "code", key = "replicator.zip", concurrency = 8 }
  }

  assert {
    condition     = module.forward_lambda[0].on_failure_queue == "engagement-crossfade-forward-on-failure"
    error_message = "the policy names another queue"
  }
  assert {
    condition     = strcontains(module.access.policies["forward"], "arn:aws:sqs:us-east-1:111122223333:engagement-crossfade-forward-on-failure")
    error_message = "Lambda may not write to the queue"
  }
  assert {
    condition     = contains(module.alarms.names, "engagement-crossfade-lambda-gave-up-forward")
    error_message = "nobody watches the queue"
  }
}
