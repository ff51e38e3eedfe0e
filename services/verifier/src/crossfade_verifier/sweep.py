"""One pass over both tables: scan one side and compare, then the other side for extras; what is left is followed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, cast

from crossfade.core.parity.classes import FINAL, Difference, Pair, PassBook, agrees
from crossfade.core.protocol.row import Row
from crossfade.core.protocol.seam import RowReader
from crossfade.core.values.errors import CrossfadeError, PoisonRecord
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade.runtime.pace import Pace
from crossfade_verifier.both import BothTables, why_unmappable
from crossfade_verifier.followlist import FollowList
from crossfade_verifier.reading.digests import BucketDigests, SideDigests
from crossfade_verifier.reading.judging import OwnRows, differing
from crossfade_verifier.reading.pages import Page, row_digest
from crossfade_verifier.reading.rows import Seen

DROPPED_NAMES: Final = 100
"""Names of dropped attributes that are counted one by one."""


class Stage(Enum):
    """What a pass is doing."""

    SOURCE = "scanning source"
    TARGET = "scanning target"
    FOLLOWING = "following"
    DONE = "done"


def _unknown(_key: Key, _pair: Pair) -> str:
    return ""


@dataclass(slots=True)
class Findings:
    """What a pass has found so far.

    Attributes:
        buckets: how many the digests have.
        samples_wanted: keys of each class that are described.
        keys_wanted: keys of each class that are kept, for a repair of the class.
        rows: reads rows, as the flag document says.
        why_refused: says of a held-out key why the other table refuses it, as far as it can be told.
        stage: what it is doing.
        scanned: rows read by the scans, the payments system's included.
        belonging: rows of the migration among them.
        book: verified keys and classes.
        proven: digests of the pairs that are equal byte by byte, over raw values; added to no other.
        digests: per side, over what is verified or called; keys still open count on neither side.
        left_out: keys that count on neither side.
        dropped: per side, attributes that the mapping doesn't carry, and in how many rows they were met.
        samples: some keys of each class, for humans.
        keys: more keys of each class.
        others: keys of rows in the target table that don't belong.
    """

    buckets: int
    samples_wanted: int
    keys_wanted: int
    rows: RowReader
    why_refused: Callable[[Key, Pair], str] = field(default=_unknown, repr=False)
    stage: Stage = Stage.SOURCE
    scanned: dict[Side, int] = field(default_factory=lambda: dict.fromkeys(Side, 0))
    belonging: dict[Side, int] = field(default_factory=lambda: dict.fromkeys(Side, 0))
    book: PassBook = field(default_factory=PassBook)
    proven: BucketDigests = field(init=False)
    digests: dict[Side, SideDigests] = field(init=False)
    left_out: int = 0
    dropped: dict[Side, Counter[str]] = field(default_factory=lambda: {side: Counter() for side in Side})
    samples: dict[Difference, list[dict[str, Any]]] = field(default_factory=dict)
    keys: dict[Difference, list[Key]] = field(default_factory=dict)
    others: list[Key] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.proven = BucketDigests(self.buckets)
        self.digests = {side: SideDigests(self.proven, self.buckets) for side in Side}

    @property
    def not_ours(self) -> int:
        """RowReader of the target table that don't belong to the migration: nothing else may ever be in it."""
        return self.scanned[Side.TARGET] - self.belonging[Side.TARGET]

    @property
    def drift(self) -> dict[Difference, int]:
        """Keys called so far, by class; more may come while the pass runs, and none goes."""
        return {each: count for each, count in self.book.by_class.items() if each in FINAL and count}

    @property
    def differing(self) -> list[int]:
        """Numbers of the buckets in which the sides differ."""
        return self.digests[Side.SOURCE].differing(self.digests[Side.TARGET])

    @property
    def clean(self) -> bool:
        """Every key is verified, no bucket differs, and all rows of the target table belong there."""
        return self.book.clean and not self.not_ours and not self.differing

    def verify(self, key: Key, pair: Pair) -> None:
        """Count a pair that is equal."""
        self.book.verify()
        row = pair.source or pair.target
        self._count(key, Pair(row, row))  # one digest for both: making it costs most

    def called(self, key: Key, found: Difference, pair: Pair, *, verified_by: Row | None) -> None:
        """Count a key that was followed; see `crossfade_verifier.followlist.Outcome`."""
        if found is Difference.EQUAL:
            self.verify(key, pair if verified_by is None else Pair(verified_by, verified_by))
            return
        self.book.call(found)
        if found in FINAL:
            self._count(key, pair)
        else:
            self.left_out += 1
        samples, keys = self.samples.setdefault(found, []), self.keys.setdefault(found, [])
        if len(samples) < self.samples_wanted:
            cause = self._cause(key, found, pair)
            samples.append(sample(key, pair, self.rows) | ({"cause": cause} if cause else {}))
        if len(keys) < self.keys_wanted:
            keys.append(key)

    def _cause(self, key: Key, found: Difference, pair: Pair) -> str:
        if found is Difference.HELD_OUT:
            return self.why_refused(key, pair)
        causes = {side: self.rows.why_unreadable(pair.of(side)) for side in Side}
        return "; ".join(f"{side.value}: {cause}" for side, cause in causes.items() if cause)

    def _count(self, key: Key, pair: Pair) -> None:
        try:
            source = _digest_of(key, pair.source)
            target = source if pair.target is pair.source else _digest_of(key, pair.target)
        except PoisonRecord:
            self.left_out += 1  # unreadable content has no digest
            return
        for side, digest in ((Side.SOURCE, source), (Side.TARGET, target)):
            if digest is not None:
                self.digests[side].valued.count([(key, digest)])

    def prove(self, proven: Sequence[tuple[bytes, int]], constants: Mapping[Side, Sequence[str]]) -> None:
        """Count pairs of keys with their digests that are equal byte by byte; all have the constants of their sides."""
        self.book.verified += len(proven)
        self.proven.count(proven)
        for side, names in constants.items():
            for name in names:
                self.dropped[side][name] += len(proven)

    def meet_others(self, keys: Sequence[bytes]) -> None:
        """Keep keys of rows in the target table that don't belong."""
        self.others += [Key(key) for key in keys[: self.keys_wanted - len(self.others)]]

    def drop(self, row: Seen | None) -> None:
        """Count what of a row the mapping doesn't carry."""
        if row is None:
            return
        dropped = self.dropped[row.side]
        for name in row.dropped:
            dropped[name if name in dropped or len(dropped) < DROPPED_NAMES else "others"] += 1


