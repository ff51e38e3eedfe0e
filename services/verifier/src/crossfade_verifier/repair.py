"""Repair through the fence (design.md, section 6): nothing is written that a late transfer could not have written.

    ahead                       lift the owner above its standby; the write comes down the stream like any other
    stuck, diverged, missing    transfer the owner's image, at most at its version, to a standby only
    extra                       turn the row into a tombstone at its version + 1
    in handover                 left to the sweeper; two owners: left for a human decision
    held out                    left where it is: the other table refuses it

Whoever owns the key by the time of the write, the conditions decide. A repair counts only after a later clean pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, NamedTuple, Protocol

from crossfade.contracts.journal import Entry
from crossfade.core.mapping.copies import transfer_of
from crossfade.core.parity.classes import Difference, Pair, Reading, classify
from crossfade.core.protocol.row import Row
from crossfade.core.protocol.seam import Act
from crossfade.core.protocol.writing import Applied, Transfer, Unfit, Verdict
from crossfade.core.values.errors import CrossfadeError, MigrationPaused
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade.ports.clock import Clock
from crossfade.ports.control import Journal
from crossfade.ports.table import TransferTable
from crossfade.runtime import telemetry
from crossfade.runtime.telemetry.contract import CLASS, COUNT, OUTCOME, REASON, REPAIR
from crossfade.runtime.telemetry.span_contract import REPAIR_EVENT, REPAIRING
from crossfade_verifier.both import BothTables
from crossfade_verifier.sweep import sample

CHUNK: Final = 100
REPAIRED: Final = "repaired"
ALREADY_RIGHT: Final = "already right"
_ON_ITS_WAY: Final = frozenset({Difference.EQUAL, Difference.IN_FLIGHT, Difference.IN_HANDOVER})
_LEFT: Final = {
    Difference.EQUAL: "nothing to repair",
    Difference.IN_FLIGHT: "it catches up on its own",
    Difference.IN_HANDOVER: "both sides are standby: the sweeper completes the handover",
    Difference.UNREADABLE: "a row can't be read, so what it holds isn't known: correct it first",
    Difference.TWO_OWNERS: "both sides are active: needs a human decision",
    Difference.HELD_OUT: "the other table refuses it: once the cause is gone, `crossfade cutover` takes it up again",
}


class Step(NamedTuple):
    """What a repair does to one key.

    Attributes:
        key: the encoded key.
        found: its class, by reads of this moment.
        side: the table to be written; None when nothing is.
        write: a lift, a transfer or a burial; None when the key is left alone.
        why: for humans.
        shown: the pair as it was read.
    """

    key: Key
    found: Difference
    side: Side | None
    write: Act | Transfer | None
    why: str
    shown: dict[str, Any]


class Repairs(Protocol):
    """Where repairs are counted, so that no pass made before or meanwhile is taken for a clean one."""

    def repairing(self, keys: int) -> AbstractContextManager[None]:
        """Count keys that are written inside the context."""
        ...


class Repairer:
    """Plans repairs, and carries them out.

    Attributes:
        repaired: keys by the class that they were in.
    """

    def __init__(
        self,
        both: BothTables,
        transfers: dict[Side, TransferTable],
        journal: Journal,
        repairs: Repairs,
        *,
        clock: Clock,
    ) -> None:
        """Take the tables.

        Args:
            both: to read.
            transfers: to write state transfers.
            journal: told before and after.
            repairs: told before.
            clock: seeds the version of an owner that has none.
        """
        self._both, self._transfers, self._journal, self._repairs = both, transfers, journal, repairs
        self._clock = clock
        self.repaired: Counter[str] = Counter()

    async def plan(self, keys: Sequence[Key], *, complete: bool = False) -> list[Step]:
        """Say what would be done to each key, by its state now. Writes nothing."""
        steps = []
        for start in range(0, len(keys), CHUNK):
            chunk = list(dict.fromkeys(keys[start : start + CHUNK]))
            pairs = await self._pairs(chunk)
            rows = self._both.rows(complete=complete)
            sides = {key: rows.owner_of(*pairs[key]) or Side.SOURCE for key in chunk}
            for side in Side:
                mine = [key for key in chunk if sides[key] is side]
                steps += await self._steps(side, mine, complete=complete)
        return steps

    async def carry_out(self, steps: Sequence[Step]) -> list[dict[str, Any]]:
        """Write what was planned, and journal it before and after.

        Returns:
            What became of each step, JSON-ready: `outcome` is "repaired", "already right", "refused: why" (the store
            did not take the write) or "can't: why" (nothing could be written, or what was written changed nothing).

        Raises:
            MigrationPaused: an operator paused the migration before this; nothing was written.
        """
        writing = [step for step in steps if step.write is not None]
        planned = [{"key": step.key.decode(), "class": step.found.value, "action": _name(step)} for step in writing]
        if not writing:
            return [_told(step, _outcome(step, "", None)) for step in steps]
        begun = await self._journal.append("repair", {"stage": "begun", "steps": planned})
        await self._heed_pause(begun)
        with self._repairs.repairing(len(writing)), _span(len(writing)) as span:
            now = await self._read_back([step.key for step in writing])
            right = {key for key, step in now.items() if step.found is Difference.EQUAL}
            refused = [ALREADY_RIGHT if step.key in right else await self._write(step) for step in steps]
            later = await self._read_back([step.key for step in writing])
            done = [
                self._told(step, _outcome(step, why, later.get(step.key)), span)
                for step, why in zip(steps, refused, strict=True)
            ]
            outcomes = [outcome for step, outcome in zip(steps, done, strict=True) if step.write is not None]
            await self._journal.append("repair", {"stage": "done", "steps": outcomes})
        return done

    async def _heed_pause(self, begun: Entry) -> None:
        """Stop before the first write if the journal has a pause before this repair: a later one finds it in progress,
        and only the journal says which came first.
        """
        pauses = [each for each in await self._journal.entries() if each.kind == "pause" and each.number < begun.number]
        if pauses and pauses[-1].body["paused"]:
            because = f"{pauses[-1].body.get('who', 'an operator')} paused the migration"
            await self._journal.append("repair", {"stage": "refused", "because": because})
            raise MigrationPaused(f"{because}; nothing was repaired. First run: crossfade resume --execute")

    async def _read_back(self, keys: Sequence[Key]) -> dict[Key, Step]:
        """Return what is left to do about keys that were written; a key that can't be read now is missing."""
        try:
            return {step.key: step for step in await self.plan(keys)}
        except CrossfadeError:
            return {}

    def _told(self, step: Step, outcome: str, span: telemetry.Started | None) -> dict[str, Any]:
        """Count a step, and record it in the repair's span."""
        if outcome == REPAIRED:
            self.repaired[step.found.value] += 1
        if span is not None:
            said = {CLASS: step.found.value, REPAIR: _name(step), REASON: step.why, OUTCOME: outcome}
            span.event(REPAIR_EVENT, said)
        return _told(step, outcome)

    async def _pairs(self, keys: Sequence[Key]) -> dict[Key, Pair]:
        source = await self._both.read(Side.SOURCE, keys)
        target = await self._both.read(Side.TARGET, keys)
        return {key: Pair(source.get(key), target.get(key)) for key in keys}

    async def _steps(self, side: Side, keys: list[Key], *, complete: bool) -> list[Step]:
        owners = await self._both.read(side, keys)
        standbys = await self._both.read(side.other, keys)
        again = await self._both.read(side, keys)
        rows, steps = self._both.rows(complete=complete), []
        for key in keys:
            owner, standby = owners.get(key), standbys.get(key)
            reading = Reading(side, owner, standby, again.get(key))
            # Requested by an operator, so the bound counts as passed: what is in flight only arrives earlier.
            found = classify(reading, rows, reached=rows.version_of(owner), late=True)
            pair = Pair(owner, standby) if side is Side.SOURCE else Pair(standby, owner)
            shown = sample(key, pair, rows)
            steps.append(self._step(key, side, found or Difference.IN_FLIGHT, owner, standby, shown, complete))
        return steps

    def _step(
        self,
        key: Key,
        side: Side,
        found: Difference,
        owner: Row | None,
        standby: Row | None,
        shown: dict[str, Any],
        complete: bool,
    ) -> Step:
        acts = self._both.mapping.protocol.acts
        if found in _LEFT:
            return Step(key, found, None, None, _LEFT[found], shown)
        if found is Difference.EXTRA:
            if standby is None or standby.version is None:
                return Step(key, found, None, None, "the extra row has no version: needs a human decision", shown)
            return Step(
                key,
                found,
                side.other,
                acts.bury(key, self._both.core_row(side.other, standby)),
                "the owner has nothing",
                shown,
            )
        if owner is None:
            return Step(key, found, None, None, "the owner is gone by now: look again", shown)
        if found is Difference.AHEAD or owner.version is None:
            # An owner without a stamp is seeded, as its first own write would: version 1 would stay unstamped forever.
            above = self._both.rows(complete=complete).version_of(standby)
            act = acts.lift(key, owner.version, standby=above, now_us=self._clock.wall_us(), complete=complete)
            why = "the owner must be above its standby" if found is Difference.AHEAD else "the owner has no version"
            return Step(key, found, side, act, why, shown)
        try:
            transfer = transfer_of(self._both.mapping, side, key, self._both.core_row(side, owner), repair=True)
        except CrossfadeError as error:
            return Step(key, found, None, None, f"the owner can't be mapped: {error}", shown)
        return Step(key, found, side.other, transfer, "the standby must hold what its owner holds", shown)

    async def _write(self, step: Step) -> str:
        """Return why the store did not take a step's write; empty when it did, or when there is none."""
        if step.write is None or step.side is None:
            return ""
        try:
            if isinstance(step.write, Transfer):
                (verdict,) = await self._transfers[step.side].transfer([step.write])
                if verdict is Verdict.APPLIED:
                    return ""
                return f"for good: {verdict.because}" if isinstance(verdict, Unfit) else verdict.value
            answer = await self._both.table(step.side).perform(step.write.write)
        except CrossfadeError as error:
            return f"{error.code}: {error}"
        if isinstance(answer, Unfit):
            return f"for good: {answer.because}"
        return "" if isinstance(answer, Applied) else "the item changed"


