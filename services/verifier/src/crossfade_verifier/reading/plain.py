"""Rows of a migration whose writers nobody changed: one table owns all of them, and the other has copies (ADR 0046).

Nothing of Crossfade's stands on an owner's row. A copy has the fence (`cf_mv`: commit time of the owner's write in µs,
times 1,000, and three digits of Crossfade's own), or none where it was imported. A row with `cf_deleted` and no content
is nothing. Any other attribute whose name begins with `cf_` is no content: an application may have put back a row that
it read while the table was the standby, or an earlier migration has left it.

Which table owns, no row tells. So a row is read alike on both sides, and only `PlainRows` asks who owns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import xxhash
from msgspec import Raw

from crossfade.core.values.declared import Attributes, Declared
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.shape import Side
from crossfade_verifier.reading.pages import Page, Proof, Reading
from crossfade_verifier.reading.rows import DELETED, PREFIX, VERSION, Seen, content_form, same_content, whole
from crossfade_verifier.reading.states import State, StateReading, spelled
from crossfade_verifier.reading.typed import NOTHING, AnyRow, Marks, decode_key, image_of
from crossfade_verifier.reading.values import value_of

ATTRIBUTES: Final = frozenset({VERSION, DELETED})
"""What the reading knows of the protocol's."""

OWN_DIGITS: Final = 1000
"""A fence is a commit time in µs times so much."""

_digest = xxhash.xxh3_128_digest
_encode = msgspec.json.encode
_NOTHING: Final = b"\x00" * 16


class Ways(NamedTuple):
    """Between the keys of a mapping that changes them. Rows of both tables go by their keys in the source table.

    Attributes:
        to_source: the source's key of a row of the target, by its key there and its attributes; raises a PoisonRecord
            where there is none.
        to_target: the target's key of a key of the source; likewise.
        owns: whether a key of the target is this migration's, and not another one's into the same table.
        kept: attributes of the target that keep the source's key.
    """

    to_source: Callable[[bytes, Attributes], bytes]
    to_target: Callable[[bytes], bytes]
    owns: Callable[[bytes], bool]
    kept: tuple[str, ...] = ()


