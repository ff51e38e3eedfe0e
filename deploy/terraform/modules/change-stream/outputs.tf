output "name" {
  description = "Name of the stream."
  value       = aws_kinesis_stream.this.name
}

output "arn" {
  description = "ARN of the stream."
  value       = aws_kinesis_stream.this.arn
}

output "retention_h" {
  description = "Hours that records are kept; alarms and the Lambda's age limit are made from it."
  value       = aws_kinesis_stream.this.retention_period
}
