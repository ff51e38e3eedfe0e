"""The spans of the telemetry contract, their events, and the edges between services (see `contract`)."""

from __future__ import annotations

from typing import Final

from crossfade.runtime.telemetry.contract import (
    API,
    APPLIERS,
    CLASS,
    CONSUMERS,
    CONTROLLER,
    COPY_OUTCOME,
    COUNT,
    DB_BATCH,
    DB_OPERATION,
    DB_SYSTEM,
    DB_TABLE,
    DB_TABLES,
    DIRECTION,
    ENTRY,
    ERROR_TYPE,
    FEED,
    FORWARD,
    GROUP,
    MESSAGE_ID,
    NUMBER,
    OUTCOME,
    PERCENT,
    REASON,
    RECORD_OUTCOME,
    REPAIR,
    REVERSE,
    RPC_METHOD,
    RPC_STATUS,
    RPC_SYSTEM,
    SHARD,
    SIDE,
    STEP,
    STREAM,
    STREAM_BATCH,
    STREAM_OPERATION,
    STREAM_SYSTEM,
    TRAFFIC,
    VERB,
    VERDICT,
    VERIFIER,
    VERSION,
    WHO,
)
from crossfade.runtime.telemetry.schema import Edge, Event, Role, Span, Via

HANDOVER_EVENT = Event("handover", "a step of a key's way from one table to the other", (STEP, SIDE, REASON))
SWEEP_EVENT = Event("handover", "keys of one page that were handed over or helped", (SIDE, COUNT, REASON))
JOURNAL_EVENT = Event(
    "journal", "an entry of the journal: a phase, a new share, a halt, a step", (ENTRY, NUMBER, REASON)
)
RAMP_EVENT = Event("ramp", "the share of the keys aimed at the target table changed", (PERCENT, REASON))
REPAIR_EVENT = Event("repair", "one key of a repair", (CLASS, REPAIR, REASON, OUTCOME))

CALLER = Span(
    "CALLER", "{rpc.method}", Role.CLIENT, "a call as its caller sees it, retries included; here the demo's clients, "
    "elsewhere whatever the caller's own tracing makes", (TRAFFIC,), (RPC_SYSTEM, RPC_METHOD), (RPC_STATUS, ERROR_TYPE),
)  # fmt: skip
RPC = Span(
    "RPC", "{rpc.method}", Role.SERVER, "a call of the Engagement API; its traceparent goes into the item's event",
    (API,), (RPC_SYSTEM, RPC_METHOD, RPC_STATUS), (ERROR_TYPE, OUTCOME), (HANDOVER_EVENT,),
)  # fmt: skip
DB = Span(
    "DB", "DynamoDB.{db.operation.name}", Role.CLIENT, "a request to DynamoDB, its retries included",
    (API, FORWARD, REVERSE, VERIFIER, CONTROLLER), (DB_SYSTEM, DB_OPERATION, DB_TABLES), (DB_BATCH, ERROR_TYPE),
)  # fmt: skip
DUAL_WRITE = Span(
    "DUAL_WRITE", "dual-write {db.collection.name}", Role.INTERNAL, "the copy of an owner write to the other table; "
    "the caller waits for it only for its budget", (API,), (DB_TABLE, COPY_OUTCOME), occasional=True,
)  # fmt: skip
RECEIVE = Span(
    "RECEIVE", "receive {messaging.destination.name}", Role.CONSUMER, "the hop through the table's stream: begins at "
    "the record's commit, ends when its batch is taken", (*CONSUMERS, VERIFIER),
    (STREAM_SYSTEM, STREAM, STREAM_OPERATION, VERSION), (SHARD, GROUP, MESSAGE_ID),
)  # fmt: skip
BATCH = Span(
    "BATCH", "process {messaging.destination.name}", Role.CONSUMER,
    "one batch of a shard, in a trace of its own with links to those of its sampled records; created only if it has "
    "any", CONSUMERS,
    (STREAM_SYSTEM, STREAM, STREAM_OPERATION, STREAM_BATCH, SHARD, GROUP), (ERROR_TYPE,),
)  # fmt: skip
APPLY = Span(
    "APPLY", "apply {db.collection.name}", Role.INTERNAL, "a sampled record on its way into the other table; linked "
    "with its batch", APPLIERS, (DB_TABLE, GROUP, RECORD_OUTCOME, VERSION),
)  # fmt: skip
PUBLISH = Span(
    "PUBLISH", "send {messaging.destination.name}", Role.PRODUCER, "the domain events of a sampled record, until the "
    "feed stream has them; linked with its batch", (FEED,), (STREAM_SYSTEM, STREAM, STREAM_OPERATION, GROUP, VERSION),
)  # fmt: skip
VERIFY = Span(
    "VERIFY", "verify {db.collection.name}", Role.INTERNAL, "from the verifier's first look at a version in the "
    "owner's stream to its copy in the other one, compared", (VERIFIER,), (DB_TABLE, VERDICT, VERSION),
)  # fmt: skip
INTENT = Span(
    "INTENT", "crossfade {crossfade.verb}", Role.INTERNAL, "an operator's command, from its acceptance to its outcome",
    (CONTROLLER,), (VERB,), (WHO, OUTCOME, REASON), (JOURNAL_EVENT, RAMP_EVENT), always=True, occasional=True,
)  # fmt: skip
SWEEP = Span(
    "SWEEP", "hand over {crossfade.direction}", Role.INTERNAL, "keys that the sweeper hands over, page by page",
    (CONTROLLER,), (DIRECTION, COUNT), (), (SWEEP_EVENT,), always=True, occasional=True,
)  # fmt: skip
REPAIRING = Span(
    "REPAIRING", "repair", Role.INTERNAL, "a slice of a repair", (VERIFIER,), (COUNT,), (), (REPAIR_EVENT,),
    always=True, occasional=True,
)  # fmt: skip

SPANS: Final[tuple[Span, ...]] = tuple(each for each in tuple(globals().values()) if isinstance(each, Span))
"""All spans, in the order of this file."""

EDGES: Final = (
    Edge("CALLER", "RPC", Via.METADATA),
    Edge("RPC", "DB", Via.CHILD, (API,)),
    Edge("RPC", "DUAL_WRITE", Via.CHILD, occasional=True),
    Edge("DUAL_WRITE", "DB", Via.CHILD, (API,), occasional=True),
    Edge("RPC", "RECEIVE", Via.EVENT),
    Edge("RECEIVE", "APPLY", Via.CHILD),
    Edge("RECEIVE", "PUBLISH", Via.CHILD),
    Edge("RECEIVE", "VERIFY", Via.CHILD),
    Edge("RPC", "BATCH", Via.LINK),
    Edge("BATCH", "APPLY", Via.LINK),
    Edge("BATCH", "PUBLISH", Via.LINK),
    Edge("BATCH", "DB", Via.CHILD, (FORWARD,)),
    Edge("BATCH", "DB", Via.CHILD, (REVERSE,), occasional=True),
    Edge("SWEEP", "DB", Via.CHILD, (CONTROLLER,), occasional=True),
    Edge("REPAIRING", "DB", Via.CHILD, (VERIFIER,), occasional=True),
)
"""Which span follows from which. RPC stands for the call whose event the record carries."""

PICTURE: Final = ("RPC", "DB", "RECEIVE", "APPLY", "PUBLISH", "VERIFY")
"""What the trace of one write shows in one picture: API, DynamoDB, stream, apply, event, verify."""
