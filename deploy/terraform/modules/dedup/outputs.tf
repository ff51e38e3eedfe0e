output "address" {
  description = "Host of the primary. CROSSFADE_REDIS_URL is rediss://:<auth token>@<address>:6379/0, from a Secret."
  value       = aws_elasticache_replication_group.this.primary_endpoint_address
}

output "nodes" {
  description = "Names of the nodes, for the alarms: ElastiCache numbers them."
  value       = tolist([for n in range(var.replicas + 1) : format("%s-%03d", var.name, n + 1)])
}

output "security_group_id" {
  description = "Security group of the store."
  value       = aws_security_group.this.id
}
