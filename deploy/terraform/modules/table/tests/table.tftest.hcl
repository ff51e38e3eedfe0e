mock_provider "aws" {}

variables {
  name = "engagement"
}

run "a_table_can_be_recovered_and_not_be_deleted_by_mistake" {
  command = plan

  assert {
    condition     = aws_dynamodb_table.this.point_in_time_recovery[0].enabled
    error_message = "point-in-time recovery is off"
  }
  assert {
    condition     = aws_dynamodb_table.this.deletion_protection_enabled
    error_message = "deletion protection is off"
  }
  assert {
    condition     = aws_dynamodb_table.this.server_side_encryption[0].enabled
    error_message = "encryption is off"
  }
  assert {
    condition     = { for each in aws_dynamodb_table.this.attribute : each.name => each.type } == { pk = "S", sk = "S" }
    error_message = "the key is not (pk S, sk S)"
  }
}

run "rule_3_nothing_expires_unless_somebody_says_so" {
  command = plan

  assert {
    condition     = length(aws_dynamodb_table.this.ttl) == 0
    error_message = "TTL is on by default"
  }
}

run "ttl_is_on_after_complete_when_asked_for" {
  command = plan
  variables {
    ttl_attribute = "ttl"
  }

  assert {
    condition     = aws_dynamodb_table.this.ttl[0].enabled && aws_dynamodb_table.this.ttl[0].attribute_name == "ttl"
    error_message = "TTL was asked for and is not there"
  }
}

run "a_key_may_be_of_one_attribute_and_of_another_type" {
  command = plan
  variables {
    hash_key  = "id"
    range_key = null
    key_types = { id = "N" }
  }

  assert {
    condition     = { for each in aws_dynamodb_table.this.attribute : each.name => each.type } == { id = "N" }
    error_message = "the key is not (id N)"
  }
}

run "what_dynamodb_would_refuse_is_refused_here" {
  command = plan
  variables {
    name            = "no spaces"
    key_types       = { pk = "X" }
    max_write_units = 0
  }
  expect_failures = [var.name, var.key_types, var.max_write_units]
}
