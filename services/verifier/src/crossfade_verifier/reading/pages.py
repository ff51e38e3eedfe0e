"""Pages of both tables from the bytes of the wire, and pairs proven equal without decoding a value.

Two raw values of the same bytes are the same value, so a pair whose bytes agree in all but what differs on purpose
(role, generation, names) is equal: that is proof, and costs a tenth of reading the values. Bytes that differ prove
nothing; such a pair is read value by value (`crossfade_verifier.reading.rows`). A row with an attribute that nothing
declares, as others have in a shared table, goes that way, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
import xxhash
from msgspec import Raw

from crossfade.core.values.declared import Attributes, Computed, Declared
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.shape import Side
from crossfade_verifier.reading.judging import OwnRows
from crossfade_verifier.reading.rows import RowReading, Seen, content_form
from crossfade_verifier.reading.typed import (
    KEYED_MARKS,
    NOTHING,
    AnyRow,
    KeyValue,
    Marks,
    TypedSide,
    decode_batch,
    decode_key,
    decode_page,
    image_of,
    read_as,
    row_of,
)
from crossfade_verifier.reading.values import form_of

LEARNED_NAMES: Final = 200
"""Names that are learned of an open mapping; rows with more are compared value by value."""

_NO_NEXT: Final = (b"", b"{}", b"null")
_digest = xxhash.xxh3_128_intdigest
_encode = msgspec.json.encode


class Page(NamedTuple):
    """One page of a scan.

    Attributes:
        rows: those that belong to the migration, by encoded key; to be handed back to the reading.
        others: encoded keys of the rows that don't belong.
        scanned: rows read, others' included.
        next: where the next page starts, as it came; None after the last.
        read_units: that the store says it has cost; None when it doesn't say.
    """

    rows: list[tuple[bytes, AnyRow]]
    others: list[bytes]
    scanned: int
    next: bytes | None
    read_units: float | None = None


AnyPair: TypeAlias = tuple[bytes, AnyRow, AnyRow]
"""An encoded key with its rows in source and target, as `Reading.page` and `Reading.batch` gave them; None for none."""


class Compared(NamedTuple):
    """What became of pairs.

    Attributes:
        proven: (key, digest over the compared raw values) of pairs that are equal.
        left: (key, source row, target row) of pairs whose bytes differ; what that means is still to be said.
    """

    proven: list[tuple[bytes, int]]
    left: list[tuple[bytes, Seen | None, Seen | None]]


Proof: TypeAlias = Callable[[AnyRow, AnyRow], tuple[Raw, ...] | None]
"""Returns the raw values that a typed pair has in common, if they prove it equal; else None."""


class Reading(RowReading):
    """The verifier's own reading of both tables of a migration, under the keyed protocol.

    Attributes:
        marks: what of the protocol's own attributes a typed row has.
    """

    marks: Marks = KEYED_MARKS

    def __init__(self, declared: Declared) -> None:
        super().__init__(declared)
        self._belongs = belonging(declared)
        self._learned: tuple[str, ...] = ()
        self._compile()

    def _compile(self) -> None:
        learned = self.declared._replace(moved=(*self.declared.moved, *((name, name) for name in self._learned)))
        self._sides = {side: TypedSide(learned, side, self.marks) for side in Side}
        self._proofs = {complete: self._prover(complete=complete) for complete in (False, True)}

    def _learns(self, side: Side, rows: Sequence[AnyRow]) -> bool:
        """Learn the names that an open mapping keeps, from rows that the type doesn't fit; say whether there were any.

        Rows of the type that was before are compared value by value.
        """
        if not self.declared.is_open:
            return False
        met = {name for row in rows if type(row) is dict for name in row}
        fresh = sorted(name for name in met - self._sides[side].names if self.keeps(side, name))
        if not fresh or len(self._learned) + len(fresh) > LEARNED_NAMES:
            return False
        self._learned += tuple(fresh)
        self._compile()
        return True

    def is_ours(self, key: bytes) -> bool:
        """Say whether rows of an encoded key belong to the migration."""
        return self._belongs(decode_key(key), key)

    def constants(self, side: Side) -> tuple[str, ...]:
        """Return the constants of a side, which each of its rows has and the mapping drops."""
        return self._sides[side].constant_names

    def page(self, side: Side, answer: bytes) -> Page:
        """Read the answer of a Scan.

        Raises:
            StoreUnavailable: it is none.
            PoisonRecord: a row has no key.
        """
        mine = self._sides[side]
        found: Any
        try:
            found = mine.decode_page(answer)
            items: Sequence[AnyRow] = found.Items
        except msgspec.MsgspecError:
            found = read_as(decode_page, "Scan", answer)
            items = [row_of(mine, each) for each in found.Items]
            if self._learns(side, items):
                return self.page(side, answer)
        return self._paged(side, found, items)

    def _paged(self, side: Side, found: Any, items: Sequence[AnyRow]) -> Page:
        this, belongs, prefixes = self._sides[side], self._belongs, self.declared.prefixes
        key_of, parts_of, kind = this.key_of, this.key_parts, this.kind
        first, last = (prefixes[0], prefixes[-1]) if prefixes and len(prefixes) == len(this.key_names) else ("", "")
        mine, others = [], []
        for item in items:
            if (
                first and last and type(item) is kind
            ):  # as nearly all are: what `key_of` and `belongs` say, at half the cost
                parts = parts_of(item)
                begin, end = parts[0].S, parts[-1].S
                if begin is not None and end is not None and begin.startswith(first) and end.startswith(last):
                    mine.append((_encode(parts), item))
                    continue
            parts = key_of(item)
            key = _encode(parts)
            if belongs(parts, key):
                mine.append((key, item))
            else:
                others.append(key)
        after = bytes(found.LastEvaluatedKey)
        cost = found.ConsumedCapacity
        return Page(
            mine,
            others,
            found.ScannedCount,
            None if after in _NO_NEXT else after,
            None if cost is None else cost.CapacityUnits,
        )

    def batch(self, side: Side, answers: Sequence[bytes]) -> dict[bytes, AnyRow]:
        """Read answers of BatchGetItem; return the rows by encoded key. Errors as of `page`."""
        mine = self._sides[side]
        rows: dict[bytes, AnyRow] = {}
        key_of = mine.key_of
        for answer in answers:
            try:
                found: Any = mine.decode_batch(answer)
                items = [row for each in found.Responses.values() for row in each]
            except msgspec.MsgspecError:
                found = read_as(decode_batch, "BatchGetItem", answer)
                items = [row_of(mine, raw) for each in found.Responses.values() for raw in each]
                if self._learns(side, items):
                    return self.batch(side, answers)
            for row in items:
                rows[_encode(key_of(row))] = row
        return rows

    def asks(self, side: Side, keys: Sequence[bytes]) -> list[bytes]:
        """Return encoded keys as BatchGetItem on a side wants them."""
        ask = self._sides[side].ask
        return [_encode(ask(*decode_key(key))) for key in keys]

    def seen(self, side: Side, row: AnyRow) -> Seen:
        """Read a row of `page` or `batch` value by value; one that can't be read says why, and equals nothing."""
        image = image_of(row)
        try:
            return self.row(side, image)
        except PoisonRecord as error:
            return Seen(side, image, trouble=str(error), unreadable=str(error))

    def compare(self, pairs: Iterable[AnyPair], rows: OwnRows) -> Compared:
        """Compare pairs of rows.

        Args:
            pairs: of both tables.
            rows: what an absent role means.
        """
        proven, left = [], []
        proof = self._proofs[rows.absent_owns(Side.TARGET)]
        ours, theirs = self._sides[Side.SOURCE].kind, self._sides[Side.TARGET].kind
        for key, row, other in pairs:
            values = proof(row, other) if type(row) is ours and type(other) is theirs else None
            if values is None:
                source = None if row is None else self.seen(Side.SOURCE, row)
                left.append((key, source, None if other is None else self.seen(Side.TARGET, other)))
            else:
                proven.append((key, _digest(b"%d:%b%b" % (len(key), key, b"\x00".join(values)))))
        return Compared(proven, left)

    def _prover(self, *, complete: bool) -> Proof:
        """Return what proves typed pairs.

        It runs for each pair of both tables: what it needs is looked up here, once.
        """
        ours, theirs = self._sides[Side.SOURCE], self._sides[Side.TARGET]
        shared, their_shared, constants = ours.shared, theirs.shared, bool(ours.constants or theirs.constants)
        made, none = ours.made, (NOTHING,) * len(ours.computed)
        their_made, their_none = theirs.made, (NOTHING,) * len(theirs.computed)
        nothing, has_ttl, computed = NOTHING, self.declared.ttl is not None, bool(self.declared.computed)
        default, their_default = ("S", "A") if complete else ("A", "S")

        def proof(source: AnyRow, target: AnyRow) -> tuple[Raw, ...] | None:
            owner = default if source.role is None else source.role.S
            if owner == (their_default if target.role is None else target.role.S):
                return None
            values: tuple[Raw, ...] = shared(source)
            if values != their_shared(target) or source.deleted != nothing:
                return None  # tombstones are compared value by value
            one, other = source.version, target.version
            if ("0" if one is None else one.N) != ("0" if other is None else other.N):
                return None
            one, other = source.generation, target.generation
            one, other = "0" if one is None else one.N, "0" if other is None else other.N
            if one != other and (other if owner == "A" else one) != "0":
                return None  # a standby of a higher generation than its owner could never be handed over
            carried = source.ttl
            if has_ttl:
                if (source.own_ttl if owner == "S" else carried) != nothing:
                    return None
                carried = source.own_ttl if owner == "A" else carried
            if carried != target.ttl:
                return None
            has_computed = computed and (made(source) != none or their_made(target) != their_none)
            if has_computed and not self._computed_agree(source, target):
                return None
            if constants and not (ours.has_constants(source) and theirs.has_constants(target)):
                return None
            return values

        return proof

    def _computed_agree(self, source: AnyRow, target: AnyRow) -> bool:
        ours, theirs = self._sides[Side.SOURCE], self._sides[Side.TARGET]
        here, there = _present(ours, source), _present(theirs, target)
        return all(_agree(rule, here, there) for rule in self.declared.computed)


