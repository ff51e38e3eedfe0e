"""The telemetry contract: every span, attribute, metric and unit, who emits it, and which span follows from which.

Dashboards, alerts, CloudWatch alarms and docs/reference/telemetry.md follow this file, and a test compares the running
system with it. Names follow OpenTelemetry's semantic conventions (rpc, messaging, db, aws) where there are some; what
is our own begins with "crossfade.".

    caller ─▶ RPC ─┬▶ DB                                      (the owner's write)
                   ├▶ BOTH_WAYS ─▶ DB                        (the copy)
                   ╎ traceparent in the item's event
                   ├▶ RECEIVE ─▶ APPLY                        (replicator)       BATCH ─▶ DB, linked with each APPLY
                   ├▶ RECEIVE ─▶ PUBLISH                      (feed)
                   └▶ RECEIVE ─▶ VERIFY                       (verifier)
"""

from __future__ import annotations

from typing import Final, NamedTuple

from crossfade.runtime.telemetry.schema import MS, Attribute, Kind, Metric, Service

NAMESPACE: Final = "crossfade"
"""`service.namespace` of every service."""

CLOUDWATCH_NAMESPACE: Final = "Crossfade"

API, FORWARD, REVERSE, FEED = Service.API, Service.FORWARD, Service.REVERSE, Service.FEED
VERIFIER, CONTROLLER, TRAFFIC = Service.VERIFIER, Service.CONTROLLER, Service.TRAFFIC
APPLIERS: Final = (FORWARD, REVERSE)
CONSUMERS: Final = (FORWARD, REVERSE, FEED)
ALL: Final = (API, *CONSUMERS, VERIFIER, CONTROLLER)

# ---- attributes --------------------------------------------------------------------------------------------------

RPC_SYSTEM = Attribute("rpc.system.name", "string", "always grpc", ("grpc",))
RPC_METHOD = Attribute("rpc.method", "string", "full name of the method")
RPC_STATUS = Attribute("rpc.response.status_code", "string", "gRPC status, OK or why not")
ERROR_TYPE = Attribute("error.type", "string", "code of the error; present only on failure")
DB_SYSTEM = Attribute("db.system.name", "string", "always aws.dynamodb", ("aws.dynamodb",))
DB_OPERATION = Attribute("db.operation.name", "string", "operation of DynamoDB's API, UpdateItem")
DB_BATCH = Attribute("db.operation.batch.size", "int", "statements or keys of one request")
DB_TABLE = Attribute("db.collection.name", "string", "the table")
DB_TABLES = Attribute("aws.dynamodb.table_names", "string[]", "the tables of one request")
STREAM_SYSTEM = Attribute("messaging.system", "string", "always aws.kinesis", ("aws.kinesis",))
STREAM = Attribute("messaging.destination.name", "string", "the stream", short="Stream")
SHARD = Attribute("messaging.destination.partition.id", "string", "the shard", short="Shard")
GROUP = Attribute(
    "messaging.consumer.group.name",
    "string",
    "the consumer",
    ("forward", "reverse", "feed-source", "feed-target"),
    short="Consumer",
)
STREAM_OPERATION = Attribute(
    "messaging.operation.type", "string", "what is done with the record", ("receive", "process", "send")
)
STREAM_BATCH = Attribute("messaging.batch.message_count", "int", "records of one batch")
MESSAGE_ID = Attribute("messaging.message.id", "string", "sequence number of the record, opaque")

OUTCOMES: Final = (
    "applied",
    "replayed",
    "expired",
    "insufficient",
    "above limit",
    "mismatch",
    "not found",
    "full",
    "busy",
    "refused",
    "ambiguous",
)
OUTCOME = Attribute("crossfade.outcome", "string", f"how it ended: {', '.join(OUTCOMES)}, or the code of an error")
OK: Final = "ok"
REFUSED: Final = "refused"
CANCELLED: Final = "cancelled"
FAILED: Final = "failed"
RESULTS: Final = (OK, REFUSED, CANCELLED, FAILED)
RESULT = Attribute(
    "crossfade.result",
    "string",
    "who is responsible for the outcome of an operation: ok; refused, for a reason that the contract gives the "
    "caller; cancelled by the caller before waiting long; failed, through our fault, including what a caller gave up "
    "on later",
    RESULTS,
)
METHODS: Final = ("EarnPoints", "SpendPoints", "DeleteWallet", "GetBalance", "BatchGetBalances", "BatchEarnPoints")
UNKNOWN_METHOD: Final = "unknown"
"""Stands for every method that the API doesn't have, whatever it is called."""

