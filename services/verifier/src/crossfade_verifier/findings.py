"""What a pass, or a unit of one, has found: counts, digests, and a bounded choice of keys.

Findings of units add up to those of the pass. They are kept as bytes between lives of a verifier, so all that they
hold is bounded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice
from typing import Any, Final, NamedTuple, cast

import msgspec

from crossfade.core.parity.classes import FINAL, Difference, Pair, PassBook
from crossfade.core.protocol.row import Row
from crossfade.core.protocol.seam import RowReader
from crossfade.core.values.errors import PoisonRecord, UnknownDocument
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade_verifier.both import why_unmappable
from crossfade_verifier.reading.digests import BucketDigests, BucketSum, SideDigests
from crossfade_verifier.reading.judging import OwnRows, differing
from crossfade_verifier.reading.pages import row_digest
from crossfade_verifier.reading.rows import Seen

DROPPED_NAMES: Final = 100
"""Names of dropped attributes that are counted one by one."""

NEVER: Final = 0
"""A time that nobody told."""


class Stage(Enum):
    """What a pass is doing."""

    SCANNING = "scanning"
    JOINING = "joining"
    FOLLOWING = "following"
    DONE = "done"


class When(NamedTuple):
    """When a key was called.

    Attributes:
        first_us: by the first of the passes that called it one after the other, wall clock, µs since the epoch.
        last_us: by this one.
    """

    first_us: int
    last_us: int


class Limits(NamedTuple):
    """How much is kept.

    Attributes:
        buckets: how many the digests have.
        samples: keys of each class that are described.
        keys: keys of each class that are kept, for a repair of the class; also of the rows that don't belong.
    """

    buckets: int
    samples: int
    keys: int


def _unknown(_key: Key, _pair: Pair) -> str:
    return ""


def _never() -> int:
    return NEVER


@dataclass(slots=True)
class Findings:
    """What was found so far.

    Attributes:
        limits: how much is kept.
        rows: reads rows, as the flag document says.
        why_refused: says of a held-out key why the other table refuses it, as far as it can be told.
        wall_us: dates what is called, for people.
        stage: what is being done.
        scanned: rows read by the scans, the payments system's included.
        belonging: rows of the migration among them.
        book: verified keys and classes.
        proven: digests of the pairs that are equal byte by byte, over raw values; added to no other.
        digests: per side, over what is verified or called; keys still open count on neither side.
        left_out: keys that count on neither side.
        dropped: per side, attributes that the mapping doesn't carry, and in how many rows they were met.
        samples: some keys of each class, for humans.
        called_keys: more keys of each class, and when they were called.
        others: keys of rows in the target table that don't belong.
        handovers: keys that were in handover at the end, and since when, µs of the tables' clock.
        read_units: that the reads have cost.
    """

    limits: Limits
    rows: RowReader
    why_refused: Callable[[Key, Pair], str] = field(default=_unknown, repr=False)
    wall_us: Callable[[], int] = field(default=_never, repr=False)
    stage: Stage = Stage.SCANNING
    scanned: dict[Side, int] = field(default_factory=lambda: dict.fromkeys(Side, 0))
    belonging: dict[Side, int] = field(default_factory=lambda: dict.fromkeys(Side, 0))
    book: PassBook = field(default_factory=PassBook)
    proven: BucketDigests = field(init=False)
    digests: dict[Side, SideDigests] = field(init=False)
    left_out: int = 0
    dropped: dict[Side, Counter[str]] = field(default_factory=lambda: {side: Counter() for side in Side})
    samples: dict[Difference, list[dict[str, Any]]] = field(default_factory=dict)
    called_keys: dict[Difference, dict[Key, When]] = field(default_factory=dict)
    others: list[Key] = field(default_factory=list)
    handovers: dict[Key, int] = field(default_factory=dict)
    read_units: float = 0.0

    def __post_init__(self) -> None:
        self.proven = BucketDigests(self.limits.buckets)
        self.digests = {side: SideDigests(self.proven, self.limits.buckets) for side in Side}

    @property
    def not_ours(self) -> int:
        """Rows of the target table that don't belong to the migration: nothing else may ever be in it."""
        return self.scanned[Side.TARGET] - self.belonging[Side.TARGET]

    @property
    def keys(self) -> dict[Difference, list[Key]]:
        """Keys of each class that are kept."""
        return {found: list(keys) for found, keys in self.called_keys.items()}

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

    def verify_digest(self, key: Key, digest: int | None) -> None:
        """Count a pair that is equal, by the digest of its content; None for deleted rows."""
        self.book.verify()
        if digest is not None:
            for side in Side:
                self.digests[side].valued.count([(key, digest)])

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
        samples, keys = self.samples.setdefault(found, []), self.called_keys.setdefault(found, {})
        if len(samples) < self.limits.samples:
            cause = self._cause(key, found, pair)
            samples.append(sample(key, pair, self.rows) | ({"cause": cause} if cause else {}))
        if len(keys) < self.limits.keys:
            now_us = self.wall_us()
            keys[key] = When(now_us, now_us)

    def _cause(self, key: Key, found: Difference, pair: Pair) -> str:
        if found is Difference.HELD_OUT:
            return self.why_refused(key, pair)
        causes = {side: self.rows.why_unreadable(pair.of(side)) for side in Side}
        return "; ".join(f"{side.value}: {cause}" for side, cause in causes.items() if cause)

    def _count(self, key: Key, pair: Pair) -> None:
        try:
            source = digest_of(key, pair.source)
            target = source if pair.target is pair.source else digest_of(key, pair.target)
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
        self.others += [Key(key) for key in keys[: max(0, self.limits.keys - len(self.others))]]

    def drop(self, row: Seen | None) -> None:
        """Count what of a row the mapping doesn't carry."""
        if row is not None:
            self._drop(row.side, dict.fromkeys(row.dropped, 1))

    def _drop(self, side: Side, names: Mapping[str, int]) -> None:
        dropped = self.dropped[side]
        for name, rows in names.items():
            dropped[name if name in dropped or len(dropped) < DROPPED_NAMES else "others"] += rows

    def add(self, other: Findings, *, whole: bool = True) -> None:
        """Count what another unit of the pass has found; not `whole`: without digests, keys and handovers.

        A key is in one unit alone.
        """
        for side in Side:
            self.scanned[side] += other.scanned[side]
            self.belonging[side] += other.belonging[side]
            self._drop(side, other.dropped[side])
        if whole:
            self.add_keys(other)
            self.handovers |= _first(other.handovers, self.limits.keys - len(self.handovers))
            self.proven.add(other.proven.sums())
            for side in Side:
                self.digests[side].valued.add(other.digests[side].valued.sums())
        self.book.verified += other.book.verified
        for found, count in other.book.by_class.items():
            self.book.by_class[found] = self.book.by_class.get(found, 0) + count
        self.left_out += other.left_out
        self.read_units += other.read_units
        for found, samples in other.samples.items():
            mine = self.samples.setdefault(found, [])
            mine += samples[: max(0, self.limits.samples - len(mine))]
        self.others += other.others[: max(0, self.limits.keys - len(self.others))]

    def add_keys(self, other: Findings) -> None:
        """Take over which keys another unit has called."""
        for found, keys in other.called_keys.items():
            known = self.called_keys.setdefault(found, {})
            known |= _first(keys, self.limits.keys - len(known))

    def tell(self, head: Mapping[str, Any]) -> None:
        """Count what a unit's head says, where nothing was called.

        Args:
            head: `crossfade_verifier.units.Unit.head`.
        """
        for side in Side:
            self.scanned[side] = head.get("scanned", {}).get(side.value, 0)
            self.belonging[side] = self.scanned[side]
        self.book.verified, self.read_units = head.get("verified", 0), head.get("read_units", 0.0)
        self.stage = Stage(head.get("stage", Stage.SCANNING.value))

    def since(self, before: Findings) -> None:
        """Date what a pass before called already, in the same class, from then."""
        for found, keys in self.called_keys.items():
            known = before.called_keys.get(found, {})
            for key, when in keys.items():
                if key in known:
                    keys[key] = When(known[key].first_us or when.first_us, when.last_us)

    def encode(self) -> bytes:
        """Return all that was found, for `of_bytes`."""
        return _encode(
            _Kept(
                buckets=self.limits.buckets,
                stage=self.stage.value,
                scanned=_named(self.scanned),
                belonging=_named(self.belonging),
                verified=self.book.verified,
                by_class={found.value: count for found, count in self.book.by_class.items()},
                proven=self.proven.sums(),
                valued={side.value: self.digests[side].valued.sums() for side in Side},
                left_out=self.left_out,
                dropped={side.value: dict(self.dropped[side]) for side in Side},
                samples={found.value: samples for found, samples in self.samples.items()},
                called={
                    found.value: {bytes(key): when for key, when in keys.items()}
                    for found, keys in self.called_keys.items()
                },
                others=list(self.others),
                handovers={bytes(key): since_us for key, since_us in self.handovers.items()},
                read_units=self.read_units,
            )
        )

    def take(self, kept: bytes) -> None:
        """Add what `encode` returned.

        Raises:
            UnknownDocument: it is none, or has other buckets.
        """
        try:
            found = _decode(kept)
        except msgspec.MsgspecError as error:
            raise UnknownDocument(f"not the findings of a pass: {error}") from error
        if found.buckets != self.limits.buckets:
            raise UnknownDocument(f"findings of {found.buckets} buckets can't be added to {self.limits.buckets}")
        other = Findings(self.limits, self.rows)
        other.scanned = {side: found.scanned.get(side.value, 0) for side in Side}
        other.belonging = {side: found.belonging.get(side.value, 0) for side in Side}
        other.book.verified = found.verified
        other.book.by_class = {Difference(name): count for name, count in found.by_class.items()}
        other.proven.add(found.proven)
        for side in Side:
            other.digests[side].valued.add(found.valued.get(side.value, ()))
            other.dropped[side] = Counter(found.dropped.get(side.value, {}))
        other.left_out, other.read_units = found.left_out, found.read_units
        other.samples = {Difference(name): list(samples) for name, samples in found.samples.items()}
        other.called_keys = {
            Difference(name): {Key(key): When(*when) for key, when in keys.items()}
            for name, keys in found.called.items()
        }
        other.others = [Key(key) for key in found.others]
        other.handovers = {Key(key): since_us for key, since_us in found.handovers.items()}
        self.add(other)
        self.stage = Stage(found.stage)


