"""The alerts. Bounds that a gate has, too, are the gate's; the others say why they are what they are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from scripts.observability.alerting import Alarm, Alert, Clients, Severity, alarm, computed, part, share
from scripts.observability.promql import MIGRATION, WATCHED, one_of

from crossfade.core.gates import Bounds
from crossfade.core.phases import REPLICATING, Phase
from crossfade.runtime.telemetry import contract as c
from crossfade.runtime.telemetry.schema import Attribute

GATES: Final = Bounds()
LAG_S: Final = 60.0
"""Ten times what gates ask for: worth waking somebody, while a short burst isn't."""
EXPIRY_S: Final = GATES.expiry_margin_s
"""A record this old has as long again to live at the shortest retention that is allowed, 48 h."""
STALE_FLAGS_S: Final = 60.0
CLEAN_PASS_S: Final = 6 * GATES.clean_pass_s
"""The gate wants a fresh pass before a step; an alert only says that passes don't come any more."""
CROSSING_S: Final = 30.0
FAILED_COPIES: Final = 0.05
THROTTLED: Final = 0.05
DRIFT: Final = ("stuck", "diverged", "missing", "extra", "ahead")

OVERVIEW, REPLICATOR, API, VERIFIER = (
    "crossfade-overview",
    "crossfade-replicator",
    "crossfade-api",
    "crossfade-verifier",
)
PAGE, TICKET = Severity.PAGE, Severity.TICKET

W = WATCHED


def _in_phase(phases: Iterable[Phase]) -> str:
    """One sample per migration that is in one of the phases."""
    where = one_of(c.PHASE, sorted(each.value for each in phases))
    return f"({W.worst(c.MIGRATION_PHASE, where)} == 1)"


REPLICATES: Final = _in_phase(REPLICATING)


def _nobody_reads(group: str, phases: Iterable[Phase]) -> str:
    held = f"{W.total(c.LEASES, one_of(c.GROUP, [group]))} > 0"
    silent = f"{_in_phase(phases)} unless on ({MIGRATION}) ({held})"
    return f'label_replace({silent}, "{c.GROUP.prometheus}", "{group}", "", "")'


def _share(part: str, whole: str, bound: float) -> str:
    return f"{part} / {whole} > {bound:g}"


def _stopped(group: str) -> Alarm:
    """Lambda stores no checkpoints and sends no count of them: then there is nothing to compute, and no alarm."""
    of = {c.GROUP.cloudwatch: group}
    system = {c.STREAM_SYSTEM.cloudwatch: c.STREAM_SYSTEM.values[0]}
    return computed(
        f"checkpoints-stopped-{group}",
        "IF(read > 0, IF(stored > 0, 0, 1), 0)",
        0,
        {"stored": part(c.CHECKPOINTS, **of), "read": part(c.CONSUMED, **system, **of)},
        minutes=10,
    )


M = f"{{{{ $labels.{MIGRATION} }}}}"
VALUE = "{{ $value | humanize }}"
SECONDS = "{{ $value | humanizeDuration }}"
PERCENT = "{{ $value | humanizePercentage }}"


def _label(attribute: Attribute) -> str:
    return f"{{{{ $labels.{attribute.prometheus} }}}}"