RECORD_OUTCOMES: Final = (
    "applied",
    "stale",
    "duplicate",
    "deduplicated",
    "coalesced",
    "echo",
    "not_ours",
    "tombstone_removed",
    "stray",
    "parked",
    "held_out",
)
RECORD_OUTCOME = Attribute(
    "crossfade.record.outcome",
    "string",
    f"what became of a change record: {', '.join(RECORD_OUTCOMES)}; rarer ones are named by the replicator's tally",
)
COPY_OUTCOME = Attribute(
    "crossfade.copy.outcome", "string", "what became of a dual write's copy", ("copied", "skipped", "failed", "late")
)
DIRECTION = Attribute("crossfade.direction", "string", "which side became the owner", ("to-source", "to-target"))
SIDE = Attribute("crossfade.side", "string", "which table", ("source", "target"))
STEP = Attribute(
    "crossfade.step",
    "string",
    "step of a handover",
    (
        "sealed",
        "stubbed",
        "activated",
        "re-sealed",
        "helped",
        "overtaken",
        "held out",
        "fenced",
        "given back",
        "restarted",
    ),
)
REASON = Attribute("crossfade.reason", "string", "why, for humans")
VERSION = Attribute("crossfade.version", "string", "cf_mv of the write; text, since readers round 64-bit numbers")
MARK = Attribute("crossfade.mark", "string", "whether a mark in Redis spared the write", ("hit", "miss"))
CLASS = Attribute(
    "crossfade.parity.class",
    "string",
    "class of a key in the last pass",
    (
        "equal",
        "in_flight",
        "in_handover",
        "stuck",
        "diverged",
        "missing",
        "extra",
        "ahead",
        "unreadable",
        "two_owners",
        "held_out",
    ),
)
VERDICT = Attribute(
    "crossfade.verdict",
    "string",
    "what the verifier saw of a write: its copy equal at this version, overtaken by a later version, differing, or no "
    "copy in time",
    ("equal", "overtaken", "diverged", "unseen"),
)
REPAIR = Attribute("crossfade.repair", "string", "what a repair does to a key")
COUNT = Attribute("crossfade.count", "int", "how many")
PHASE = Attribute(
    "crossfade.phase",
    "string",
    "phase of the migration",
    (
        "PLANNED",
        "CAPTURING",
        "SNAPSHOT",
        "CATCHING_UP",
        "BOTH_WAYS",
        "RAMPING",
        "CUT_OVER",
        "BAKING",
        "COMPLETE",
        "ROLLED_BACK",
        "ABORTED",
    ),
)
VERB = Attribute("crossfade.verb", "string", "the operator's command: start, ramp, cutover, rollback …")
WHO = Attribute("crossfade.who", "string", "who gave the command")
GATE = Attribute("crossfade.gate", "string", "name of a gate")
ENTRY = Attribute("crossfade.journal.kind", "string", "kind of a journal entry: phase, share, pause, step …")
NUMBER = Attribute("crossfade.journal.number", "int", "number of a journal entry")
PERCENT = Attribute("crossfade.percent", "string", "share of the keys aimed at the target table, in percent")

# ---- metrics -----------------------------------------------------------------------------------------------------

LATENCY_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
LONG_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)

RPC_DURATION = Metric(
    "rpc.server.call.duration", Kind.HISTOGRAM, "s", "time of a call, from its request to its answer",
    (API,), (RPC_SYSTEM, RPC_METHOD, RPC_STATUS), LATENCY_S, cloudwatch="Duration", cloudwatch_scale=MS,
)  # fmt: skip
DB_DURATION = Metric(
    "db.client.operation.duration", Kind.HISTOGRAM, "s", "time of a request to DynamoDB, its retries included",
    ALL, (DB_SYSTEM, DB_OPERATION), LATENCY_S, cloudwatch="StoreDuration", cloudwatch_scale=MS,
)  # fmt: skip
OPERATIONS = Metric(
    "crossfade.operations", Kind.COUNTER, "{operation}", "owner writes by outcome",
    (API,), (OUTCOME,), cloudwatch="Operations",
)  # fmt: skip
SERVER_FAULTS: Final = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)
"""Statuses that make a server's span an error; the others are the caller's affair (OpenTelemetry's rule for gRPC)."""


