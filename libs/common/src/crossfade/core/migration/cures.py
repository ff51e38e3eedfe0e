"""What an operator does about each gate that is shut, and each check of `plan` that doesn't hold.

A reason says what is wrong; this says what helps, and which runbook of deploy/runbooks leads on. One sentence each, so
that `status`, dry runs, `--wait` and the journal say the same.
"""

from __future__ import annotations

from typing import Final

CURES: Final[dict[str, str]] = {
    # Gates.
    "evidence": "wait for the first evidence, a second or two; if none comes: runbook no-controller",
    "forward_lag": "make sure that the forward replicator is running and keeps up: runbook replication-lag",
    "reverse_lag": "make sure that the reverse replicator is running and keeps up: runbook replication-lag",
    "feed": "make sure that both feed consumers are running and keep up: runbook replication-lag; if "
    "nobody consumes events, set CROSSFADE_GATE_FEED=false",
    "quiet_window": "opens on its own once both lags have stayed low for long enough; if it keeps starting over: "
    "runbook replication-lag",
    "dead_letters": "`replicator dead-letters list`, then redrive or discard each: runbook dead-letters",
    "clean_pass": "make sure that the verifier is running; it starts passes on its own: runbook no-clean-pass",
    "no_drift": "see what differs at the verifier's /parity, and repair it: runbook parity-drift",
    "no_stray": "stop the writer outside the protocol; merge or discard what needs a decision: runbook stray-writes",
    "reverse_proven": "make sure that the reverse replicator is running: it brings the canary's copy: runbook "
    "replication-lag",
    "expiry": "let the consumers catch up, or raise the streams' retention: runbook records-near-expiry",
    "precision": "set the destination's precision to MICROSECOND again (UpdateKinesisStreamingDestination): runbook "
    "gate-shut",
    "heartbeats": "make sure that the pods are running and see the flags in force: runbook pods-behind",
    "calls_reported": "opens a moment after a pod has started; a pod that stays silent is named: runbook pods-behind",
    "error_rate": "see which calls fail, and why: runbook ramp-halted",
    "latency": "see which calls are slow, and why: runbook ramp-halted",
    "clock_skew": "let NTP set the clock of the controller's node",
    "members": "make sure that both replicators are running; one that died is waited out: runbook gate-shut",
    "changed_keys": "wait for the next clean pass, which shortens the list; or raise CROSSFADE_CHANGED_AT_MOST: "
    "runbook gate-shut",
    "halted": "clears automatically when its gate opens: runbook ramp-halted",
    # Checks of `plan`.
    "control_tables": "crossfade control create --execute, or Terraform",
    "history": "follow the message: the journal or a table is missing, or belongs to another migration",
    "source_table": "correct the mapping's source table or CROSSFADE_REGION",
    "key_schema": "name the table's key attributes in the mapping, partition key first",
    "point_in_time_recovery": "aws dynamodb update-continuous-backups, then wait a few minutes",
    "ttl": "name the table's TTL attribute in the mapping: Table(ttl=…)",
    "target_table": "give the mapping's target table a name that is free",
    "source_stream": "wait until the stream is ACTIVE, or name another with CROSSFADE_SOURCE_STREAM",
    "target_stream": "wait until the stream is ACTIVE, or name another with CROSSFADE_TARGET_STREAM",
    "capture": "disable the other stream (aws dynamodb disable-kinesis-streaming-destination), or name it with "
    "CROSSFADE_SOURCE_STREAM",
    "source_indexes": "declare the index keys in the mapping: Table(index_keys=…)",
    "target_indexes": "declare the index keys in the mapping: Table(index_keys=…)",
    "kind_of_table": "permit dynamodb:DescribeTable on the source: `crossfade policy plan`",
    "one_region": "remove the replicas, and add them to the target after `complete`",
    "vector_indexes": "leave this table where it is",
    "local_indexes": "create the target with them, and set CROSSFADE_LOAD=write",
    "one_to_one": "correct how the mapping computes keys, or keep the old key in an attribute",
    "write_quota": "ask for a higher quota of table-level write throughput in the target's account",
    "round_trip": "correct the mapping or the rows; leave rows out with crossfade start --exclude KEY",
    "fits": "change the rows, or leave them out with crossfade start --exclude KEY",
    "retention": "set CROSSFADE_RETENTION_H to 48 or more; 168 is recommended",
    "canary": "set CROSSFADE_CANARY_KEY to a key of the mapping that no client uses",
    "bucket": "set CROSSFADE_BUCKET to a bucket that exists and that these credentials may read",
    "verifier": "start the verifier, or correct CROSSFADE_VERIFIER_URL",
}
"""By the name of the gate or check."""

UNKNOWN_CURES: Final[dict[str, str]] = {
    "precision": "make sure that AWS can be reached, and that the controller's role may "
    "DescribeKinesisStreamingDestination: "
    "runbook gate-shut",
}
"""By the name of the gate, where what helps is another thing while its value is unknown."""
