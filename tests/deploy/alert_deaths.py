"""Who dies, in which phase, and what must fire then: promtool's tests of every pair of services.

The whole set of firing alerts is compared, so nothing may fire beside it, and nothing may be missing. What must fire
for two dead services is what must fire for each of them, which is how the set never shrinks because more died.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, permutations
from pathlib import Path
from typing import Any, Final, NamedTuple

from alert_rules import EVERYBODY, GROUP, RULES, as_yaml, expecting

from crossfade.core.migration.phases import Phase
from crossfade.runtime.telemetry.schema import Service

STEP_MIN: Final = 2
MINUTES: Final = 72
FIRST_MIN, SECOND_MIN = 4, 44
"""When the first one dies, and the second."""
BEFORE, BETWEEN, AFTER = "2m", "42m", "70m"
HALF_AN_HOUR: Final = 32
SHOWN: Final = (
    f'count by (alertname, crossfade_migration, service_name, {GROUP}, crossfade_gate) (ALERTS{{alertstate="firing"}})'
)

BOTH_WAYS: Final = ("BOTH_WAYS", "RAMPING", "CUT_OVER", "BAKING", "ROLLED_BACK")
PHASES: Final = tuple(each.value for each in Phase)

API, CONTROLLER, VERIFIER = Service.API, Service.CONTROLLER, Service.VERIFIER
FORWARD, REVERSE, FEED = Service.FORWARD, Service.REVERSE, Service.FEED


class Follows(NamedTuple):
    """An alert that must fire when a service is dead.

    Attributes:
        alert: without its prefix.
        phases: in which it must.
        labels: of those that `SHOWN` keeps.
    """

    alert: str
    phases: Sequence[str]
    labels: Mapping[str, str] = {}


TABLE: Final[Mapping[Service, tuple[Follows, ...]]] = {
    API: (Follows("ApiDown", PHASES, {"service_name": "engagement-api"}),),
    CONTROLLER: (
        Follows("NoController", [each for each in PHASES if each != "ABORTED"], {"service_name": "controller"}),
    ),
    FORWARD: (
        Follows("ReplicatorDown", ("CATCHING_UP", *BOTH_WAYS), {"service_name": "replicator-forward"}),
        Follows("ShardsUnread", ("CATCHING_UP", *BOTH_WAYS), {GROUP: "forward"}),
    ),
    REVERSE: (
        Follows("ReplicatorDown", BOTH_WAYS, {"service_name": "replicator-reverse"}),
        Follows("ShardsUnread", BOTH_WAYS, {GROUP: "reverse"}),
    ),
    FEED: (
        Follows("ReplicatorDown", (*BOTH_WAYS, "COMPLETE"), {"service_name": "replicator-feed"}),
        Follows("ShardsUnread", BOTH_WAYS, {GROUP: "feed-source"}),
        Follows("ShardsUnread", (*BOTH_WAYS, "COMPLETE"), {GROUP: "feed-target"}),
    ),
    VERIFIER: (
        Follows("VerifierDown", BOTH_WAYS, {"service_name": "verifier"}),
        Follows("VerifierBlind", BOTH_WAYS, {"service_name": "verifier"}),
        Follows("NoCleanPass", BOTH_WAYS, {"service_name": "verifier"}),
    ),
}
"""What follows from each death. All that must fire when several are dead is the union."""

SEEN_BY_GATES: Final[Mapping[Service, str]] = {FORWARD: "forward_lag", REVERSE: "reverse_lag", VERIFIER: "clean_pass"}
"""The gate that a living controller finds shut when a service is dead, in phases with replication both ways."""


def expected(dead: Mapping[Service, int], at_min: int) -> list[dict[str, str]]:
    """Return what must fire, as labels of `SHOWN`.

    Args:
        dead: the minute of each death.
        at_min: when it is looked at.
    """
    firing: list[dict[str, str]] = [{"alertname": "CrossfadeWatchdog"}]
    for phase in PHASES:
        of = {"crossfade_migration": phase}
        for service, died in dead.items():
            if died <= at_min:
                firing += [
                    {"alertname": f"Crossfade{each.alert}", **of, **each.labels}
                    for each in TABLE[service]
                    if phase in each.phases
                ]
                told = min(dead.get(CONTROLLER, MINUTES), at_min) - died
                if service in SEEN_BY_GATES and phase in BOTH_WAYS and told > HALF_AN_HOUR:
                    shut = {"crossfade_gate": SEEN_BY_GATES[service]}
                    firing.append({"alertname": "CrossfadeGateShut", **of, **shut})
    return firing


def tests() -> Iterator[dict[str, Any]]:
    """Yield promtool's tests."""
    for pair in combinations(EVERYBODY, 2):
        yield _test(dict.fromkeys(pair, FIRST_MIN), (BETWEEN,))
    for first, second in permutations(EVERYBODY, 2):
        yield _test({first: FIRST_MIN, second: SECOND_MIN}, (BEFORE, BETWEEN, AFTER))
    yield _test({each: FIRST_MIN for each in EVERYBODY if each is not API}, (BETWEEN, AFTER))
    yield _test(dict.fromkeys(EVERYBODY, FIRST_MIN), (BETWEEN, AFTER))