API_OPERATIONS = Metric(
    "crossfade.api.operations", Kind.COUNTER, "{operation}", "operations requested of the API, including reads and "
    "each one of a batch, by method (bare name) and by who is responsible for the outcome: basis of error rates",
    (API,), (RPC_METHOD, RESULT),
)  # fmt: skip


class CallCounts(NamedTuple):
    """API_OPERATIONS as CloudWatch is sent it: two figures without dimensions, for metric math.

    They aren't in METRICS: elsewhere they are sums of that counter.

    Attributes:
        every: all operations.
        failed: those that failed through our fault.
    """

    every: Metric
    failed: Metric


CALL_COUNTS: Final = CallCounts(
    Metric("crossfade.calls", Kind.COUNTER, "{operation}", "operations", (API,), cloudwatch="Calls"),
    Metric("crossfade.calls.failed", Kind.COUNTER, "{operation}", "operations that failed through our fault", (API,),
           cloudwatch="FailedCalls"),
)  # fmt: skip

READS = Metric("crossfade.reads", Kind.COUNTER, "{wallet}", "wallets read", (API,), cloudwatch="Reads")
HANDOVERS = Metric(
    "crossfade.handovers", Kind.COUNTER, "{key}", "keys handed over, by the side that became the owner",
    (API, CONTROLLER), (DIRECTION,), cloudwatch="Handovers",
)  # fmt: skip
HANDOVER_STEPS = Metric(
    "crossfade.handover.steps", Kind.COUNTER, "{step}", "steps of handovers, including unfinished ones", (API,), (STEP,)
)
COPIES = Metric(
    "crossfade.dual_write.copies", Kind.COUNTER, "{item}", "copies that the dual write sent, and those it left to the "
    "stream", (API,), (COPY_OUTCOME,), cloudwatch="DualWrites",
)  # fmt: skip
FLAG_AGE = Metric(
    "crossfade.flags.age", Kind.GAUGE, "s", "since the flag file was last read without error", (API,),
    cloudwatch="FlagAge", cloudwatch_scale=MS,
)  # fmt: skip
WRITES_ALLOWED = Metric(
    "crossfade.owner_writes.allowed", Kind.GAUGE, "{pod}", "1 while the pod's heartbeat counts, so that it may write",
    (API,), cloudwatch="OwnerWritesAllowed",
)  # fmt: skip

