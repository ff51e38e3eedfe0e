"""Words of promtool's tests: a case, and the series that it is made of.

Series are written out, not made from the contract: so they tell when a name changes under the rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

MIGRATION: Final = {"crossfade_migration": "engagement"}
E: Final = 'crossfade_migration="engagement"'
EVERYBODY: Final = (
    "engagement-api",
    "replicator-forward",
    "replicator-reverse",
    "replicator-feed",
    "verifier",
    "controller",
)
PHASES: Final = (
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
)
NO_CONTROLLER: Final = "engagement: no controller drives the migration"
WATCHDOG: Final = "Always fires: when it stops, no other alert of Crossfade can arrive"
HOLDS_NOT: Final = "doesn't hold every shard of its stream; what is in the others waits"
WAITS: Final = "answers Prometheus; what it reads waits in the stream until it expires"


def phase(name: str) -> dict[str, str]:
    """Return the migration in a phase."""
    return {
        f'crossfade_migration_phase{{{E},crossfade_phase="{each}"}}': f"{int(each == name)}+0x60"
        for each in ("RAMPING", name)
    }


def service(name: str) -> dict[str, str]:
    """Return labels of an alert about a service."""
    return {**MIGRATION, "service_name": name}


PLANNED: Final = phase("PLANNED")


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
        dead: services that no scrape brings anything from; the others live, and the controller tells RAMPING.
    """

    name: str
    series: Mapping[str, str]
    at: str
    fires: tuple[Fires, ...] = ()
    dead: tuple[str, ...] = ()


def of(group: str, **more: str) -> dict[str, str]:
    """Return labels of an alert about a consumer."""
    return {**MIGRATION, "messaging_consumer_group_name": group, **more}


def operations(ok: str, others: str, result: str = "failed", method: str = "EarnPoints") -> dict[str, str]:
    """Return operations that ended well, and others."""
    name = "crossfade_api_operations_total"
    return {
        f'{name}{{{E},rpc_method="EarnPoints",crossfade_result="ok"}}': ok,
        f'{name}{{{E},rpc_method="{method}",crossfade_result="{result}"}}': others,
    }


def buckets(metric: str, labels: str, **seen: str) -> dict[str, str]:
    """Return a histogram's buckets."""
    bounds = {name.removeprefix("le_").replace("_", "."): values for name, values in seen.items()}
    return {f'{metric}_bucket{{{E}{labels},le="{"+Inf" if le == "inf" else le}"}}': seen for le, seen in bounds.items()}


def leases(*groups: str, held: str = "2+0x60") -> dict[str, str]:
    """Return consumers of two shards each, and how many each holds."""
    found: dict[str, str] = {}
    for each in groups:
        labels = f'{{{E},messaging_consumer_group_name="{each}"}}'
        found |= {f"crossfade_leases{labels}": held, f"crossfade_shards{labels}": "2+0x60"}
    return found


def tips(**sides: str) -> dict[str, str]:
    """Return how far behind the verifier reads."""
    return {f'crossfade_verify_stream_age_seconds{{{E},crossfade_side="{side}"}}': ages for side, ages in sides.items()}


def parity(name: str, values: str) -> dict[str, str]:
    """Return keys of a class."""
    return {f'crossfade_parity_keys{{{E},crossfade_parity_class="{name}"}}': values}


SHARD: Final = 'messaging_destination_name="wallet-changes",messaging_destination_partition_id="shardId-0"'
REVERSE: Final = f'{E},messaging_consumer_group_name="reverse"'
FORWARD: Final = f'{E},messaging_consumer_group_name="forward"'
READ: Final = f'messaging_client_consumed_messages_total{{{FORWARD},messaging_system="aws.kinesis"}}'
ALL_READ: Final = ("forward", "reverse", "feed-source", "feed-target")
