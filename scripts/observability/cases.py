"""What promtool tests of each alert: when it fires, with its words, and when it does not.

Series are written out, not made from the contract: so they tell when a name changes under the rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

MIGRATION: Final = {"crossfade_migration": "engagement"}
E: Final = 'crossfade_migration="engagement"'
RAMPING: Final = {f'crossfade_migration_phase{{{E},crossfade_phase="RAMPING"}}': "1+0x60"}
PLANNED: Final = {
    f'crossfade_migration_phase{{{E},crossfade_phase="RAMPING"}}': "0+0x60",
    f'crossfade_migration_phase{{{E},crossfade_phase="PLANNED"}}': "1+0x60",
}


@dataclass(frozen=True, slots=True)
class Fires:
    """One alert that is expected.

    Attributes:
        summary: its words.
        labels: beside severity and clients_hurt.
    """

    summary: str
    labels: Mapping[str, str] = field(default_factory=lambda: MIGRATION)


@dataclass(frozen=True, slots=True)
class Case:
    """One test of one alert.

    Attributes:
        name: a sentence.
        series: values by the minute, in promtool's notation.
        at: when it is looked at.
        fires: what fires then; empty for nothing.
    """

    name: str
    series: Mapping[str, str]
    at: str
    fires: tuple[Fires, ...] = ()


def _of(group: str, **more: str) -> dict[str, str]:
    return {**MIGRATION, "messaging_consumer_group_name": group, **more}


def _calls(ok: str, failed: str, status: str = "UNAVAILABLE") -> dict[str, str]:
    name = "rpc_server_call_duration_seconds_count"
    return {
        f'{name}{{{E},rpc_method="EarnPoints",rpc_response_status_code="OK"}}': ok,
        f'{name}{{{E},rpc_method="EarnPoints",rpc_response_status_code="{status}"}}': failed,
    }


def _buckets(metric: str, labels: str, **seen: str) -> dict[str, str]:
    bounds = {name.removeprefix("le_").replace("_", "."): values for name, values in seen.items()}
    return {f'{metric}_bucket{{{E}{labels},le="{"+Inf" if le == "inf" else le}"}}': seen for le, seen in bounds.items()}


def _leases(*groups: str) -> dict[str, str]:
    return {f'crossfade_leases{{{E},messaging_consumer_group_name="{group}"}}': "2+0x60" for group in groups}


def _tips(**sides: str) -> dict[str, str]:
    return {f'crossfade_verify_stream_age_seconds{{{E},crossfade_side="{side}"}}': ages for side, ages in sides.items()}


def _parity(name: str, values: str) -> dict[str, str]:
    return {f'crossfade_parity_keys{{{E},crossfade_parity_class="{name}"}}': values}


SHARD: Final = 'messaging_destination_name="wallet-changes",messaging_destination_partition_id="shardId-0"'
FORWARD: Final = f'{E},messaging_consumer_group_name="forward"'
READ: Final = f'messaging_client_consumed_messages_total{{{FORWARD},messaging_system="aws.kinesis"}}'
ALL_READ: Final = ("forward", "reverse", "feed-legacy", "feed-new")

OF_API: Final[Mapping[str, tuple[Case, ...]]] = {
    "ApiErrors": (
        Case(
            "one call in eleven fails",
            _calls("0+600x20", "0+60x20"),
            "10m",
            (Fires("engagement: 9.091% of the API's calls fail by our fault"),),
        ),
        Case("one call in 200 fails", _calls("0+600x20", "0+3x20"), "10m"),
        Case(
            "clients ask for more points than they have",
            _calls("0+600x20", "0+300x20", "FAILED_PRECONDITION"),
            "10m",
        ),
        Case("nobody calls", _calls("0+0x20", "0+0x20"), "10m"),
    ),
    "ApiSlow": (
        Case(
            "one call in ten takes half a second",
            _buckets("rpc_server_call_duration_seconds", "", le_0_25="0+90x20", le_0_5="0+100x20", le_inf="0+100x20"),
            "12m",
            (Fires("engagement: p99 of the API's calls is 475ms"),),
        ),
        Case(
            "all calls take less than a quarter",
            _buckets("rpc_server_call_duration_seconds", "", le_0_25="0+100x20", le_0_5="0+100x20", le_inf="0+100x20"),
            "12m",
        ),
    ),
    "ApiDown": (
        Case(
            "no pod's heartbeat counts",
            {**RAMPING, f"crossfade_pods{{{E}}}": "0+0x10"},
            "3m",
            (Fires("engagement: no API pod's heartbeat counts"),),
        ),
        Case("two pods beat", {**RAMPING, f"crossfade_pods{{{E}}}": "2+0x10"}, "3m"),
        Case("there is no migration yet", {**PLANNED, f"crossfade_pods{{{E}}}": "0+0x10"}, "3m"),
        Case(
            "another migration has pods",
            {**RAMPING, 'crossfade_pods{crossfade_migration="other"}': "2+0x10"},
            "3m",
            (Fires("engagement: no API pod's heartbeat counts"),),
        ),
    ),
    "OwnerWritesRefused": (
        Case(
            "one of two pods can't renew its heartbeat",
            {
                f'crossfade_owner_writes_allowed{{{E},instance="a"}}': "1+0x10",
                f'crossfade_owner_writes_allowed{{{E},instance="b"}}': "1 0+0x9",
            },
            "5m",
            (Fires("engagement: 1 API pods refuse writes, since they can't renew their heartbeat"),),
        ),
        Case("all pods may write", {f'crossfade_owner_writes_allowed{{{E},instance="a"}}': "1+0x10"}, "5m"),
    ),
    "FlagsStale": (
        Case(
            "a pod's flag file can't be read",
            {f'crossfade_flags_age_seconds{{{E},instance="a"}}': "0+60x10"},
            "6m",
            (Fires("engagement: an API pod has not read its flags for 6m 0s"),),
        ),
        Case("it is read every second", {f'crossfade_flags_age_seconds{{{E},instance="a"}}': "0.5+0x10"}, "6m"),
    ),
    "PodsBehind": (
        Case(
            "one pod stays at old flags",
            {f"crossfade_pods_behind{{{E}}}": "0 1+0x9"},
            "5m",
            (Fires("engagement: 1 API pods work under old flags; nothing moves until they follow"),),
        ),
        Case("pods follow within a minute", {f"crossfade_pods_behind{{{E}}}": "0 2 0+0x8"}, "5m"),
    ),
    "DualWriteFailing": (
        Case(
            "one copy in ten fails",
            {
                f'crossfade_dual_write_copies_total{{{E},crossfade_copy_outcome="copied"}}': "0+90x30",
                f'crossfade_dual_write_copies_total{{{E},crossfade_copy_outcome="failed"}}': "0+10x30",
            },
            "20m",
            (Fires("engagement: 10% of the dual writes' copies fail and are left to the stream"),),
        ),
        Case(
            "copies are late, none fails",
            {
                f'crossfade_dual_write_copies_total{{{E},crossfade_copy_outcome="late"}}': "0+90x30",
                f'crossfade_dual_write_copies_total{{{E},crossfade_copy_outcome="failed"}}': "0+0x30",
            },
            "20m",
        ),
    ),
}

OF_REPLICATOR: Final[Mapping[str, tuple[Case, ...]]] = {
    "ReplicationLag": (
        Case(
            "a shard falls behind",
            {f"crossfade_iterator_age_seconds{{{FORWARD},{SHARD}}}": "0+30x20"},
            "10m",
            (
                Fires(
                    "engagement: forward is 5m 0s behind on wallet-changes",
                    _of("forward", messaging_destination_name="wallet-changes"),
                ),
            ),
        ),
        Case(
            "a burst that is worked off",
            {f"crossfade_iterator_age_seconds{{{FORWARD},{SHARD}}}": "0 90 120 5+0x9"},
            "10m",
        ),
    ),
    "RecordsNearExpiry": (
        Case(
            "a record is tried again for a day",
            {f"crossfade_unapplied_age_seconds{{{FORWARD},{SHARD}}}": "86000+600x20"},
            "10m",
            (
                Fires(
                    "engagement: forward holds a record of wallet-changes that has waited 1d 1h 33m 20s",
                    _of("forward", messaging_destination_name="wallet-changes"),
                ),
            ),
        ),
        Case("an hour behind", {f"crossfade_unapplied_age_seconds{{{FORWARD},{SHARD}}}": "3600+60x20"}, "10m"),
    ),
    "ReplicatorDown": (
        Case(
            "nobody holds a shard of the reverse direction",
            {**RAMPING, **_leases("forward", "feed-legacy", "feed-new")},
            "5m",
            (Fires("engagement: no process reads for reverse", _of("reverse")),),
        ),
        Case("all four read", {**RAMPING, **_leases(*ALL_READ)}, "5m"),
        Case("there is no migration yet", PLANNED, "5m"),
        Case(
            "complete: the feed goes on alone",
            {f'crossfade_migration_phase{{{E},crossfade_phase="COMPLETE"}}': "1+0x10", **_leases("feed-new")},
            "5m",
        ),
    ),
    "CheckpointsStopped": (
        Case(
            "records are read, no checkpoint moves",
            {READ: "0+600x20", f"crossfade_checkpoints_total{{{FORWARD}}}": "7+0x20"},
            "12m",
            (Fires("engagement: forward reads 10 records a second and stores no checkpoint", _of("forward")),),
        ),
        Case("checkpoints move", {READ: "0+600x20", f"crossfade_checkpoints_total{{{FORWARD}}}": "0+50x20"}, "12m"),
        Case("nothing to read", {READ: "5+0x20", f"crossfade_checkpoints_total{{{FORWARD}}}": "7+0x20"}, "12m"),
    ),
    "DeadLetters": (
        Case(
            "three records are parked",
            {f"crossfade_dead_letters{{{E}}}": "0 3+0x9"},
            "5m",
            (Fires("engagement: 3 records are parked"),),
        ),
        Case("a conflict that leaves by itself", {f"crossfade_dead_letters{{{E}}}": "0 1 0+0x9"}, "5m"),
    ),
    "TransfersThrottled": (
        Case(
            "one write in ten is sent back",
            {READ: "0+1000x30", f"crossfade_statements_throttled_total{{{FORWARD}}}": "0+100x30"},
            "20m",
            (Fires("engagement: forward has 10% of its writes sent back by the table", _of("forward")),),
        ),
        Case(
            "one in a hundred",
            {READ: "0+1000x30", f"crossfade_statements_throttled_total{{{FORWARD}}}": "0+10x30"},
            "20m",
        ),
    ),
    "TableToStreamLag": (
        Case(
            "DynamoDB does not get its records into the stream",
            {f'crossfade_table_to_stream_age_seconds{{{E},crossfade_side="legacy"}}': "0+60x20"},
            "10m",
            (
                Fires(
                    "engagement: a write to the legacy table has not reached its stream for 10m 0s",
                    {**MIGRATION, "crossfade_side": "legacy"},
                ),
            ),
        ),
        Case("seconds", {f'crossfade_table_to_stream_age_seconds{{{E},crossfade_side="legacy"}}': "2+0x20"}, "10m"),
    ),
    "ForeignWrites": (
        Case(
            "somebody writes past the API",
            {f'crossfade_apply_records_total{{{FORWARD},crossfade_record_outcome="foreign"}}': "_x9 1+0x20"},
            "12m",
            (Fires("engagement: 1 writes from outside the protocol came by forward", _of("forward")),),
        ),
        Case(
            "that was long ago",
            {f'crossfade_apply_records_total{{{FORWARD},crossfade_record_outcome="foreign"}}': "1+0x40"},
            "30m",
        ),
        Case(
            "owner writes are applied",
            {f'crossfade_apply_records_total{{{FORWARD},crossfade_record_outcome="applied"}}': "0+100x20"},
            "12m",
        ),
    ),
    "EventsParked": (
        Case(
            "an event can't be read",
            {f'crossfade_feed_parked_total{{{E},messaging_consumer_group_name="feed-new"}}': "0+0x9 2+0x20"},
            "11m",
            (Fires("engagement: 2 records' events could not be read by feed-new", _of("feed-new")),),
        ),
        Case(
            "all can",
            {f'crossfade_feed_parked_total{{{E},messaging_consumer_group_name="feed-new"}}': "0+0x20"},
            "11m",
        ),
    ),
    "CopiesLate": (
        Case(
            "copies take a minute",
            _buckets(
                "crossfade_crossing_duration_seconds",
                ',crossfade_direction="to-new"',
                le_30_0="0+50x30",
                le_60_0="0+100x30",
                le_inf="0+100x30",
            ),
            "20m",
            (
                Fires(
                    "engagement: p99 of a write's way to-new is 59.4s", {**MIGRATION, "crossfade_direction": "to-new"}
                ),
            ),
        ),
        Case(
            "copies take a second",
            _buckets(
                "crossfade_crossing_duration_seconds",
                ',crossfade_direction="to-new"',
                le_1_0="0+100x30",
                le_60_0="0+100x30",
                le_inf="0+100x30",
            ),
            "20m",
        ),
    ),
}

OF_VERIFIER: Final[Mapping[str, tuple[Case, ...]]] = {
    "TwoOwners": (
        Case(
            "one key is active in both tables",
            _parity("two_owners", "0 1+0x9"),
            "2m",
            (Fires("engagement: 1 keys are active in both tables"),),
        ),
        Case("none is", _parity("two_owners", "0+0x9"), "2m"),
    ),
    "ParityDrift": (
        Case(
            "a key is missing pass after pass",
            {**_parity("missing", "1+0x20"), **_parity("stuck", "0+0x20")},
            "8m",
            (Fires("engagement: 1 keys are missing", {**MIGRATION, "crossfade_parity_class": "missing"}),),
        ),
        Case(
            "keys in flight and in handover",
            {**_parity("in_flight", "9+0x20"), **_parity("in_handover", "9+0x20")},
            "8m",
        ),
        Case("gone with the next pass", _parity("stuck", "3 3 0+0x20"), "8m"),
    ),
    "StrangersInNewTable": (
        Case(
            "rows of another system have left its table",
            {f"crossfade_parity_strangers{{{E}}}": "0 4+0x9"},
            "2m",
            (Fires("engagement: 4 rows of the new table don't belong to the migration"),),
        ),
        Case("none", {f"crossfade_parity_strangers{{{E}}}": "0+0x9"}, "2m"),
    ),
    "NoCleanPass": (
        Case(
            "the last one is two hours old",
            {**RAMPING, f"crossfade_parity_clean_pass_age_seconds{{{E}}}": "7200+60x60"},
            "30m",
            (Fires("engagement: the verifier has had no clean pass in the last hour"),),
        ),
        Case(
            "there was none at all",
            RAMPING,
            "30m",
            (Fires("engagement: the verifier has had no clean pass in the last hour"),),
        ),
        Case(
            "clean five minutes ago", {**RAMPING, f"crossfade_parity_clean_pass_age_seconds{{{E}}}": "300+0x60"}, "30m"
        ),
        Case("nothing to compare yet", PLANNED, "30m"),
    ),
    "VerifierBlind": (
        Case(
            "the new table's stream is read late",
            {**RAMPING, **_tips(legacy="1+0x60", new="0+60x60")},
            "15m",
            (Fires("engagement: the verifier is gone, or does not read both streams to their tips"),),
        ),
        Case(
            "the verifier is gone",
            RAMPING,
            "15m",
            (Fires("engagement: the verifier is gone, or does not read both streams to their tips"),),
        ),
        Case("both are read", {**RAMPING, **_tips(legacy="1+0x60", new="2+0x60")}, "15m"),
    ),
}

OF_CONTROLLER: Final[Mapping[str, tuple[Case, ...]]] = {
    "RampHalted": (
        Case(
            "a gate broke",
            {f"crossfade_ramp_halted{{{E}}}": "0 1+0x9"},
            "3m",
            (Fires("engagement: the ramp has halted by itself"),),
        ),
        Case("it goes on", {f"crossfade_ramp_halted{{{E}}}": "0+0x9"}, "3m"),
    ),
    "HandoverOverdue": (
        Case(
            "the sweeper does not get them through",
            {f"crossfade_handover_overdue{{{E}}}": "0 2+0x9"},
            "5m",
            (Fires("engagement: 2 keys are standby on both sides, and the sweeper does not get them through"),),
        ),
        Case("it helps at once", {f"crossfade_handover_overdue{{{E}}}": "0 2 0+0x9"}, "5m"),
    ),
    "GateShut": (
        Case(
            "one gate stays shut",
            {
                f'crossfade_gate_open{{{E},crossfade_gate="clean_pass"}}': "1 0+0x60",
                f'crossfade_gate_open{{{E},crossfade_gate="heartbeats"}}': "1+0x60",
            },
            "35m",
            (
                Fires(
                    "engagement: gate clean_pass has been shut for half an hour",
                    {**MIGRATION, "crossfade_gate": "clean_pass"},
                ),
            ),
        ),
        Case(
            "shut for ten minutes", {f'crossfade_gate_open{{{E},crossfade_gate="clean_pass"}}': "0+0x10 1+0x40"}, "35m"
        ),
    ),
    "NoController": (
        Case(
            "nobody holds the lease",
            {**_leases("forward", "reverse"), f"crossfade_controller_driving{{{E}}}": "0+0x10"},
            "5m",
            (Fires("engagement: no controller drives the migration"),),
        ),
        Case(
            "the controller is gone",
            _leases("forward", "reverse"),
            "5m",
            (Fires("engagement: no controller drives the migration"),),
        ),
        Case(
            "one of two drives",
            {
                **_leases("forward", "reverse"),
                f'crossfade_controller_driving{{{E},instance="a"}}': "1+0x10",
                f'crossfade_controller_driving{{{E},instance="b"}}': "0+0x10",
            },
            "5m",
        ),
        Case("the migration is over: only the feed reads", _leases("feed-new"), "5m"),
    ),
}

CASES: Final[Mapping[str, tuple[Case, ...]]] = {**OF_API, **OF_REPLICATOR, **OF_VERIFIER, **OF_CONTROLLER}
"""By the alert's name without its prefix."""