CONSUMED = Metric(
    "messaging.client.consumed.messages", Kind.COUNTER, "{message}", "change records read: the throughput",
    CONSUMERS, (STREAM_SYSTEM, GROUP), cloudwatch="Throughput",
)  # fmt: skip
RECORDS = Metric(
    "crossfade.apply.records", Kind.COUNTER, "{record}", "change records by what became of them",
    APPLIERS, (GROUP, RECORD_OUTCOME), cloudwatch="Records",
)  # fmt: skip
BATCH_DURATION = Metric(
    "crossfade.apply.batch.duration", Kind.HISTOGRAM, "s", "time of one batch of one shard, until it may be "
    "acknowledged", CONSUMERS, (GROUP,), LATENCY_S, cloudwatch="Duration", cloudwatch_scale=MS,
)  # fmt: skip
ITERATOR_AGE = Metric(
    "crossfade.iterator.age", Kind.GAUGE, "s", "from arrival in the stream to applied, of the oldest record of a shard",
    CONSUMERS, (GROUP, STREAM, SHARD), cloudwatch="IteratorAge", cloudwatch_scale=MS,
)  # fmt: skip
ARRIVAL_LAG = Metric(
    "crossfade.table_to_stream.lag", Kind.GAUGE, "s", "from commit to arrival in the stream, of a shard's record with "
    "the newest commit so far: what was seen of the first hop; what never arrived is only in table_to_stream.age",
    CONSUMERS, (GROUP, STREAM, SHARD), cloudwatch="TableToStreamLag", cloudwatch_scale=MS,
)  # fmt: skip
OLDEST_UNAPPLIED = Metric(
    "crossfade.unapplied.age", Kind.GAUGE, "s", "age of the oldest record that was read and is not applied; 0 when "
    "there is none", CONSUMERS, (GROUP, STREAM, SHARD), cloudwatch="UnappliedAge", cloudwatch_scale=MS,
)  # fmt: skip
THROTTLED = Metric(
    "crossfade.statements.throttled", Kind.COUNTER, "{statement}", "transfers that the target table sent back",
    APPLIERS, (GROUP,), cloudwatch="ThrottledStatements",
)  # fmt: skip
MARKS = Metric(
    "crossfade.dedup.lookups", Kind.COUNTER, "{record}", "transfers by whether a mark spared their write; the hit "
    "share is hit over all", APPLIERS, (GROUP, MARK), cloudwatch="DedupLookups",
)  # fmt: skip
MARKS_FAILED = Metric(
    "crossfade.dedup.failures", Kind.COUNTER, "{call}", "calls that the store of marks did not answer or refused: no "
    "mark was found or made, and writes went out that might have been saved", (API, *APPLIERS), (),
    cloudwatch="MarkFailures", occasional=True,
)  # fmt: skip
MARKS_USABLE = Metric(
    "crossfade.dedup.usable", Kind.GAUGE, "{store}", "1 while marks are found and made, 0 since a call for either "
    "failed (a read-only replica finds and makes none); missing where there is no store", (API, *APPLIERS), (),
    cloudwatch="MarksUsable", occasional=True,
)  # fmt: skip
CHECKPOINTS = Metric(
    "crossfade.checkpoints", Kind.COUNTER, "{checkpoint}", "checkpoints that moved", CONSUMERS, (GROUP,),
    cloudwatch="Checkpoints",
)  # fmt: skip
LEASES = Metric(
    "crossfade.leases", Kind.GAUGE, "{shard}", "shards that this process holds", CONSUMERS, (GROUP,),
    cloudwatch="Leases",
)  # fmt: skip
SHARDS = Metric(
    "crossfade.shards", Kind.GAUGE, "{shard}", "shards that the processes of this consumer have to hold now, as this "
    "one last saw; equals the leases of all processes together", CONSUMERS, (GROUP,), cloudwatch="Shards",
)  # fmt: skip
LEASES_TAKEN = Metric(
    "crossfade.leases.taken", Kind.COUNTER, "{shard}", "shards that this process took: each a change of holder",
    CONSUMERS, (GROUP,), cloudwatch="LeasesTaken",
)  # fmt: skip
PUBLISHED = Metric(
    "crossfade.feed.events", Kind.COUNTER, "{event}", "domain events that the feed stream has acknowledged",
    (FEED,), (GROUP,), cloudwatch="PublishedEvents",
)  # fmt: skip
FEED_PARKED = Metric(
    "crossfade.feed.parked", Kind.COUNTER, "{record}", "records whose events could not be read", (FEED,), (GROUP,),
    cloudwatch="ParkedEvents",
)  # fmt: skip

PARITY = Metric(
    "crossfade.parity.keys", Kind.GAUGE, "{key}", "keys by class in the last pass", (VERIFIER,), (CLASS,),
    cloudwatch="ParityKeys",
)  # fmt: skip
NOT_OURS = Metric(
    "crossfade.parity.not_ours", Kind.GAUGE, "{item}", "rows of the target table that don't belong to the migration",
    (VERIFIER,), cloudwatch="ParityNotOurs",
)  # fmt: skip
CLEAN_AGE = Metric(
    "crossfade.parity.clean_pass.age", Kind.GAUGE, "s", "since the last clean pass; missing while there was none",
    (VERIFIER,), cloudwatch="CleanPassAge", cloudwatch_scale=MS, occasional=True,
)  # fmt: skip
SAFE = Metric(
    "crossfade.parity.safe_to_cut_over", Kind.GAUGE, "{verifier}", "1 when it is safe to cut over, else 0",
    (VERIFIER,), cloudwatch="SafeToCutOver",
)  # fmt: skip
PASS_DURATION = Metric(
    "crossfade.verify.pass.duration", Kind.HISTOGRAM, "s", "time of a pass over both tables", (VERIFIER,), (),
    (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0), occasional=True,
)  # fmt: skip
READ_AGE = Metric(
    "crossfade.verify.stream.age", Kind.GAUGE, "s", "how far the verifier's own reading is behind the tip of a stream",
    (VERIFIER,), (SIDE,), cloudwatch="VerifierLag", cloudwatch_scale=MS, occasional=True,
)  # fmt: skip
VERIFIER_READ = Metric(
    "crossfade.verify.records", Kind.COUNTER, "{record}", "change records that the verifier read", (VERIFIER,), (SIDE,)
)
CROSSING = Metric(
    "crossfade.crossing.duration", Kind.HISTOGRAM, "s", "from the commit of an owner write to the commit of its copy, "
    "of sampled keys, by the side that the copy is written to", (VERIFIER,), (DIRECTION,), LONG_S, cloudwatch="Lag",
    cloudwatch_scale=MS, occasional=True,
)  # fmt: skip
IN_HANDOVER = Metric(
    "crossfade.handover.keys", Kind.GAUGE, "{key}", "keys standby on both sides", (VERIFIER,),
    cloudwatch="KeysInHandover",
)  # fmt: skip
REPAIRS = Metric(
    "crossfade.repairs", Kind.COUNTER, "{key}", "keys that were repaired, by the class they were in", (VERIFIER,),
    (CLASS,), cloudwatch="Repairs", occasional=True,
)  # fmt: skip