OF_API: Final = (
    Alert(
        "ApiErrors",
        _share(
            W.rate(c.RPC_DURATION, one_of(c.RPC_STATUS, sorted(c.SERVER_FAULTS))),
            W.rate(c.RPC_DURATION),
            GATES.api_errors,
        ),
        "2m",
        PAGE,
        Clients.HURT,
        f"{M}: {PERCENT} of the API's calls fail by our fault",
        API,
        (c.RPC_DURATION, c.OPERATIONS),
        GATES.api_errors,
        (share("api-errors", part(c.CALL_COUNTS.failed), part(c.CALL_COUNTS.every), GATES.api_errors, minutes=5),),
    ),
    Alert(
        "ApiSlow",
        f"{W.quantile(0.99, c.RPC_DURATION)} > {GATES.api_p99_ms / 1000:g}",
        "5m",
        PAGE,
        Clients.HURT,
        f"{M}: p99 of the API's calls is {SECONDS}",
        API,
        (c.RPC_DURATION, c.DB_DURATION),
        GATES.api_p99_ms / 1000,
        (alarm("api-latency", c.RPC_DURATION, GATES.api_p99_ms / 1000, statistic="p99"),),
    ),
    Alert(
        "ApiDown",
        f"{REPLICATES} unless on ({MIGRATION}) ({W.worst(c.PODS)} > 0)",
        "1m",
        PAGE,
        Clients.HURT,
        f"{M}: no API pod's heartbeat counts",
        API,
        (c.PODS,),
        alarms=(alarm("no-pods", c.PODS, 1, below=True, minutes=2),),
    ),
    Alert(
        "OwnerWritesRefused",
        f"count by ({MIGRATION}) ({W.of(c.WRITES_ALLOWED)} == 0) > 0",
        "1m",
        PAGE,
        Clients.SOME,
        f"{M}: {VALUE} API pods refuse writes, since they can't renew their heartbeat",
        API,
        (c.WRITES_ALLOWED,),
        alarms=(alarm("owner-writes", c.WRITES_ALLOWED, 1, statistic="Minimum", below=True, minutes=2),),
    ),
    Alert(
        "FlagsStale",
        f"{W.worst(c.FLAG_AGE)} > {STALE_FLAGS_S:g}",
        "2m",
        TICKET,
        Clients.SAFE,
        f"{M}: an API pod has not read its flags for {SECONDS}",
        API,
        (c.FLAG_AGE,),
        STALE_FLAGS_S,
        (alarm("flags-stale", c.FLAG_AGE, STALE_FLAGS_S),),
    ),
    Alert(
        "PodsBehind",
        f"{W.worst(c.PODS_BEHIND)} > 0",
        "2m",
        PAGE,
        Clients.SAFE,
        f"{M}: {VALUE} API pods work under old flags; nothing moves until they follow",
        OVERVIEW,
        (c.PODS_BEHIND,),
        0,
        (alarm("pods-behind", c.PODS_BEHIND, 0),),
    ),
    Alert(
        "DualWriteFailing",
        _share(W.rate(c.COPIES, one_of(c.COPY_OUTCOME, ["failed"])), W.rate(c.COPIES), FAILED_COPIES),
        "10m",
        TICKET,
        Clients.SAFE,
        f"{M}: {PERCENT} of the dual writes' copies fail and are left to the stream",
        API,
        (c.COPIES,),
        alarms=(
            share(
                "dual-write-failing",
                part(c.COPIES, **{c.COPY_OUTCOME.cloudwatch: "failed"}),
                part(c.COPIES),
                FAILED_COPIES,
                minutes=10,
            ),
        ),
    ),
)

