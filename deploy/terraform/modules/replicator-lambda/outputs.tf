output "function_name" {
  description = "Name of the function."
  value       = aws_lambda_function.this.function_name
}

output "on_failure_queue" {
  description = "Name of the queue that tells what Lambda gave up on."
  value       = aws_sqs_queue.on_failure.name
}

output "on_failure_queue_arn" {
  description = "ARN of it."
  value       = aws_sqs_queue.on_failure.arn
}