MIGRATION_PHASE = Metric(
    "crossfade.migration.phase", Kind.GAUGE, "{phase}", "1 for the phase that the migration is in, 0 for the others",
    (CONTROLLER,), (PHASE,), cloudwatch="Phase",
)  # fmt: skip
RAMP = Metric(
    "crossfade.ramp", Kind.GAUGE, "%", "share of the keys aimed at the target table", (CONTROLLER,),
    cloudwatch="RampPercent",
)  # fmt: skip
ON_TARGET = Metric(
    "crossfade.keys.on_target", Kind.GAUGE, "%", "share of the keys that the target table owns, as of the last "
    "complete look",
    (CONTROLLER,), cloudwatch="KeysOnNewPercent", occasional=True,
)  # fmt: skip
GATE_OPEN = Metric(
    "crossfade.gate.open", Kind.GAUGE, "{gate}", "1 for an open gate, 0 for a shut one; the gates before what comes "
    "next in this phase", (CONTROLLER,), (GATE,), cloudwatch="GateOpen", occasional=True,
)  # fmt: skip
JOURNAL = Metric(
    "crossfade.journal.length", Kind.GAUGE, "{entry}", "entries of the journal", (CONTROLLER,),
    cloudwatch="JournalLength",
)  # fmt: skip
DEAD_LETTERS = Metric(
    "crossfade.dead_letters", Kind.GAUGE, "{letter}", "records that are parked", (CONTROLLER,),
    cloudwatch="DeadLetters", occasional=True,
)  # fmt: skip
UNREPLICATED = Metric(
    "crossfade.table_to_stream.age", Kind.GAUGE, "s", "age of a table's oldest record that is not in its "
    "stream, as CloudWatch reports it (AgeOfOldestUnreplicatedRecord)", (CONTROLLER,), (SIDE,),
    cloudwatch="TableToStreamAge", cloudwatch_scale=MS, occasional=True,
)  # fmt: skip
UNREAD_SHARDS = Metric(
    "crossfade.unread.shards", Kind.GAUGE, "{shard}", "open shards that a consumer must read in this phase and of "
    "which no living process reports", (CONTROLLER,), (GROUP,), cloudwatch="UnreadShards", occasional=True,
)  # fmt: skip
UNREAD_AGE = Metric(
    "crossfade.unread.age", Kind.GAUGE, "s", "age of the oldest record that a consumer may not have applied: for a "
    "dead consumer since its last report, for one that never read since capture began", (CONTROLLER,), (GROUP,),
    cloudwatch="UnreadAge", cloudwatch_scale=MS, occasional=True,
)  # fmt: skip
HALTED = Metric(
    "crossfade.ramp.halted", Kind.GAUGE, "{migration}", "1 while the ramp is halted by a gate", (CONTROLLER,),
    cloudwatch="RampHalted",
)  # fmt: skip
PODS = Metric(
    "crossfade.pods", Kind.GAUGE, "{pod}", "API pods whose heartbeat counts", (CONTROLLER,), cloudwatch="Pods"
)
PODS_BEHIND = Metric(
    "crossfade.pods.behind", Kind.GAUGE, "{pod}", "those of them that are not at the flag document", (CONTROLLER,),
    cloudwatch="PodsBehind",
)  # fmt: skip
LEFT_IN_HANDOVER = Metric(
    "crossfade.handover.overdue", Kind.GAUGE, "{key}", "keys standby on both sides for longer than the sweeper allows",
    (CONTROLLER,), cloudwatch="KeysOverdueInHandover",
)  # fmt: skip
DRIVING = Metric(
    "crossfade.controller.driving", Kind.GAUGE, "{controller}", "1 for the controller that holds the lease",
    (CONTROLLER,), cloudwatch="Driving",
)  # fmt: skip

METRICS: Final[tuple[Metric, ...]] = tuple(each for each in tuple(globals().values()) if isinstance(each, Metric))
"""All metrics, in the order of this file."""
