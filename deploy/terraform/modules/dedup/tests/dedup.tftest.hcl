mock_provider "aws" {}

variables {
  name                      = "engagement-marks"
  vpc_id                    = "vpc-1"
  subnet_ids                = ["subnet-1", "subnet-2"]
  client_security_group_ids = { api = "sg-1", replicator = "sg-2" }
  auth_token                = "0123456789abcdef0123456789abcdef"
}

run "rule_7_marks_are_never_evicted" {
  command = plan

  assert {
    condition     = { for each in aws_elasticache_parameter_group.this.parameter : each.name => each.value }["maxmemory-policy"] == "noeviction"
    error_message = "marks may be evicted"
  }
  assert {
    condition     = aws_elasticache_replication_group.this.cluster_mode == "disabled"
    error_message = "the marks of a batch may lie on several shards"
  }
}

run "only_tls_with_a_password_and_only_the_services" {
  command = plan

  assert {
    condition     = aws_elasticache_replication_group.this.transit_encryption_enabled && aws_elasticache_replication_group.this.transit_encryption_mode == "required"
    error_message = "plain connections are taken"
  }
  assert {
    condition     = aws_elasticache_replication_group.this.at_rest_encryption_enabled
    error_message = "the store is not encrypted at rest"
  }
  assert {
    condition     = aws_elasticache_replication_group.this.auth_token_wo_version == 1
    error_message = "the password is not passed by a write-only argument"
  }
  assert {
    condition     = { for name, rule in aws_vpc_security_group_ingress_rule.services : name => rule.referenced_security_group_id } == { api = "sg-1", replicator = "sg-2" }
    error_message = "others may connect"
  }
}

run "a_lost_node_is_replaced_by_its_replica" {
  command = plan

  assert {
    condition     = aws_elasticache_replication_group.this.automatic_failover_enabled && aws_elasticache_replication_group.this.multi_az_enabled && aws_elasticache_replication_group.this.num_cache_clusters == 2
    error_message = "there is no failover"
  }
  assert {
    condition     = output.nodes == tolist(["engagement-marks-001", "engagement-marks-002"])
    error_message = "the alarms would watch other nodes"
  }
}

run "a_cheap_store_may_have_one_node" {
  command = plan
  variables {
    replicas = 0
  }

  assert {
    condition     = !aws_elasticache_replication_group.this.automatic_failover_enabled && aws_elasticache_replication_group.this.num_cache_clusters == 1
    error_message = "AWS refuses failover without a replica"
  }
}

run "what_elasticache_would_refuse_is_refused_here" {
  command = plan
  variables {
    name                      = "Marks--of-"
    subnet_ids                = ["subnet-1"]
    client_security_group_ids = {}
    auth_token                = "short"
    replicas                  = 6
  }
  expect_failures = [var.name, var.subnet_ids, var.client_security_group_ids, var.auth_token, var.replicas]
}