class PlainReading(Reading):
    """The verifier's own reading of both tables, under the plain protocol."""

    marks = Marks(raw={"deleted": DELETED}, numbers={"version": VERSION})

    def __init__(self, declared: Declared, ways: Ways | None = None) -> None:
        """Take what is declared.

        Args:
            declared: of both tables.
            ways: between keys, where they change; None where they are the same on both sides.
        """
        self.ways = ways
        super().__init__(declared)

    def row(self, side: Side, image: Attributes) -> Seen:
        """Read a row; one whose fence or mark can't be read says so, and has its content."""
        version, marked, unreadable = None, False, ""
        try:
            version = whole(image[VERSION], VERSION) if VERSION in image else None
            marked = DELETED in image and _is_true(image[DELETED])
        except PoisonRecord as error:
            unreadable = str(error)
        keys = self.declared.keys[side]
        if marked and all(name in keys or name.startswith(PREFIX) for name in image):
            return Seen(side, image, version, deleted=True, unreadable=unreadable)
        content, trouble, dropped = self._content(side, image)
        content.sort()
        return Seen(
            side,
            image,
            version,
            content=tuple(content),
            trouble=trouble,
            dropped=tuple(dropped),
            unreadable=unreadable,
        )

    def keyed(self, side: Side, image: Attributes) -> tuple[bytes, bool]:
        """Return the encoded key of a row in the source table, and whether it belongs to the migration.

        Raises:
            PoisonRecord: it has none.
        """
        parts = self._sides[side].key_of(image)
        key = _encode(parts)
        if self.ways is None or side is Side.SOURCE:
            return key, self._belongs(parts, key)
        key = self.ways.to_source(key, image)
        return key, self._belongs(decode_key(key), key)

    def _paged(self, side: Side, found: Any, items: Sequence[AnyRow]) -> Page:
        if self.ways is None or side is Side.SOURCE:
            return super()._paged(side, found, items)
        key_of, owns = self._sides[side].key_of, self.ways.owns
        mine, others, elsewhere = [], [], 0
        for item in items:
            there = _encode(key_of(item))
            if not owns(there):
                elsewhere += 1
                continue
            try:
                key, is_ours = self.keyed(side, image_of(item))
            except PoisonRecord:  # it has no way back
                key, is_ours = there, False
            if is_ours:
                mine.append((key, item))
            else:
                others.append(key)
        whole = super()._paged(side, found, ())
        return whole._replace(rows=mine, others=others, scanned=whole.scanned - elsewhere)

    def batch(self, side: Side, answers: Sequence[bytes]) -> dict[bytes, AnyRow]:
        """See `Reading.batch`."""
        found = super().batch(side, answers)
        if self.ways is None or side is Side.SOURCE:
            return found
        rows: dict[bytes, AnyRow] = {}
        for there, row in found.items():
            try:
                rows[self.ways.to_source(there, image_of(row))] = row
            except PoisonRecord:
                continue  # it is nobody's that was asked for
        return rows

    def asks(self, side: Side, keys: Sequence[bytes]) -> list[bytes]:
        """See `Reading.asks`; keys that have none on that side are left out."""
        if self.ways is None or side is Side.SOURCE:
            return super().asks(side, keys)
        there = []
        for key in keys:
            try:
                there.append(self.ways.to_target(key))
            except PoisonRecord:
                continue
        return super().asks(side, there)

    def keeps(self, side: Side, name: str) -> bool:
        """See `RowReading.keeps`; what keeps the source's key is no content."""
        return super().keeps(side, name) and (self.ways is None or name not in self.ways.kept)

    def _content(self, side: Side, image: Attributes) -> tuple[list[tuple[str, bytes]], str, list[str]]:
        if self.ways is not None and self.ways.kept and side is Side.TARGET:
            image = {name: raw for name, raw in image.items() if name not in self.ways.kept}
        return super()._content(side, image)

    def is_odd(self, image: Attributes) -> bool:
        """Say whether a row has what may be unreadable: a tombstone's mark, or a fence not spelled as ours are."""
        fence = image.get(VERSION)
        return DELETED in image or (fence is not None and bytes(fence)[:6] != b'{"N":"')

    def _strange(self, _name: str) -> str:
        return ""

    def _prover(self, *, complete: bool) -> Proof:
        del complete  # equal content is equal, whoever owns it
        ours, theirs = self._sides[Side.SOURCE], self._sides[Side.TARGET]
        shared, their_shared, constants = ours.shared, theirs.shared, bool(ours.constants or theirs.constants)
        nothing, computed = NOTHING, bool(self.declared.computed)

        def proof(source: AnyRow, target: AnyRow) -> tuple[Raw, ...] | None:
            values: tuple[Raw, ...] = shared(source)
            if values != their_shared(target) or source.deleted != nothing or target.deleted != nothing:
                return None
            if computed and not self._computed_agree(source, target):
                return None
            if constants and not (ours.has_constants(source) and theirs.has_constants(target)):
                return None
            return values

        return proof


def _is_true(raw: Raw) -> bool:
    kind, inner = value_of(raw)
    if kind != "BOOL":
        raise PoisonRecord(f"{DELETED}: expected a value of type BOOL, got one of type {kind}")
    return bool(inner)


