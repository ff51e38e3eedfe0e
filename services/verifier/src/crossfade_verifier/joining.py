"""Rows of two scans, matched by key in memory: which pairs are proven, which must be judged, which rows still wait.

Scans of two tables with the same partition keys come in nearly the same order, so hardly a row waits. Nothing depends
on that: a row whose partner should have come is a suspect, which is read by key within a budget; and what would wait
beyond the bound is spilled (`Spilled`), to be matched when all has been scanned. No I/O here, no clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
import xxhash

from crossfade.core.values.errors import PoisonRecord, UnknownDocument
from crossfade.core.values.shape import Side
from crossfade_verifier.reading.judging import OwnRows
from crossfade_verifier.reading.pages import AnyPair, Compared, Page, Reading, row_digest
from crossfade_verifier.reading.plain import PlainRows
from crossfade_verifier.reading.rows import Seen
from crossfade_verifier.reading.typed import AnyRow, kept

BYTES_A_ROW: Final = 600
"""What a waiting row takes in memory beyond its values, about: type, key, places in two tables."""

_POINT_SEED: Final = 3
_point = xxhash.xxh3_64_intdigest


class _Waiting(NamedTuple):
    row: AnyRow
    page: int
    size: int


class Suspect(NamedTuple):
    """A row that has waited too long for its partner.

    Attributes:
        key: encoded.
        side: its table.
        row: as `Reading.page` gave it.
    """

    key: bytes
    side: Side
    row: AnyRow


class Join:
    """Matches the rows of one scan unit.

    Each row that was taken is afterwards in exactly one place: in a pair that `take` or `resolve` returned, waiting,
    or spilled. A key that was resolved by reading is remembered: its partner may still come, and is passed over.

    Attributes:
        scanned_to_end: by side, whether all its rows were taken.
        resolved: keys that were settled by reading, and so count no more.
    """

    def __init__(self, reading: Reading, rows: OwnRows, resolved: Iterable[bytes] = ()) -> None:
        """Begin.

        Args:
            reading: of both tables.
            rows: what an absent role means.
            resolved: see there; as an earlier life has left them.
        """
        self._reading, self._rows = reading, rows
        self._waiting: dict[Side, dict[bytes, _Waiting]] = {side: {} for side in Side}
        self._fresh: dict[Side, dict[bytes, AnyRow]] = {side: {} for side in Side}  # of the last page: not yet copied
        self._page = dict.fromkeys(Side, 0)
        self._matched = dict.fromkeys(Side, 0)
        self.bytes = 0
        self.scanned_to_end = dict.fromkeys(Side, False)
        self.resolved = set(resolved)

    def __len__(self) -> int:
        return sum(len(self._waiting[side]) + len(self._fresh[side]) for side in Side)

    def ahead(self, side: Side) -> int:
        """Return how many rows of a side wait that are no suspects: so far it is ahead of the other side."""
        least, count = self._matched[side], len(self._fresh[side])
        for each in reversed(self._waiting[side].values()):
            if each.page < least:
                break
            count += 1
        return count

    def waiting(self, side: Side) -> list[bytes]:
        """Return the keys of the rows of a side that wait."""
        return [*self._waiting[side], *self._fresh[side]]

    def put_back(self, side: Side, rows: Mapping[bytes, AnyRow]) -> None:
        """Let rows wait that did in an earlier life; their partners should have come."""
        self._keep(side, rows, page=0)

    def take(self, side: Side, page: Page) -> Compared:
        """Take the next page of a side; return what became of its rows that have their partners now."""
        self._keep(side, self._fresh[side], self._page[side])
        self._page[side] += 1
        self.scanned_to_end[side] = page.next is None
        fresh, older, resolved = self._fresh[side.other], self._waiting[side.other], self.resolved
        if not fresh and not older and not resolved:
            self._fresh[side] = dict(page.rows)
            return Compared([], [])
        mine: dict[bytes, AnyRow] = {}
        pairs: list[AnyPair] = []
        last, count, from_source = self._matched[side.other], len(fresh), side is Side.SOURCE
        for key, row in page.rows:
            other = fresh.pop(key, None)
            if other is None:
                waited = older.pop(key, None)
                if waited is None:
                    if key in resolved:
                        resolved.discard(key)
                    else:
                        mine[key] = row
                    continue
                other, last = waited.row, max(last, waited.page)
                self.bytes -= waited.size
            pairs.append((key, row, other) if from_source else (key, other, row))
        self._fresh[side] = mine
        if pairs:
            self._matched[side] = self._page[side]
            self._matched[side.other] = self._page[side.other] if len(fresh) < count else last
        return self._reading.compare(pairs, self._rows)

    def _keep(self, side: Side, rows: Mapping[bytes, AnyRow], page: int) -> None:
        """Copy rows that still wait off their page, which they would hold in memory."""
        for key, row in rows.items():
            copied, size = kept(row)
            self._waiting[side][key] = _Waiting(copied, page, size + BYTES_A_ROW)
            self.bytes += size + BYTES_A_ROW

    def _keep_all(self) -> None:
        for side in Side:
            self._keep(side, self._fresh[side], self._page[side])
            self._fresh[side] = {}

    def suspects(self, most: int) -> list[Suspect]:
        """Return rows whose partner should have come: rows of a later page of theirs were matched, or the other side
        has ended. They wait until they are `resolve`d, or `spill`ed.

        Args:
            most: how many.
        """
        if any(self.scanned_to_end.values()):
            self._keep_all()
        found: list[Suspect] = []
        for side in Side:
            before = self._page[side] + 1 if self.scanned_to_end[side.other] else self._matched[side]
            for key, each in self._waiting[side].items():  # in the order in which they came
                if each.page >= before or len(found) >= most:
                    break
                found.append(Suspect(key, side, each.row))
        return found

    def resolve(self, suspects: Sequence[Suspect], there: dict[Side, dict[bytes, AnyRow]]) -> Compared:
        """Take in what a read found of suspects; those whose partner has come meanwhile are passed over.

        Args:
            suspects: that were read.
            there: by side that was read, its rows by key.
        """
        pairs: list[AnyPair] = []
        for key, side, _ in suspects:
            found = self._waiting[side].pop(key, None)
            if found is None:
                continue
            self.bytes -= found.size
            other = there[side.other].get(key)
            pairs.append((key, found.row, other) if side is Side.SOURCE else (key, other, found.row))
            if not self.scanned_to_end[side.other]:
                self.resolved.add(key)
        return self._reading.compare(pairs, self._rows)

    def oldest(self, count: int) -> list[Suspect]:
        """Return the rows of either side that have waited longest, to be spilled."""
        self._keep_all()
        share = {side: count * len(self._waiting[side]) // max(1, len(self)) for side in Side}
        share[Side.SOURCE] += count - sum(share.values())
        return [
            Suspect(key, side, each.row)
            for side in Side
            for key, each in list(self._waiting[side].items())[: share[side]]
        ]

    def remove(self, spilled: Iterable[Suspect]) -> None:
        """Forget rows that were spilled."""
        for key, side, _ in spilled:
            found = self._waiting[side].pop(key, None)
            if found is not None:
                self.bytes -= found.size


class Spilled(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A row as it is kept outside of memory: enough to say whether it equals its partner.

    Implements `crossfade.core.protocol.row.Row`, for `SpilledRows`.

    Attributes:
        key: encoded.
        side: its table.
        version: `cf_mv`; None when there is none.
        role: `cf_role`.
        generation: `cf_gen`.
        deleted: whether it is a tombstone or a stub.
        state: digest of all that owner and standby have in common (`OwnRows.digest_of`).
        content: digest of the content, as digests of buckets count it; None where there is none.
    """

    key: bytes
    side: str
    version: int | None
    role: str
    generation: int
    deleted: bool
    state: bytes
    content: bytes | None

    @property
    def digest(self) -> int | None:
        """The content's digest as a number."""
        return None if self.content is None else int.from_bytes(self.content, "big")


