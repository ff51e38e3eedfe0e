output "bucket" {
  description = "Name of the bucket."
  value       = aws_s3_bucket.this.bucket
}

output "bucket_arn" {
  description = "ARN of the bucket."
  value       = aws_s3_bucket.this.arn
}

output "source_table_arn" {
  description = "ARN of the source table."
  value       = data.aws_dynamodb_table.source.arn
}

output "source_key" {
  description = "Key attributes of the source table: the target table has the same key values."
  value       = compact([data.aws_dynamodb_table.source.hash_key, data.aws_dynamodb_table.source.range_key])
}