OF_REPLICATOR: Final = (
    Alert(
        "ReplicationLag",
        f"{W.worst(c.ITERATOR_AGE, by=(c.GROUP, c.STREAM))} > {LAG_S:g}",
        "5m",
        PAGE,
        Clients.SAFE,
        f"{M}: {_label(c.GROUP)} is {SECONDS} behind on {_label(c.STREAM)}",
        REPLICATOR,
        (c.ITERATOR_AGE, c.CONSUMED, c.BATCH_DURATION),
        LAG_S,
        (alarm("iterator-age", c.ITERATOR_AGE, LAG_S),),
    ),
    Alert(
        "RecordsNearExpiry",
        f"{W.worst(c.OLDEST_UNAPPLIED, by=(c.GROUP, c.STREAM))} > {EXPIRY_S:g}",
        "5m",
        PAGE,
        Clients.SAFE,
        f"{M}: {_label(c.GROUP)} holds a record of {_label(c.STREAM)} that has waited {SECONDS}",
        REPLICATOR,
        (c.OLDEST_UNAPPLIED,),
        EXPIRY_S,
        (alarm("unapplied-age", c.OLDEST_UNAPPLIED, EXPIRY_S),),
    ),
    Alert(
        "ReplicatorDown",
        " or ".join(
            [
                _nobody_reads("forward", REPLICATING | {Phase.CATCHING_UP}),
                _nobody_reads("reverse", REPLICATING),
                _nobody_reads("feed-legacy", REPLICATING),
                _nobody_reads("feed-new", REPLICATING | {Phase.COMPLETE}),
            ]
        ),
        "2m",
        PAGE,
        Clients.SAFE,
        f"{M}: no process reads for {_label(c.GROUP)}",
        REPLICATOR,
        (c.LEASES,),
        alarms=(alarm("no-leases", c.LEASES, 1, below=True, by=c.LEASES.attributes),),
    ),
    Alert(
        "CheckpointsStopped",
        f"{W.rate(c.CONSUMED, by=(c.GROUP,))} > 0 unless {W.rate(c.CHECKPOINTS, by=(c.GROUP,))} > 0",
        "5m",
        TICKET,
        Clients.SAFE,
        f"{M}: {_label(c.GROUP)} reads {VALUE} records a second and stores no checkpoint",
        REPLICATOR,
        (c.CHECKPOINTS,),
        alarms=tuple(map(_stopped, c.GROUP.values)),
    ),
    Alert(
        "DeadLetters",
        f"{W.worst(c.DEAD_LETTERS)} > 0",
        "2m",
        PAGE,
        Clients.SAFE,
        f"{M}: {VALUE} records are parked",
        OVERVIEW,
        (c.DEAD_LETTERS,),
        0,
        (alarm("dead-letters", c.DEAD_LETTERS, 0),),
    ),
    Alert(
        "TransfersThrottled",
        _share(W.rate(c.THROTTLED, by=(c.GROUP,)), W.rate(c.CONSUMED, by=(c.GROUP,)), THROTTLED),
        "10m",
        TICKET,
        Clients.SAFE,
        f"{M}: {_label(c.GROUP)} has {PERCENT} of its writes sent back by the table",
        REPLICATOR,
        (c.THROTTLED,),
        alarms=(alarm("throttles", c.THROTTLED, 100, statistic="Sum", minutes=10),),
    ),
    Alert(
        "TableToStreamLag",
        f"{W.worst(c.UNREPLICATED, by=(c.SIDE,))} > {LAG_S:g}",
        "5m",
        PAGE,
        Clients.SAFE,
        f"{M}: a write to the {_label(c.SIDE)} table has not reached its stream for {SECONDS}",
        OVERVIEW,
        (c.UNREPLICATED, c.ARRIVAL_LAG),
        LAG_S,
        (
            alarm("table-to-stream-age", c.UNREPLICATED, LAG_S),
            Alarm(
                "failed-replication",
                "FailedToReplicateRecordCount",
                0,
                "Sum",
                "AWS/DynamoDB",
                dimensions=("TableName", "DelegatedOperation"),
                minutes=1,
            ),
        ),
    ),
    Alert(
        "ForeignWrites",
        W.risen(c.RECORDS, one_of(c.RECORD_OUTCOME, ["foreign"]), by=(c.GROUP,), within="10m"),
        "0m",
        PAGE,
        Clients.SAFE,
        f"{M}: {VALUE} writes from outside the protocol came by {_label(c.GROUP)}",
        REPLICATOR,
        (c.RECORDS,),
        alarms=(alarm("foreign-writes", c.RECORDS, 0, statistic="Sum", by=c.RECORDS.attributes, minutes=1),),
    ),
    Alert(
        "EventsParked",
        W.risen(c.FEED_PARKED, by=(c.GROUP,), within="10m"),
        "0m",
        PAGE,
        Clients.SAFE,
        f"{M}: {VALUE} records' events could not be read by {_label(c.GROUP)}",
        REPLICATOR,
        (c.FEED_PARKED, c.PUBLISHED),
        0,
        (alarm("events-parked", c.FEED_PARKED, 0, statistic="Sum", minutes=1),),
    ),
    Alert(
        "CopiesLate",
        f"{W.quantile(0.99, c.CROSSING, by=(c.DIRECTION,))} > {CROSSING_S:g}",
        "10m",
        TICKET,
        Clients.SAFE,
        f"{M}: p99 of a write's way {_label(c.DIRECTION)} is {SECONDS}",
        VERIFIER,
        (c.CROSSING,),
        CROSSING_S,
        (alarm("lag", c.CROSSING, CROSSING_S, statistic="p99", minutes=10),),
    ),
)

