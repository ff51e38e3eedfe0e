resource "aws_dynamodb_table" "this" {
  name         = var.name
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = var.hash_key
  range_key    = var.range_key

  deletion_protection_enabled = var.deletion_protection

  dynamic "attribute" {
    for_each = compact([var.hash_key, var.range_key])
    content {
      name = attribute.value
      type = lookup(var.key_types, attribute.value, "S")
    }
  }

  dynamic "on_demand_throughput" {
    for_each = var.max_write_units == null ? [] : [var.max_write_units]
    content {
      max_read_request_units  = -1
      max_write_request_units = on_demand_throughput.value
    }
  }

  dynamic "ttl" {
    for_each = var.ttl_attribute == null ? [] : [var.ttl_attribute]
    content {
      attribute_name = ttl.value
      enabled        = true
    }
  }

  point_in_time_recovery {
    enabled = true
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = var.kms_key_arn
  }

  tags = var.tags
}