class _Kept(msgspec.Struct, kw_only=True):
    """`Findings` as bytes: fields are added with defaults, as two builds run side by side in a rolling update."""

    buckets: int
    stage: str = Stage.DONE.value
    scanned: dict[str, int] = {}
    belonging: dict[str, int] = {}
    verified: int = 0
    by_class: dict[str, int] = {}
    proven: list[BucketSum] = []
    valued: dict[str, list[BucketSum]] = {}
    left_out: int = 0
    dropped: dict[str, dict[str, int]] = {}
    samples: dict[str, list[dict[str, Any]]] = {}
    called: dict[str, dict[bytes, tuple[int, int]]] = {}
    others: Sequence[bytes] = ()
    handovers: dict[bytes, int] = {}
    read_units: float = 0.0


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Kept).decode


def _named(counts: Mapping[Side, int]) -> dict[str, int]:
    return {side.value: count for side, count in counts.items()}


def _first(keys: dict[Key, Any], count: int) -> dict[Key, Any]:
    return keys if len(keys) <= count else dict(islice(keys.items(), max(0, count)))


def merged(units: Iterable[bytes], limits: Limits, rows: RowReader) -> Findings:
    """Return what all units of a pass have found together.

    Args:
        units: each as `Findings.encode` returned it.
        limits: how much is kept.
        rows: reads rows.

    Raises:
        UnknownDocument: one of them is none.
    """
    whole = Findings(limits, rows)
    for each in units:
        whole.take(each)
    return whole


def digest_of(key: Key, row: Row | None) -> int | None:
    """Return the digest of a row's content; None for a row that is absent or deleted.

    Raises:
        PoisonRecord: a value is no attribute value.
    """
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
    if source is not None and target is not None:
        seen = cast("Seen", source), cast("Seen", target)
        if cast("OwnRows", rows).are_comparable(*seen):
            shown["differs"] = differing(*seen)
    return shown


def _described(item: Row, rows: RowReader) -> dict[str, Any]:
    return {
        "version": None if item.version is None else str(item.version),
        **rows.described(item),
        "deleted": item.deleted,
        **({"unmappable": reason} if (reason := why_unmappable(item)) else {}),
    }
