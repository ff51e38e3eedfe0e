# What the import blocks find is told here, as the controller leaves it; a mocked provider can't look it up.

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

override_resource {
  target = module.target_table["engagement"].aws_dynamodb_table.this
  values = {
    name         = "engagement"
    hash_key     = "pk"
    range_key    = "sk"
    billing_mode = "PAY_PER_REQUEST"
  }
}

override_resource {
  target = aws_dynamodb_kinesis_streaming_destination.target["engagement"]
  values = {
    table_name                               = "engagement"
    stream_arn                               = "arn:aws:kinesis:us-east-1:111122223333:stream/mocked"
    approximate_creation_date_time_precision = "MICROSECOND"
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

run "first_everything_else_is_made" {
  assert {
    condition     = length(module.target_table) == 0
    error_message = "the target table is there before its import"
  }
}

run "the_target_table_is_adopted_watched_and_protected" {
  variables {
    target_table_imported = true
    replicating           = true
    source_writes_revoked = true
  }

  assert {
    condition     = module.target_table["engagement"].name == "engagement" && aws_dynamodb_kinesis_streaming_destination.target["engagement"].approximate_creation_date_time_precision == "MICROSECOND"
    error_message = "the target table, or its change stream, is not adopted"
  }
  assert {
    condition     = contains(module.alarms.names, "engagement-crossfade-failed-replication-target")
    error_message = "the target table is not watched"
  }
  assert {
    condition     = one([for each in jsondecode(module.access.policies["engagement-api"]).Statement : each.Action if each.Sid == "SourceTable"]) == ["dynamodb:BatchGetItem", "dynamodb:DescribeTable", "dynamodb:GetItem"]
    error_message = "the API may still write the source table"
  }
}
