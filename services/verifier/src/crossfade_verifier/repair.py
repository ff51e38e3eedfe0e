"""Repair through the fence (design.md, section 6): nothing is written that a late transfer could not have written.

    ahead                       lift the owner above its standby; the write comes down the stream like any other
    stuck, diverged, missing    transfer the owner's image, at most at its version, to a standby only
    extra                       turn the row into a tombstone above its version, or seeded if it has none
    in handover                 left to the sweeper; two owners: left for a human decision
    held out                    left where it is: the other table refuses it

A step of a plan is carried out only while both rows are as the plan saw them; and whoever owns the key by the time of
the write, the conditions decide. `crossfade_verifier.repairs` keeps plans, paces them and resumes them. A repair counts
only after a later clean pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from hashlib import blake2b
from typing import Any, Final, NamedTuple, Protocol, cast

from crossfade.contracts.repairs import RepairStep, RowSeen
from crossfade.core.mapping.copies import transfer_of
from crossfade.core.parity.classes import Difference, Pair, Reading, classify
from crossfade.core.protocol.row import Row
from crossfade.core.protocol.seam import Act, RowReader
from crossfade.core.protocol.writing import Applied, Transfer, Unfit, Verdict
from crossfade.core.values.errors import CrossfadeError, PoisonRecord
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade.ports.clock import Clock
from crossfade.ports.table import TransferTable
from crossfade.runtime import telemetry
from crossfade.runtime.telemetry.contract import CLASS, COUNT, OUTCOME, REASON, REPAIR
from crossfade.runtime.telemetry.span_contract import REPAIR_EVENT, REPAIRING
from crossfade_verifier.both import BothTables
from crossfade_verifier.findings import sample
from crossfade_verifier.reading.rows import Seen
from crossfade_verifier.reading.values import form_of

CHUNK: Final = 100
NAMED: Final = 10
"""Attributes that differ which a step names."""
TEXT: Final = 300
"""Most characters of a reason: a store's or a mapping's message may quote a whole value."""
REPAIRED: Final = "repaired"
ALREADY_RIGHT: Final = "already right"
_ON_ITS_WAY: Final = frozenset({Difference.EQUAL, Difference.IN_FLIGHT, Difference.IN_HANDOVER})
LEFT: Final = {
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
        seen: both rows, for the condition that they haven't changed since.
        met: the row that the write meets, as it was read.
    """

    key: Key
    found: Difference
    side: Side | None
    write: Act | Transfer | None
    why: str
    shown: dict[str, Any]
    seen: dict[Side, RowSeen | None]
    met: Row | None = None


class Counting(Protocol):
    """Where repairs are counted, so that no pass made before or meanwhile is taken for a clean one."""

    def repairing(self, keys: int) -> AbstractContextManager[None]:
        """Count keys that are written inside the context."""
        ...


