"""The status: what a screen shows and what the CLI prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from crossfade.core.mapping.copies import EXCLUDED
from crossfade.core.migration.acts import Wait, document_json, gates_json, wait_json
from crossfade.core.migration.asking import pending_json
from crossfade.core.migration.evidence import Strays
from crossfade.core.migration.gates import clock_skew
from crossfade.core.migration.phases import PAUSE_GOES_ON, PAUSE_RESTS, Phase
from crossfade.core.ownership.ramp import FULL_SHARE
from crossfade.core.protocol.plain.map import OwnerMap
from crossfade.core.values.shape import Side
from crossfade_controller.context import Context
from crossfade_controller.sweeper import SAMPLES

HELD_OUT_CURE: Final = (
    "correct each row, or the mapping, then: crossfade cutover --execute; or leave them in the source table: "
    "crossfade complete --leave-behind N"
)
"""What an operator does about keys that can't move."""


def status_of(ctx: Context, wait: Wait) -> dict[str, Any]:
    """Return the status as JSON: 64-bit numbers as strings, unknown figures as null."""
    state, observer, sweeper = ctx.state, ctx.observer, ctx.sweeper
    evidence = ctx.evidence()
    intent = state.intent
    seen = ctx.seen(wait)
    gates = seen.judge(state.table.shown(state.phase))
    moving = sweeper.current
    return {
        "migration": ctx.world.mapping.name,
        "phase": state.phase.value,
        "phase_since_us": state.since_us,
        "at_us": ctx.world.clock.wall_us(),
        "journal": state.number,
        "waiting_for": wait.text,
        "wait": wait_json(wait),
        "paused": state.paused,
        "pause": {"by": state.paused_by, "rests": PAUSE_RESTS, "goes_on": PAUSE_GOES_ON} if state.paused else None,
        "halted": state.halt,
        "intent": None if intent is None else pending_json(intent),
        "intents": [pending_json(each) for each in state.pending],
        "revokes": bool(ctx.world.settings.revoke_command),
        "document": document_json(state.document),
        "dual_write": state.dual_write,
        "generation_counter": str(state.counter),
        "share_percent": state.document.share * 100 / FULL_SHARE,
        "gates": gates_json(gates),
        "clock": clock.text if (clock := seen.shut(clock_skew)) else "",
        "lag": {
            "forward": observer.lag(Side.SOURCE)._asdict(),
            "reverse": observer.lag(Side.TARGET)._asdict(),
        },
        "unread": {consumer: each._asdict() for consumer, each in observer.unread(state).items()},
        "throughput_per_s": {consumer: round(rate, 1) for consumer, rate in observer.throughput.items()},
        "keys": None if sweeper.progress is None else sweeper.progress.keys,
        "percent_on_target": _percent(ctx),
        "held_out": _held_out(ctx),
        "in_handover": sweeper.in_handover,
        "helped": sweeper.helped,
        "sweep": None if moving is None else moving.as_json(),
        "eta_s": _eta_s(ctx),
        "pods": [
            {
                "pod": each.pod,
                "expired": each.expired,
                "document": document_json(each.document),
                "dual_write": each.dual_write,
            }
            for each in observer.pods
        ],
        "dead_letters": None if evidence is None else evidence.dead_letters,
        "strays": None if evidence is None else _strays(evidence.strays, state.strays_since_us),
        "parity": None if evidence is None else evidence.parity._asdict(),
        "probe": None if evidence is None else evidence.probe._asdict(),
        "progress": _progress(ctx),
        "owning": None if observer.owner_map is None else _owning(ctx, observer.owner_map),
        "snapshot": {name: ctx.state.facts[name] for name in ("export", "map", "import") if name in ctx.state.facts},
    }


def _progress(ctx: Context) -> dict[str, Any] | None:
    """Tell how far the snapshot's step is, while it is not done."""
    progress = ctx.progress
    if progress is None or ctx.state.phase is not Phase.SNAPSHOT or progress.step in ctx.state.done:
        return None
    rounded = {name: None if value is None else round(value, 1) for name, value in progress.times().items()}
    return {**progress._asdict(), **rounded}


def _owning(ctx: Context, now: OwnerMap) -> dict[str, Any]:
    """Tell which table owns, under the plain protocol, and how the last hold went."""
    state, shape = ctx.state, ctx.world.mapping.shape(now.owner)
    last = state.facts.get("opened", {})
    hold = state.begun.get("hold") if state.table.holds(state) else None
    return {
        "owner": now.owner.value,
        "table": shape.table,
        "epoch": now.epoch,
        "state": now.state.value,
        "held_since_us": None if hold is None or "opened" in state.done else hold["at_us"],
        "last_stop_s": last.get("stop_s"),
    }


def _strays(strays: Strays, since_us: Mapping[str, int]) -> dict[str, Any]:
    return {
        "watched": strays.watched,
        "since_us": dict(since_us),
        "last_us": strays.last_us,
        "waiting": strays.waiting,
        "named": [each._asdict() for each in strays.named],
    }


def _held_out(ctx: Context) -> dict[str, Any]:
    """Tell which keys can't move to the target table: by the last complete look, else by the last proof in the
    journal."""
    progress, last = ctx.sweeper.progress, ctx.sweeper.last
    if last is not None and last.destination is Side.TARGET:
        count, held = last.held_out, [each._asdict() for each in last.held]
    elif progress is not None:
        count, held = progress.held_out, [each._asdict() for each in progress.held]
    else:
        proof = ctx.state.facts.get("all-moved", {}).get("pass", {})
        count, held = int(proof.get("held_out", 0)), list(proof.get("held", []))
        if not count:
            excluded = sorted(ctx.world.excluded)
            count, held = len(excluded), [{"key": key.decode(), "because": EXCLUDED} for key in excluded[:SAMPLES]]
    return {"keys": count, "named": held, "cure": HELD_OUT_CURE if count else ""}


def _percent(ctx: Context) -> float | None:
    if ctx.state.phase in {Phase.BAKING, Phase.COMPLETE}:
        return 100.0  # proven by the pass that ended CUT_OVER
    progress = ctx.sweeper.progress
    if progress is None or progress.share is None:
        return None if ctx.state.phase in ctx.state.table.gates else 0.0
    return round(progress.share * 100, 2)


def _eta_s(ctx: Context) -> float | None:
    """Time to the end of the pass that is under way, at the pace it is allowed; None when nothing can be told."""
    progress, moving = ctx.sweeper.progress, ctx.sweeper.current
    if moving is None or progress is None:
        return None
    left = max(0, progress.keys - moving.keys)
    settings = ctx.world.settings
    return round(left / min(settings.sweep_moves_per_s, settings.sweep_rows_per_s), 1)