def write(folder: Path) -> Path:
    """Write the rules, with a migration in each phase, and the tests; return the tests' file."""
    (folder / RULES.name).write_text(expecting(PHASES))
    file = folder / "deaths.test.yaml"
    file.write_text(
        as_yaml({"rule_files": [RULES.name], "evaluation_interval": f"{STEP_MIN}m", "tests": list(tests())})
    )
    return file


def _test(dead: Mapping[Service, int], looks: Sequence[str]) -> dict[str, Any]:
    return {
        "name": ", ".join(f"{each.value} dies at {died}m" for each, died in dead.items()),
        "interval": f"{STEP_MIN}m",
        "input_series": [
            {"series": f'{name}{{crossfade_migration="{phase}"{"," if labels else ""}{labels}}}', "values": values}
            for phase in PHASES
            for name, labels, values in _world(phase, dead)
        ],
        "promql_expr_test": [
            {
                "expr": SHOWN,
                "eval_time": look,
                "exp_samples": [
                    {"labels": _labels(each), "value": 1} for each in expected(dead, int(look.rstrip("m")))
                ],
            }
            for look in looks
        ],
    }


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels.items()) + "}"


Series = tuple[str, str, str]


def _world(phase: str, dead: Mapping[Service, int]) -> Iterator[Series]:
    """All goes well, except that some die: name, labels and values of each series that matters."""
    for service in EVERYBODY:
        lives = dead.get(service, MINUTES)
        yield "target_info", f'service_name="{service.value}",service_namespace="crossfade"', _until(lives, "1")
        for name, labels, start, step in _says(service, phase):
            yield name, labels, _until(lives, start, step)
    for service, gate in SEEN_BY_GATES.items():
        if phase in BOTH_WAYS:
            yield "crossfade_gate_open", f'crossfade_gate="{gate}"', _gate(dead.get(service), dead.get(CONTROLLER))


def _says(service: Service, phase: str) -> Iterator[tuple[str, str, str, str]]:
    """Name, labels, first value and growth by the step of what a living service says."""
    if service is API:
        yield "crossfade_owner_writes_allowed", "", "1", "0"
        yield "crossfade_flags_age_seconds", "", "1", "0"
        yield "rpc_server_call_duration_seconds_count", 'rpc_response_status_code="OK"', "0", "600"
    elif service is CONTROLLER:
        for each in PHASES:
            yield "crossfade_migration_phase", f'crossfade_phase="{each}"', str(int(each == phase)), "0"
        for name in ("ramp_halted", "handover_overdue", "pods_behind", "dead_letters"):
            yield f"crossfade_{name}", "", "0", "0"
        yield "crossfade_controller_driving", "", "1", "0"
    elif service is VERIFIER and phase in BOTH_WAYS:
        yield "crossfade_parity_clean_pass_age_seconds", "", "60", "0"
        for side in ("source", "target"):
            yield "crossfade_verify_stream_age_seconds", f'crossfade_side="{side}"', "1", "0"
    else:
        for follows in TABLE[service]:
            if follows.alert == "ShardsUnread" and phase in follows.phases:
                group = f'{GROUP}="{follows.labels[GROUP]}"'
                yield "crossfade_leases", group, "2", "0"
                yield "crossfade_shards", group, "2", "0"
                yield "messaging_client_consumed_messages_total", group, "0", "600"
                yield "crossfade_checkpoints_total", group, "0", "60"


def _until(minute: int, start: str, step: str = "0") -> str:
    """What Prometheus has of a process that dies: its last scrape fails, and that ends its series."""
    return f"{start}+{step}x{minute // STEP_MIN - 1}" + (" stale" if minute < MINUTES else "")


def _gate(shut: int | None, ends: int | None) -> str:
    """Open, shut from a minute on, until the controller ends."""
    last = MINUTES if ends is None else ends
    opened = last if shut is None else min(shut, last)
    values = f"1+0x{opened // STEP_MIN - 1}" + (f" 0+0x{(last - opened) // STEP_MIN - 1}" if last > opened else "")
    return values + ("" if ends is None else " stale")
