"""A pass as one verifier sees it: its record, what was found so far, and how it goes."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from crossfade.contracts.passes import PassRecord, UnitRecord
from crossfade.core.values.shape import Side
from crossfade_verifier.findings import Findings, Stage
from crossfade_verifier.units import Unit

RATE_S: Final = 30.0
"""Seconds over which the rate is taken."""

ORDER: Final = (Stage.SCANNING, Stage.JOINING, Stage.FOLLOWING, Stage.DONE)


class Progress(NamedTuple):
    """How a running pass goes.

    Attributes:
        stage: the earliest of its units' that are not done.
        scanned: rows by side.
        following: keys.
        waiting_rows: rows that wait for their partners.
        read_units: so far.
        rows_per_s: both tables together, over the last half minute; None when it isn't known yet.
        eta_s: until all is scanned, at that rate; None when it isn't known.
        percent: of the rows that are expected; None when it isn't known how many.
        units: number of units.
        units_done: number of those that are done.
        pods: who works at it.
        trouble: what fails at the moment, and is tried again.
    """

    stage: Stage
    scanned: Mapping[Side, int]
    following: int
    waiting_rows: int
    read_units: float
    rows_per_s: float | None
    eta_s: float | None
    percent: float | None
    units: int
    units_done: int
    pods: Sequence[str]
    trouble: str


@dataclass(slots=True, eq=False)
class Pass:
    """One pass.

    Attributes:
        record: as it was read last.
        found: what it found, once it has ended.
        started_s: monotonic; None before it runs.
        ended_s: monotonic; None before it ends.
        repairs_here: keys that this verifier repaired while it ran.
        units: as they were read last.
        mine: units that this verifier holds or held.
        theirs: what the others' units have found, by kind and number.
    """

    record: PassRecord
    found: Findings | None = None
    started_s: float | None = None
    ended_s: float | None = None
    repairs_here: int = 0
    units: Sequence[UnitRecord] = ()
    mine: dict[tuple[str, int], Unit] = field(default_factory=dict)
    theirs: dict[tuple[str, int], Findings] = field(default_factory=dict)
    _rows: deque[tuple[float, int]] = field(default_factory=deque)

    @property
    def id(self) -> str:
        """Unique forever."""
        return self.record.id

    @property
    def asked(self) -> bool:
        """Whether it was requested; such a pass is never given up for another."""
        return self.record.asked

    @property
    def who(self) -> str:
        """Who requested it."""
        return self.record.asked_by

    @property
    def state(self) -> str:
        """See `crossfade.contracts.passes.PassState`."""
        return self.record.state

    @property
    def why(self) -> str:
        """Why it ended without being done."""
        return self.record.why

    @property
    def repairs(self) -> int:
        """Keys repaired while it ran; such a pass is never clean."""
        return max(self.record.repairs, self.repairs_here)

    @property
    def clean(self) -> bool:
        """It is done, found every key verified, and nothing was repaired meanwhile."""
        return self.record.state == "done" and self.record.clean and not self.repairs

    def parts(self) -> list[Findings]:
        """Return what it has found, as it is: of a pass that has ended as one, of a running one by units."""
        if self.found is not None:
            return [self.found]
        return [*(each.findings for each in self.mine.values()), *self.theirs.values()]

    @property
    def verified(self) -> int:
        """Keys verified so far."""
        parts = self.parts()
        return sum(each.book.verified for each in parts) if parts else int(self.record.counts.get("verified", 0))

    @property
    def classes(self) -> dict[str, int]:
        """Keys called so far, by class."""
        parts = self.parts()
        if not parts:
            return dict(self.record.counts.get("classes", {}))
        counts: Counter[str] = Counter()
        for part in parts:
            counts.update({each.value: count for each, count in part.book.by_class.items()})
        return dict(counts)

    @property
    def read_units(self) -> float:
        """Read units so far."""
        parts = self.parts()
        return sum(each.read_units for each in parts) if parts else float(self.record.counts.get("read_units", 0.0))

    @property
    def findings(self) -> Findings | None:
        """What it has found; while it runs, so far and without digests and keys; None before it runs.

        So it costs the same however many keys were called. `parts` has the keys.
        """
        return self.found or self._merged(keys=False)

    def with_keys(self) -> Findings | None:
        """Return `findings` with the called keys, which are copied."""
        return self.found or self._merged(keys=True)

    def _merged(self, *, keys: bool) -> Findings | None:
        parts = self.parts()
        if not parts:
            return None
        whole = Findings(parts[0].limits, parts[0].rows)
        for each in parts:
            whole.add(each, whole=False)
            if keys:
                whole.add_keys(each)
        whole.stage = self._stage(parts)
        return whole

    def _stage(self, parts: Iterable[Findings]) -> Stage:
        found = {each.stage for each in parts}
        if self.state == "running" and any(not each.counter for each in self.units):
            found.add(Stage.SCANNING if not self.record.join_units else Stage.JOINING)
        return next(each for each in ORDER if each in found)

    def progress(self, now_s: float, expected: int) -> Progress | None:
        """Say how it goes.

        Args:
            now_s: monotonic.
            expected: rows of both tables; 0 when nobody knows.
        """
        found = self.findings
        if found is None:
            return None
        rows, rate = sum(found.scanned.values()), self._rate(now_s)
        heads: dict[tuple[str, int], Mapping[str, Any]] = {(each.kind, each.number): each.head for each in self.units}
        heads |= {place: unit.head() for place, unit in self.mine.items()}
        scanning = found.stage is Stage.SCANNING
        return Progress(
            stage=found.stage,
            scanned=found.scanned,
            following=_sum(heads, "following"),
            waiting_rows=_sum(heads, "waiting"),
            read_units=found.read_units,
            rows_per_s=rate,
            eta_s=(expected - rows) / rate if rate and scanning and expected > rows else None,
            percent=_percent(rows, expected) if scanning else 100.0,
            units=len(self.units),
            units_done=sum(each.state == "done" for each in self.units),
            pods=sorted({pod_of(each.holder) for each in self.units if each.holder and each.state == "open"}),
            trouble=next((str(each["trouble"]) for each in heads.values() if each.get("trouble")), ""),
        )

    def note(self, now_s: float) -> None:
        """Note how many rows were scanned by now, for the rate."""
        found = self.findings
        if found is not None:
            self._rows.append((now_s, sum(found.scanned.values())))
        while len(self._rows) > 2 and self._rows[0][0] < now_s - RATE_S:
            self._rows.popleft()

    def _rate(self, now_s: float) -> float | None:
        if not self._rows or now_s <= self._rows[0][0]:
            return None
        found = self.findings
        rows = sum(found.scanned.values()) if found is not None else 0
        return (rows - self._rows[0][1]) / (now_s - self._rows[0][0])


def pod_of(holder: str) -> str:
    """Return the pod of a holder of units."""
    return holder.rpartition("/")[0]


def _sum(heads: Mapping[Any, Mapping[str, Any]], name: str) -> int:
    return sum(int(each.get(name, 0)) for each in heads.values())


def _percent(rows: int, expected: int) -> float | None:
    return round(min(99.0, 100 * rows / expected), 1) if expected else None
