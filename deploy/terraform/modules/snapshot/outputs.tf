output "bucket" {
  description = "Name of the bucket."
  value       = aws_s3_bucket.this.bucket
}

output "bucket_arn" {
  description = "ARN of the bucket."
  value       = aws_s3_bucket.this.arn
}

output "legacy_table_arn" {
  description = "ARN of the legacy table."
  value       = data.aws_dynamodb_table.legacy.arn
}

output "legacy_key" {
  description = "Key attributes of the legacy table: the new table has the same key values."
  value       = compact([data.aws_dynamodb_table.legacy.hash_key, data.aws_dynamodb_table.legacy.range_key])
}
