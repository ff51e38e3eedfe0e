mock_provider "aws" {
  mock_data "aws_dynamodb_table" {
    defaults = {
      arn                    = "arn:aws:dynamodb:us-east-1:111122223333:table/wallet"
      hash_key               = "pk"
      range_key              = "sk"
      point_in_time_recovery = [{ enabled = true, recovery_period_in_days = 35 }]
    }
  }
  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::example-crossfade" }
  }
}

variables {
  source_table = "wallet"
  bucket       = "example-crossfade"
}

run "the_bucket_is_private_and_encrypted" {
  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.this.block_public_acls, aws_s3_bucket_public_access_block.this.block_public_policy,
      aws_s3_bucket_public_access_block.this.ignore_public_acls, aws_s3_bucket_public_access_block.this.restrict_public_buckets,
    ])
    error_message = "the bucket may become public"
  }
  assert {
    condition     = one(one(aws_s3_bucket_server_side_encryption_configuration.this.rule).apply_server_side_encryption_by_default).sse_algorithm == "aws:kms"
    error_message = "the bucket is not encrypted by KMS"
  }
  assert {
    condition     = jsondecode(aws_s3_bucket_policy.this.policy).Statement[0].Condition.Bool["aws:SecureTransport"] == "false" && jsondecode(aws_s3_bucket_policy.this.policy).Statement[0].Effect == "Deny"
    error_message = "plain HTTP is allowed"
  }
  assert {
    condition     = !aws_s3_bucket.this.force_destroy
    error_message = "a bucket with files could be destroyed"
  }
  assert {
    condition     = output.source_key == tolist(["pk", "sk"])
    error_message = "the source table's key is not passed on"
  }
}

run "what_was_exported_goes_by_itself" {
  assert {
    condition     = aws_s3_bucket_lifecycle_configuration.this.rule[0].status == "Enabled" && aws_s3_bucket_lifecycle_configuration.this.rule[0].expiration[0].days == 14
    error_message = "exports stay"
  }
  assert {
    condition     = one(aws_s3_bucket_lifecycle_configuration.this.rule[0].filter).prefix == "crossfade/"
    error_message = "the rule is not about the snapshots"
  }
}

run "an_export_stays_as_long_as_the_streams_records" {
  command = plan
  variables {
    keep_days = 6
  }
  expect_failures = [var.keep_days]
}

run "a_prefix_is_needed" {
  command = plan
  variables {
    prefix = "crossfade/"
    bucket = "Not-A-Bucket"
  }
  expect_failures = [var.prefix, var.bucket]
}

run "without_point_in_time_recovery_of_the_source_table_nothing_goes_on" {
  command = plan
  override_data {
    target = data.aws_dynamodb_table.source
    values = { point_in_time_recovery = [{ enabled = false, recovery_period_in_days = 0 }] }
  }
  expect_failures = [data.aws_dynamodb_table.source]
}