class SpilledRows(OwnRows):
    """Answers about rows, for spilled ones."""

    def is_same_state(self, one: Spilled, other: Spilled) -> bool:  # type: ignore[override]
        """By digests of 128 bits, as `OwnRows.is_same_state` by values."""
        return one.state == other.state


class SpilledPlainRows(PlainRows):
    """The same, where one table owns all of them."""

    def is_same_state(self, one: Spilled, other: Spilled) -> bool:  # type: ignore[override]
        """As `SpilledRows`."""
        return one.state == other.state


def spilled_rows(rows: OwnRows | PlainRows) -> SpilledRows | SpilledPlainRows:
    """Return what answers about spilled rows as `rows` answers about whole ones."""
    return SpilledPlainRows(rows.owner) if isinstance(rows, PlainRows) else SpilledRows(rows.complete)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Spilled]).decode


def spilled(key: bytes, row: Seen, rows: OwnRows) -> Spilled:
    """Return a row as it is spilled."""
    try:
        content = None if row.deleted else row_digest(key, row).to_bytes(16, "big")
    except PoisonRecord:
        content = None  # nor does its state equal any other
    state = rows.digest_of(row)
    return Spilled(key, row.side.value, row.version, row.role, row.generation, row.deleted, state, content)


def partition_of(key: bytes, partitions: int) -> int:
    """Return the number of the partition that a key is spilled to."""
    found: int = _point(key, _POINT_SEED) % partitions
    return found


def encode_spilled(rows: Sequence[Spilled]) -> bytes:
    """Return rows as a blob."""
    return _encode(rows)


def decode_spilled(blob: bytes) -> list[Spilled]:
    """Read a blob.

    Raises:
        UnknownDocument: it is none.
    """
    try:
        return _decode(blob)
    except msgspec.MsgspecError as error:
        raise UnknownDocument(f"not spilled rows: {error}") from error
