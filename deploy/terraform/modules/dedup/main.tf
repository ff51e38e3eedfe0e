resource "aws_elasticache_subnet_group" "this" {
  name       = var.name
  subnet_ids = var.subnet_ids
  tags       = var.tags
}

resource "aws_security_group" "this" {
  name        = "${var.name}-dedup"
  description = "Marks of applied writes: Redis protocol over TLS, from the services only"
  vpc_id      = var.vpc_id
  tags        = var.tags
}

resource "aws_vpc_security_group_ingress_rule" "services" {
  for_each = var.client_security_group_ids

  security_group_id            = aws_security_group.this.id
  referenced_security_group_id = each.value
  description                  = "TLS from ${each.key}"
  from_port                    = 6379
  to_port                      = 6379
  ip_protocol                  = "tcp"
}

resource "aws_elasticache_parameter_group" "this" {
  name        = var.name
  family      = "valkey8"
  description = "Marks end by their TTL, never by eviction"

  # An evicted mark is a write paid twice, unseen. A full store refuses new marks instead, which is seen (alarms) and
  # costs the same.
  parameter {
    name  = "maxmemory-policy"
    value = "noeviction"
  }

  tags = var.tags
}

resource "aws_elasticache_replication_group" "this" {
  # checkov:skip=CKV_AWS_31: the password is there, by the write-only argument that checkov does not know
  # checkov:skip=CKV2_AWS_50: failover is on unless replicas is 0, which costs writes and loses nothing
  replication_group_id = var.name
  description          = "Marks of applied writes"
  engine               = "valkey"
  engine_version       = "8.0"
  node_type            = var.node_type
  port                 = 6379
  parameter_group_name = aws_elasticache_parameter_group.this.name
  subnet_group_name    = aws_elasticache_subnet_group.this.name
  security_group_ids   = [aws_security_group.this.id]

  # One shard: all marks of a batch are asked for and set in one command each.
  cluster_mode               = "disabled"
  num_cache_clusters         = var.replicas + 1
  automatic_failover_enabled = var.replicas > 0
  multi_az_enabled           = var.replicas > 0

  at_rest_encryption_enabled = true
  kms_key_id                 = var.kms_key_arn
  transit_encryption_enabled = true
  transit_encryption_mode    = "required"
  auth_token_wo              = var.auth_token # goes to AWS, never into the state
  auth_token_wo_version      = var.auth_token_version
  auth_token_update_strategy = "ROTATE"

  snapshot_retention_limit = 0 # marks are worth nothing once lost: a cold store costs some writes

  tags = var.tags
}
