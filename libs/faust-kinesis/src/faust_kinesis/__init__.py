"""A kinesis:// transport for Faust, with shard leases and durable checkpoints."""