def _digest_of(key: Key, row: Row | None) -> int | None:
    return None if row is None or row.deleted else row_digest(key, cast("Seen", row))


def sample(key: Key, pair: Pair, rows: RowReader) -> dict[str, Any]:
    """Describe a pair for humans; versions are text, since JSON readers round 64-bit numbers."""
    shown: dict[str, Any] = {"key": key.decode()}
    owner = rows.owner_of(*pair)
    shown["owner"] = owner.value if owner else None
    for side in Side:
        item = pair.of(side)
        shown[side.value] = None if item is None else _described(item, rows)
    source, target = pair
    if source is not None and target is not None and source.version == target.version:
        shown["differs"] = differing(cast("Seen", source), cast("Seen", target))
    return shown


def _described(item: Row, rows: RowReader) -> dict[str, Any]:
    return {
        "version": None if item.version is None else str(item.version),
        **rows.described(item),
        "deleted": item.deleted,
        **({"unmappable": reason} if (reason := why_unmappable(item)) else {}),
    }


class Sweep:
    """One pass."""

    def __init__(
        self,
        both: BothTables,
        findings: Findings,
        followed: FollowList,
        pace: Pace,
        *,
        segments: int,
        page: int,
        rows: RowReader,
    ) -> None:
        """Prepare a pass.

        Args:
            both: both tables.
            findings: where it counts.
            followed: its follow list, which tells `findings` of each key.
            pace: of all reads.
            segments: scanned in parallel.
            page: items of one scan page.
            rows: reads them, as the flag document says.
        """
        self._both, self._findings, self._followed, self._pace = both, findings, followed, pace
        self._segments, self._page, self._rows = segments, page, rows

    async def run(self) -> None:
        """Make the pass.

        Raises:
            CrossfadeError: a table can't be read.
        """
        scanned = asyncio.Event()
        await _all_or_first((self._scan_both(scanned), self._followed.settle(scanned)))
        self._findings.stage = Stage.DONE

    async def _scan_both(self, scanned: asyncio.Event) -> None:
        for side, stage in ((Side.SOURCE, Stage.SOURCE), (Side.TARGET, Stage.TARGET)):
            self._findings.stage = stage
            await _all_or_first(self._scan(side, segment) for segment in range(self._segments))
        self._findings.stage = Stage.FOLLOWING
        scanned.set()

    async def _scan(self, side: Side, segment: int) -> None:
        start: bytes | None = None
        while True:
            await self._followed.room()
            await self._pace.take(self._page)
            answer = await self._both.table(side).scan_answer(
                segment=segment, segments=self._segments, start=start, limit=self._page
            )
            reading = self._both.reading
            page = (reading.page if side is Side.SOURCE else reading.keys)(side, answer)
            self._findings.scanned[side] += page.scanned
            self._findings.belonging[side] += len(page.rows)
            if side is Side.TARGET:
                self._findings.meet_others(page.others)
            if page.rows:
                await self._pace.take(len(page.rows))
                await (self._compare(page) if side is Side.SOURCE else self._look_for_extras(page, answer))
            if page.next is None:
                return
            start = page.next

    async def _compare(self, page: Page) -> None:
        reading = self._both.reading
        answers = await self._both.table(Side.TARGET).read_answers(page.asks)
        compared = reading.compare(page, answers, OwnRows(self._rows.owns(None, Side.TARGET)))
        self._findings.prove(compared.proven, {side: reading.constants(side) for side in Side})
        self._followed.passed_all(Key(key) for key, _ in compared.proven)
        for key, source, target in compared.left:
            for row in (source, target):
                self._findings.drop(row)
            self._judge(Key(key), Pair(source, target))

    async def _look_for_extras(self, page: Page, answer: bytes) -> None:
        """A row whose counterpart is there was compared by the first scan."""
        reading = self._both.reading
        there = reading.known(Side.SOURCE, await self._both.table(Side.SOURCE).read_answers(page.asks))
        for key, place in page.rows:
            if key not in there:
                self._judge(Key(key), Pair(None, reading.seen_at(Side.TARGET, answer, place)))

    def _judge(self, key: Key, pair: Pair) -> None:
        if agrees(pair, self._rows):
            self._findings.verify(key, pair)
            self._followed.passed(key)
        else:
            self._followed.add(key, Pair(*(None if row is None else cast("Seen", row).kept() for row in pair)))


async def _all_or_first(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do it in parallel; of several errors, raise one, which says as much as all."""
    try:
        async with asyncio.TaskGroup() as group:
            for each in work:
                group.create_task(each)
    except ExceptionGroup as errors:  # not `except*`: Python before 3.11.4 wraps what is raised in it once more
        ours, others = errors.split(CrossfadeError)
        if ours is None or others is not None:
            raise
        raise _one_of(ours) from errors


def _one_of(errors: ExceptionGroup[CrossfadeError]) -> CrossfadeError:
    first = errors.exceptions[0]
    return _one_of(first) if isinstance(first, ExceptionGroup) else first