class Repairer:
    """Plans steps of a repair, and carries them out.

    Attributes:
        repaired: keys by the class that they were in.
    """

    def __init__(
        self,
        both: BothTables,
        transfers: dict[Side, TransferTable],
        counting: Counting,
        *,
        clock: Clock,
        complete: Callable[[], bool] = lambda: False,
    ) -> None:
        """Take the tables.

        Args:
            both: to read.
            transfers: to write state transfers.
            counting: told before anything is written.
            clock: seeds the version of an owner that has none.
            complete: what the flag document says.
        """
        self._both, self._transfers, self._counting = both, transfers, counting
        self._clock, self._complete = clock, complete
        self.repaired: Counter[str] = Counter()

    async def plan(self, keys: Sequence[Key], *, now_us: int | None = None) -> list[Step]:
        """Say what would be done to each key, by its state now. Writes nothing.

        Args:
            keys: encoded.
            now_us: seeds the version of an owner that has none; the clock's if None.

        Raises:
            CrossfadeError: a table can't be read.
        """
        complete, steps = self._complete(), []
        seed_us = self._clock.wall_us() if now_us is None else now_us
        for start in range(0, len(keys), CHUNK):
            chunk = list(dict.fromkeys(keys[start : start + CHUNK]))
            pairs = await self._pairs(chunk)
            rows = self._both.rows(complete=complete)
            sides = {key: rows.owner_of(*pairs[key]) or Side.SOURCE for key in chunk}
            for side in Side:
                mine = [key for key in chunk if sides[key] is side]
                steps += await self._steps(side, mine, seed_us, complete=complete)
        return steps

    async def carry_out(self, steps: Sequence[RepairStep], *, now_us: int, again: int = 0) -> list[str]:
        """Write what was planned, each step only while both rows are as the plan saw them.

        Args:
            steps: of a plan; a few, since they are written one after the other.
            now_us: when it was planned: versions come out as they were planned.
            again: how many of the first steps may have been written before, by a verifier that was killed.

        Returns:
            What became of each step: "repaired", "already right", "refused: why" (the rows changed, or the store did
            not take the write) or "can't: why" (nothing could be written, or what was written did not make it right).

        Raises:
            CrossfadeError: a table can't be reached; how far it came, the rows say: call it again with all of `again`.
        """
        keys = [Key(step.key.encode()) for step in steps if step.writes]
        if not keys:
            return [_left(step) for step in steps]
        with self._counting.repairing(len(keys)), _span(len(keys)) as span:
            now = {step.key: step for step in await self.plan(keys, now_us=now_us)}
            found = [
                _judged(step, now[Key(step.key.encode())], tried=place < again) if step.writes else _left(step)
                for place, step in enumerate(steps)
            ]
            writing = [now[Key(step.key.encode())] for step, known in zip(steps, found, strict=True) if not known]
            refused = {step.key: await self._write(step) for step in writing}
            later = {step.key: step for step in await self.plan(list(refused), now_us=now_us)}
            outcomes = []
            for step, known in zip(steps, found, strict=True):
                key = Key(step.key.encode())
                outcome = (known or _outcome(now[key], refused[key], later[key]))[:TEXT]
                self._count(step, outcome, span)
                outcomes.append(outcome)
        return outcomes

    def _count(self, step: RepairStep, outcome: str, span: telemetry.Started | None) -> None:
        """Count a step, and record it in the repair's span."""
        if outcome == REPAIRED:
            self.repaired[step.found] += 1
        if span is not None:
            said = {CLASS: step.found, REPAIR: step.action, REASON: step.why, OUTCOME: outcome}
            span.event(REPAIR_EVENT, said)

    async def _pairs(self, keys: Sequence[Key]) -> dict[Key, Pair]:
        source = await self._both.read(Side.SOURCE, keys)
        target = await self._both.read(Side.TARGET, keys)
        return {key: Pair(source.get(key), target.get(key)) for key in keys}

    async def _steps(self, side: Side, keys: list[Key], now_us: int, *, complete: bool) -> list[Step]:
        owners = await self._both.read(side, keys)
        standbys = await self._both.read(side.other, keys)
        again = await self._both.read(side, keys)
        rows, steps = self._both.rows(complete=complete), []
        for key in keys:
            owner, standby = owners.get(key), standbys.get(key)
            reading = Reading(side, owner, standby, again.get(key))
            # Requested by an operator, so the bound counts as passed: what is in flight only arrives earlier.
            found = self._class_of(reading, rows)
            pair = Pair(owner, standby) if side is Side.SOURCE else Pair(standby, owner)
            to, write, why = self._what(key, side, found, owner, standby, now_us, complete)
            seen = {each: row_seen(cast("Seen | None", pair.of(each))) for each in Side}
            met = None if to is None else pair.of(to)
            steps.append(Step(key, found, to, write, why, sample(key, pair, rows), seen, met))
        return steps

    def _class_of(self, reading: Reading, rows: RowReader) -> Difference:
        return classify(reading, rows, reached=rows.version_of(reading.owner), late=True) or Difference.IN_FLIGHT

    def _what(
        self,
        key: Key,
        side: Side,
        found: Difference,
        owner: Row | None,
        standby: Row | None,
        now_us: int,
        complete: bool,
    ) -> tuple[Side | None, Act | Transfer | None, str]:
        """Return the table to be written, the write, and why; or why nothing is written."""
        acts, rows = self._both.mapping.protocol.acts, self._both.rows(complete=complete)
        if found in LEFT:
            return None, None, LEFT[found]
        if found is Difference.EXTRA:
            if standby is None or not rows.described(standby)["role"]:
                return None, None, "the extra row has no role: another writer put it there, needs a human decision"
            extra = self._both.core_row(side.other, standby)
            return side.other, acts.bury(key, extra, now_us=now_us), "the owner has nothing"
        if owner is None:
            return None, None, "the owner is gone by now: look again"
        if found is Difference.AHEAD or owner.version is None:
            # An owner without a stamp is seeded, as its first own write would: version 1 would stay unstamped forever.
            above = rows.version_of(standby)
            act = acts.lift(key, owner.version, standby=above, now_us=now_us, complete=complete)
            is_ahead = found is Difference.AHEAD
            return side, act, "the owner must be above its standby" if is_ahead else "the owner has no version"
        try:
            transfer = transfer_of(self._both.mapping, side, key, self._both.core_row(side, owner), repair=True)
        except CrossfadeError as error:
            return None, None, f"the owner can't be mapped: {error}"
        return side.other, transfer, "the standby must hold what its owner holds"

    async def _write(self, step: Step) -> str:
        """Return why the store did not take a step's write; empty when it did, or when there is none.

        Raises:
            CrossfadeError: it can be retried.
        """
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
            if error.retryable:
                raise
            return f"{error.code}: {error}"
        if isinstance(answer, Unfit):
            return f"for good: {answer.because}"
        return "" if isinstance(answer, Applied) else "the item changed"