def belonging(declared: Declared) -> Callable[[tuple[KeyValue, ...], bytes], bool]:
    """Return what says whether a row belongs: by what is declared of its key, and else by the author's function."""
    if declared.prefixes is None:
        return lambda _parts, key: declared.belongs(key)
    if len(declared.prefixes) != len(declared.keys[Side.SOURCE]):
        return lambda _parts, _key: False
    first, last = declared.prefixes[0], declared.prefixes[-1]  # a key has one attribute or two

    def belongs(parts: tuple[KeyValue, ...], _key: bytes) -> bool:
        text = parts[0].S
        if text is None or not text.startswith(first):
            return False
        text = parts[-1].S
        return text is not None and text.startswith(last)

    return belongs


def row_digest(key: bytes, row: Seen) -> int:
    """Return the digest of a row by its values, 128 bits. It is never compared with, or added to, one over raw values.

    Raises:
        PoisonRecord: a value is no attribute value.
    """
    found: int = _digest(b"%d:%b%b" % (len(key), key, content_form(row)))
    return found


def _present(side: TypedSide, row: AnyRow) -> Attributes:
    return {name: raw for name, raw in zip(side.computed, side.made(row), strict=True) if raw != NOTHING}


def _agree(rule: Computed, here: Attributes, there: Attributes) -> bool:
    ours = {name: here[name] for name in rule.source if name in here}
    theirs = {name: there[name] for name in rule.target if name in there}
    if not ours and not theirs:
        return True
    try:
        if not ours or not theirs:
            return False
        return _same(rule.forward(dict(ours)), theirs) and _same(rule.reverse(dict(theirs)), ours)
    except Exception:  # whatever the author's function raises: this proves nothing, and the slow way says why
        return False


def _same(one: Attributes, other: Attributes) -> bool:
    """Say whether attributes have the same values; an engine may space what the author's function doesn't."""
    return one.keys() == other.keys() and all(
        raw == other[name] or form_of(raw) == form_of(other[name]) for name, raw in one.items()
    )
