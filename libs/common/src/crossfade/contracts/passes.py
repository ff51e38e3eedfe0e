"""What the verifiers of a migration leave for one another about a pass: its record, and the units it is made of.

A pass is a fixed list of units: `scan` units 0 to `scan_units` - 1, and `join` units 0 to `join_units` - 1, which match
rows that had to be spilled. Any verifier takes a unit by a lease, saves a checkpoint every few seconds, and ends it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final, Literal, TypeAlias

from crossfade.contracts.document import Document

PassState: TypeAlias = Literal["waiting", "running", "done", "failed", "cancelled", "given up"]
UnitKind: TypeAlias = Literal["scan", "join"]

RUNS: Final[frozenset[PassState]] = frozenset({"waiting", "running"})
"""States of the one pass that has not ended."""

HISTORY: Final = 100
"""Passes whose records are kept."""


class PassRecord(Document, frozen=True):
    """One pass.

    Attributes:
        id: of `pass_id`; ids sort by the time of creation.
        revision: counts the changes of this record.
        tables: names of source table and target table.
        state: "waiting" and "running", then one of "done", "failed", "cancelled" and "given up".
        asked: whether it was requested.
        asked_by: who requested it.
        stage: what it is doing, for people.
        scan_units: number of scan units: segments into which each table is cut.
        join_units: number of join units; 0 while nothing was spilled.
        created_us, began_us, ended_us: wall clock, µs, for people; 0 before that.
        journal_from: number of the journal's last entry when the pass began.
        clean: whether it is done and found no difference.
        repairs: number of keys that were repaired while it ran, in which case it doesn't count as clean.
        why: why it failed, was cancelled or was given up.
        expected_rows: estimated number of rows by side, before it began.
        expected_read_units: estimated read units, before it began.
        counts: its outcome in numbers, for the list of passes: verified, read units, keys by class.
        forgotten: whether units and blobs were removed, after it ended.
        buckets: number of buckets of its digests.
        next_id: the pass that was requested while this one ran, which was requested, too; it begins when this one ends.
        next_by: who requested that.
        turn: which of the map's intervals it began in, from 1, where one table owns all rows; 0 where rows tell.
        outdated: of a clean pass: what was called since, so that it says nothing of the tables any more; empty while it
            does.
    """

    NAME: ClassVar[str] = "pass"

    id: str
    tables: tuple[str, str]
    scan_units: int
    created_us: int
    revision: int = 0
    state: PassState = "waiting"
    asked: bool = False
    asked_by: str = ""
    stage: str = ""
    join_units: int = 0
    began_us: int = 0
    ended_us: int = 0
    journal_from: int = 0
    clean: bool = False
    repairs: int = 0
    why: str = ""
    expected_rows: Mapping[str, int] = {}
    expected_read_units: float = 0.0
    counts: Mapping[str, Any] = {}
    forgotten: bool = False
    buckets: int = 256
    next_id: str = ""
    next_by: str = ""
    outdated: str = ""
    turn: int = 0

    @property
    def ended(self) -> bool:
        """Whether nothing more of it will be done."""
        return self.state not in RUNS


class UnitRecord(Document, frozen=True):
    """One unit of a pass, and what its last holder said of it.

    Attributes:
        pass_id: of its pass.
        kind: "scan" or "join".
        number: from 0, within its kind.
        state: "open" until its holder has ended it, then "done".
        holder: who works at it; empty when nobody does.
        counter: rises with each holder; 0 before the first.
        beat: rises with each sign of life; a watcher may take over when it has stood still for a whole lease time.
        saved_us: wall clock of the last checkpoint, µs, for people; 0 before the first.
        head: progress, small and for everyone: rows scanned by side, read units, keys followed, suspects, stage.
    """

    NAME: ClassVar[str] = "pass unit"

    pass_id: str
    kind: UnitKind
    number: int
    state: Literal["open", "done"] = "open"
    holder: str = ""
    counter: int = 0
    beat: int = 0
    saved_us: int = 0
    head: Mapping[str, Any] = {}


def pass_id(created_us: int, pod: str) -> str:
    """Return a new id: 16 digits of time, so that text order is time order, and the pod that made it."""
    return f"{created_us:016d}-{pod}"


def fresh_units(record: PassRecord) -> list[UnitRecord]:
    """Return all units of a pass as they are before anybody has taken one: scan units first, in order."""
    kinds: tuple[tuple[UnitKind, int], ...] = (("scan", record.scan_units), ("join", record.join_units))
    return [UnitRecord(pass_id=record.id, kind=kind, number=number) for kind, count in kinds for number in range(count)]


def surplus(records: Iterable[PassRecord], *, keep: int = HISTORY) -> list[PassRecord]:
    """Return the records that need not be kept any more.

    Args:
        records: newest first.
        keep: number of records that are kept. Beyond them, the last done one and the last clean one stay.
    """
    found, done, clean = [], False, False
    for number, each in enumerate(records):
        needed = (each.state == "done" and not done) or (each.clean and not clean) or not each.ended
        done, clean = done or each.state == "done", clean or each.clean
        if number >= keep and not needed:
            found.append(each)
    return found