def _left(step: RepairStep) -> str:
    """Say what becomes of a step that writes nothing."""
    return ALREADY_RIGHT if step.found == Difference.EQUAL.value else f"can't: {step.why}"[:TEXT]


def _judged(planned: RepairStep, now: Step, *, tried: bool) -> str:
    """Say what became of a step before it is written; empty when it is to be written."""
    if tried and _was_written(planned, now):
        return REPAIRED if now.found in _ON_ITS_WAY or now.found is Difference.STUCK else _still_wrong(now)
    if now.found is Difference.EQUAL:
        return ALREADY_RIGHT
    changed = _changed(planned, now)
    return f"refused: changed since the plan: {changed}" if changed else ""


def _was_written(planned: RepairStep, now: Step) -> bool:
    """Say whether the row is at the version that the step was to give it, and not as it was before."""
    side = Side(planned.table)
    row, before = now.seen[side], planned.source if side is Side.SOURCE else planned.target
    return row is not None and row.version == planned.action.rpartition(" ")[2] and row != before


def _changed(planned: RepairStep, now: Step) -> str:
    """Say what is no longer as the plan saw it; empty when all is."""
    for side, before in ((Side.SOURCE, planned.source), (Side.TARGET, planned.target)):
        after = now.seen[side]
        if before != after:
            had, has = _row_named(before), _row_named(after)
            return f"{side.value} had {had}, and has " + ("other content at that version" if had == has else has)
    if (planned.found, planned.action) != (now.found.value, _name(now)):
        return f"it was {planned.found} ({planned.action}), and is {now.found.value} ({_name(now)})"
    return ""


def _row_named(row: RowSeen | None) -> str:
    if row is None:
        return "no row"
    role = {"A": "active", "S": "standby"}.get(row.role or "", "no role")
    what = "a tombstone" if row.deleted else "a row"
    version = "without version" if row.version is None else f"of version {row.version}"
    return f"{what} {version}, {role} at generation {row.generation}"


def _outcome(step: Step, refused: str, later: Step) -> str:
    """Say what became of a step, by what is read of its key now: that a write was taken proves nothing yet."""
    if refused:
        return ALREADY_RIGHT if later.found is Difference.EQUAL else f"refused: {refused}"
    if later.found in _ON_ITS_WAY or (later.found is Difference.STUCK and _reached(step, later)):
        return REPAIRED
    return _still_wrong(later)


def _still_wrong(later: Step) -> str:
    differs = ", ".join(later.shown.get("differs", ()))
    return f"can't: it was written, and is {later.found.value}" + (f" in {differs}" if differs else "")


def _reached(step: Step, later: Step) -> bool:
    """Say whether the standby got what was sent, and only its owner has moved on; a lift comes down the stream."""
    if step.side is None or step.write is None or (step.found is not Difference.EXTRA and isinstance(step.write, Act)):
        return True
    standing = later.shown[step.side.value]
    return standing is not None and int(standing["version"] or 0) >= step.write.version


def _span(keys: int) -> AbstractContextManager[telemetry.Started | None]:
    active = telemetry.active()
    span = None if active is None else active.start(REPAIRING, {COUNT: keys})
    return nullcontext() if span is None else span


def described(step: Step, number: int) -> RepairStep:
    """Return a step as a plan keeps it. Args: step: it; number: its place, from 1."""
    return RepairStep(
        number=number,
        key=step.key.decode(),
        found=step.found.value,
        action=_name(step),
        table=step.side.value if step.side and step.write else None,
        why=step.why[:TEXT],
        source=step.seen[Side.SOURCE],
        target=step.seen[Side.TARGET],
        differs=tuple(each[:TEXT] for each in step.shown.get("differs", ())[:NAMED]),
    )


def row_seen(row: Seen | None) -> RowSeen | None:
    """Return what a plan remembers of a row: enough to tell whether anything of it has changed since."""
    if row is None:
        return None
    digest = blake2b(digest_size=16)
    for name, raw in sorted(row.image.items()):
        try:
            form = form_of(raw)
        except PoisonRecord:
            form = bytes(raw)
        digest.update(b"%d:%b%d:%b" % (len(name.encode()), name.encode(), len(form), form))
    version = None if row.version is None else str(row.version)
    return RowSeen(version, row.role or None, str(row.generation), row.deleted, digest.hexdigest())


def _name(step: Step) -> str:
    if step.write is None:
        return "none"
    if isinstance(step.write, Transfer):
        return f"transfer at {step.write.version}"
    return f"{'bury at' if step.found is Difference.EXTRA else 'lift to'} {step.write.version}"