def _outcome(step: Step, refused: str, later: Step | None) -> str:
    """Say what became of a step, by what is read of its key now: that a write was taken proves nothing yet."""
    if step.write is None:
        return ALREADY_RIGHT if step.found is Difference.EQUAL else f"can't: {step.why}"
    if refused == ALREADY_RIGHT:
        return ALREADY_RIGHT
    if later is None:
        return f"refused: {refused}" if refused else "can't: it was written, and can't be read back: look again"
    if refused:
        return ALREADY_RIGHT if later.found is Difference.EQUAL else f"refused: {refused}"
    if later.found in _ON_ITS_WAY or (later.found is Difference.STUCK and _reached(step, later)):
        return REPAIRED
    differs = ", ".join(later.shown.get("differs", ()))
    return f"can't: it was written, and is {later.found.value}" + (f" in {differs}" if differs else "")


def _reached(step: Step, later: Step) -> bool:
    """Say whether the standby got what was sent, and only its owner has moved on; a lift comes down the stream."""
    if step.side is None or step.write is None or (step.found is not Difference.EXTRA and isinstance(step.write, Act)):
        return True
    standing = later.shown[step.side.value]
    return standing is not None and int(standing["version"] or 0) >= step.write.version


def _told(step: Step, outcome: str) -> dict[str, Any]:
    planned = {"key": step.key.decode(), "class": step.found.value, "action": _name(step), "why": step.why}
    return planned | {"outcome": outcome}


def _span(keys: int) -> AbstractContextManager[telemetry.Started | None]:
    active = telemetry.active()
    span = None if active is None else active.start(REPAIRING, {COUNT: keys})
    return nullcontext() if span is None else span


def described(step: Step) -> dict[str, Any]:
    """Return a planned step, JSON-ready; versions are text."""
    planned = {"key": step.key.decode(), "class": step.found.value, "action": _name(step), "why": step.why}
    return planned | {"table": step.side.value if step.side else None, "pair": step.shown}


def _name(step: Step) -> str:
    if step.write is None:
        return "none"
    if isinstance(step.write, Transfer):
        return f"transfer at {step.write.version}"
    return f"{'bury at' if step.found is Difference.EXTRA else 'lift to'} {step.write.version}"
