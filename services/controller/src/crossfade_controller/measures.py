"""What the controller knows anyway, as metrics of the contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from crossfade.core.migration.phases import Phase
from crossfade.core.values.shape import Side
from crossfade.runtime.telemetry import Observed
from crossfade.runtime.telemetry.contract import (
    DEAD_LETTERS,
    DIRECTION,
    DRIVING,
    GATE,
    GATE_OPEN,
    GROUP,
    HALTED,
    HANDOVERS,
    JOURNAL,
    LEFT_IN_HANDOVER,
    MIGRATION_PHASE,
    ON_TARGET,
    PHASE,
    PODS,
    PODS_BEHIND,
    RAMP,
    SIDE,
    UNREAD_AGE,
    UNREAD_SHARDS,
    UNREPLICATED,
)


def observed(status: Mapping[str, Any], handed_over: Mapping[str, int], *, driving: bool) -> Iterator[Observed]:
    """Yield the values now.

    Args:
        status: as the status page tells it; nearly empty until the controller drives.
        handed_over: keys that the sweeper handed over, by the side that became their owner.
        driving: whether this controller holds the lease.
    """
    yield Observed(DRIVING, int(driving))
    if not driving or "lag" not in status:
        return  # another controller tells it
    for phase in Phase:
        yield Observed(MIGRATION_PHASE, int(status["phase"] == phase.value), {PHASE: phase.value})
    yield Observed(RAMP, status["share_percent"])
    yield Observed(JOURNAL, status["journal"])
    yield Observed(HALTED, int(bool(status["halted"])))
    yield Observed(LEFT_IN_HANDOVER, status["in_handover"])
    for gate in status["gates"]:
        yield Observed(GATE_OPEN, int(gate["open"]), {GATE: gate["name"]})
    for side in Side:
        yield Observed(HANDOVERS, handed_over.get(side.value, 0), {DIRECTION: f"to-{side.value}"})
    for side, consumer in ((Side.SOURCE, "forward"), (Side.TARGET, "reverse")):
        age_s = status["lag"][consumer]["unreplicated_s"]
        if age_s is not None:
            yield Observed(UNREPLICATED, age_s, {SIDE: side.value})
    for consumer, left in status["unread"].items():
        yield Observed(UNREAD_SHARDS, left["shards"], {GROUP: consumer})
        yield Observed(UNREAD_AGE, left["waited_s"], {GROUP: consumer})
    if status["percent_on_target"] is not None:
        yield Observed(ON_TARGET, status["percent_on_target"])
    if status["dead_letters"] is not None:
        yield Observed(DEAD_LETTERS, status["dead_letters"])
    yield from _pods(status)


def _pods(status: Mapping[str, Any]) -> Iterator[Observed]:
    counted = [each for each in status["pods"] if not each["expired"]]
    wanted = (status["document"], status["dual_write"])
    yield Observed(PODS, len(counted))
    yield Observed(PODS_BEHIND, sum((each["document"], each["dual_write"]) != wanted for each in counted))