class PlainStateReading(StateReading):
    """Reads states of one table's rows: an owner's is "A" at the commit time of its record, a copy "S" at its fence."""

    def __init__(self, reading: PlainReading, side: Side, owner: Callable[[], Side]) -> None:
        """Take the reading.

        Args:
            reading: of both tables.
            side: whose rows.
            owner: tells which table owns at the moment.
        """
        super().__init__(reading, side)
        self._owner = owner
        self._kept = () if reading.ways is None or side is Side.SOURCE else reading.ways.kept

    def state(self, key: bytes, image: Attributes, committed_us: int = 0) -> State:
        """See `StateReading.state`."""
        row = self._reading.row(self._side, image) if DELETED in image else None
        deleted, owns = row is not None and row.deleted, self._owner() is self._side
        parts = [key]
        if not deleted:
            kept = self._kept
            content = {name: raw for name, raw in image.items() if not name.startswith(PREFIX) and name not in kept}
            for name in self._moved:
                raw = content.get(name)
                parts.append(b"" if raw is None else spelled(bytes(raw)))
            self._add_others(content, parts)
        digest = _NOTHING if deleted else _digest(b"\x00".join(parts))
        if owns:
            return State(committed_us, "A", 0, deleted, digest)
        version = whole(image[VERSION], VERSION) // OWN_DIGITS if VERSION in image else None
        return State(version, "S", 0, deleted, digest)

    def version_before(self, version: int) -> int:
        """See `StateReading.version_before`: an owner's row tells none."""
        return 0 if self._owner() is self._side else version // OWN_DIGITS


class PlainRows:
    """Answers what parity asks of rows while one table owns all of them (`crossfade_verifier.reading.judging.OwnRows`).

    Versions are commit times of the owner's table, µs. An owner's row tells none.
    """

    complete = False

    def __init__(self, owner: Callable[[], Side]) -> None:
        """Take what tells the owner, by the view of the map at each moment."""
        self.owner = owner

    def absent_owns(self, side: Side) -> bool:
        """Say whether the table owns."""
        return side is self.owner()

    def owns(self, _item: Seen | None, side: Side) -> bool:
        """Say whether the table owns."""
        return side is self.owner()

    def owner_of(self, _source: Seen | None, _target: Seen | None) -> Side:
        """The map says it, for all rows."""
        return self.owner()

    def is_contested(self, _source: Seen | None, _target: Seen | None) -> bool:
        """No row claims anything."""
        return False

    def why_unreadable(self, item: Seen | None) -> str:
        """Return the cause that the reading found; of an owner's row nothing of Crossfade's is read."""
        return "" if item is None or self._stands_on(item) is self.owner() else item.unreadable

    def is_held_out(self, _item: Seen | None) -> bool:
        """Rows don't move one by one."""
        return False

    def is_live(self, item: Seen | None) -> bool:
        """Say whether there is anything to read."""
        return item is not None and not item.deleted

    def version_of(self, item: Seen | None) -> int:
        """Return which write of its owner's a copy holds, by commit time in µs; 0 where that isn't known."""
        if item is None or item.version is None or self._stands_on(item) is self.owner():
            return 0
        return item.version // OWN_DIGITS

    def is_ordered(self, _version: int) -> bool:
        """Versions are never compared: an owner's row tells none."""
        return False

    def standing_of(self, _item: Seen | None) -> int:
        """Rows don't move one by one."""
        return 0

    def described(self, item: Seen) -> dict[str, str | None]:
        """Return nothing of a copy, whose version is shown in any case; on an owner's row a fence means nothing."""
        return {"version": None} if self._stands_on(item) is self.owner() else {}

    def digest_of(self, item: Seen | None) -> bytes:
        """Return 16 bytes over what owner and standby have in common: content."""
        if item is None or item.deleted:
            return _NOTHING
        if self.why_unreadable(item):
            return _digest(f"{item.side.value}: {item.unreadable}".encode())
        try:
            return _digest(content_form(item))
        except PoisonRecord:
            return _digest(repr((item.side, item.content)).encode())

    def is_same_state(self, one: Seen, other: Seen) -> bool:
        """As `digest_of`, without forms where the bytes are the same.

        Raises:
            PoisonRecord: a value is no attribute value.
        """
        if self.why_unreadable(one) or self.why_unreadable(other):
            return False
        return one.deleted == other.deleted and same_content(one, other)

    def are_comparable(self, _one: Seen, _other: Seen) -> bool:
        """Say whether what two rows differ in is worth naming: it is, whatever their versions say."""
        return True

    def _stands_on(self, item: Seen) -> Side:
        return Side(item.side)