OF_VERIFIER: Final = (
    Alert(
        "TwoOwners",
        f"{W.worst(c.PARITY, one_of(c.CLASS, ['two_owners']))} > 0",
        "0m",
        PAGE,
        Clients.SOME,
        f"{M}: {VALUE} keys are active in both tables",
        VERIFIER,
        (c.PARITY,),
        0,
        (alarm("two-owners", c.PARITY, 0, by=c.PARITY.attributes, minutes=1),),
    ),
    Alert(
        "ParityDrift",
        f"{W.worst(c.PARITY, one_of(c.CLASS, DRIFT), by=(c.CLASS,))} > 0",
        "5m",
        PAGE,
        Clients.SAFE,
        f"{M}: {VALUE} keys are {_label(c.CLASS)}",
        VERIFIER,
        (c.PARITY, c.REPAIRS),
        0,
        (alarm("parity-drift", c.PARITY, 0, by=c.PARITY.attributes),),
    ),
    Alert(
        "StrangersInNewTable",
        f"{W.worst(c.STRANGERS)} > 0",
        "0m",
        PAGE,
        Clients.SAFE,
        f"{M}: {VALUE} rows of the new table don't belong to the migration",
        VERIFIER,
        (c.STRANGERS,),
        0,
        (alarm("strangers", c.STRANGERS, 0, minutes=1),),
    ),
    Alert(
        "NoCleanPass",
        f"{REPLICATES} unless on ({MIGRATION}) ({W.least(c.CLEAN_AGE)} < {CLEAN_PASS_S:g})",
        "15m",
        TICKET,
        Clients.SAFE,
        f"{M}: the verifier has had no clean pass in the last hour",
        VERIFIER,
        (c.CLEAN_AGE, c.PASS_DURATION, c.SAFE),
        CLEAN_PASS_S,
        (alarm("clean-pass", c.CLEAN_AGE, CLEAN_PASS_S, minutes=15),),
    ),
    Alert(
        "VerifierBlind",
        f"{REPLICATES} unless on ({MIGRATION}) "
        f"(count by ({MIGRATION}) ({W.worst(c.READ_AGE, by=(c.SIDE,))} < {LAG_S:g}) == 2)",
        "5m",
        TICKET,
        Clients.SAFE,
        f"{M}: the verifier is gone, or does not read both streams to their tips",
        VERIFIER,
        (c.READ_AGE, c.VERIFIER_READ),
        LAG_S,
        (alarm("verifier-lag", c.READ_AGE, LAG_S),),
    ),
)

OF_CONTROLLER: Final = (
    Alert(
        "RampHalted",
        f"{W.worst(c.HALTED)} > 0",
        "1m",
        PAGE,
        Clients.SOME,
        f"{M}: the ramp has halted by itself",
        OVERVIEW,
        (c.HALTED, c.RAMP),
        0,
        (alarm("ramp-halted", c.HALTED, 0, minutes=2),),
    ),
    Alert(
        "HandoverOverdue",
        f"{W.worst(c.LEFT_IN_HANDOVER)} > 0",
        "2m",
        PAGE,
        Clients.SOME,
        f"{M}: {VALUE} keys are standby on both sides, and the sweeper does not get them through",
        OVERVIEW,
        (c.LEFT_IN_HANDOVER, c.IN_HANDOVER),
        0,
        (alarm("handover-overdue", c.LEFT_IN_HANDOVER, 0, minutes=3),),
    ),
    Alert(
        "GateShut",
        f"{W.least(c.GATE_OPEN, by=(c.GATE,))} == 0",
        "30m",
        TICKET,
        Clients.SAFE,
        f"{M}: gate {_label(c.GATE)} has been shut for half an hour",
        OVERVIEW,
        (c.GATE_OPEN,),
        alarms=(alarm("gates", c.GATE_OPEN, 1, statistic="Minimum", below=True, minutes=30),),
    ),
    Alert(
        "NoController",
        f"({W.total(c.LEASES, one_of(c.GROUP, ['forward', 'reverse']))} > 0)"
        f" unless on ({MIGRATION}) ({W.worst(c.DRIVING)} > 0)",
        "2m",
        PAGE,
        Clients.SAFE,
        f"{M}: no controller drives the migration",
        OVERVIEW,
        (c.DRIVING, c.JOURNAL),
        alarms=(alarm("no-controller", c.DRIVING, 1, below=True, minutes=3),),
    ),
)

GROUPS: Final = {
    "crossfade-api": OF_API,
    "crossfade-replicator": OF_REPLICATOR,
    "crossfade-verifier": OF_VERIFIER,
    "crossfade-controller": OF_CONTROLLER,
}
"""The groups of the rule file."""

ALERTS: Final = tuple(each for group in GROUPS.values() for each in group)
"""All alerts."""
