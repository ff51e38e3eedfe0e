"""Pages of both tables from the bytes of the wire, and pairs proven equal without decoding a value.

Two raw values of the same bytes are the same value, so a pair whose bytes agree in all but what differs on purpose
(role, generation, names) is equal: that is proof, and costs a tenth of reading the values. Bytes that differ prove
nothing; such a pair is read value by value (`crossfade_verifier.reading.rows`). A row with an attribute that nothing
declares, as others have in a shared table, goes that way, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec
import xxhash
from msgspec import Raw, Struct

from crossfade.core.values.declared import Attributes, Computed, Declared
from crossfade.core.values.errors import PoisonRecord, StoreUnavailable
from crossfade.core.values.shape import Side
from crossfade_verifier.reading import rows as protocol
from crossfade_verifier.reading.judging import OwnRows
from crossfade_verifier.reading.rows import RowReading, Seen, content_form
from crossfade_verifier.reading.values import form_of, number_of

SPELLINGS: Final = 8
"""Spellings of one constant that are remembered: as many as engines write, and a bound against a table of others."""

_NOTHING: Final = Raw(b"")
_NO_NEXT: Final = (b"", b"{}", b"null")
_digest = xxhash.xxh3_128_intdigest
_encode = msgspec.json.encode


class _KeyValue(Struct, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    S: str | None = None
    N: str | None = None
    B: str | None = None


class _Number(Struct, gc=False, forbid_unknown_fields=True):
    N: str


class _Role(Struct, gc=False, forbid_unknown_fields=True):
    S: Literal["A", "S"]


class _RawPage(Struct, gc=False):
    Items: list[Raw]
    ScannedCount: int
    LastEvaluatedKey: Raw = _NOTHING


class _RawBatch(Struct, gc=False):
    Responses: dict[str, list[Raw]]


_decode_page = msgspec.json.Decoder(_RawPage).decode
_decode_batch = msgspec.json.Decoder(_RawBatch).decode
_decode_image = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_key_value = msgspec.json.Decoder(_KeyValue).decode
_decode_key = msgspec.json.Decoder(tuple[_KeyValue, ...]).decode

AnyRow: TypeAlias = Any
"""A typed row, made for its side, or an image where the type doesn't fit."""


class Page(NamedTuple):
    """One page of a scan.

    Attributes:
        rows: those that belong to the migration, by encoded key; to be handed back to the reading.
        asks: their keys as BatchGetItem on the other table wants them, in the same order.
        scanned: rows read, others' included.
        next: where the next page starts, as it came; None after the last.
    """

    rows: list[tuple[bytes, AnyRow]]
    asks: list[bytes]
    scanned: int
    next: bytes | None


class Compared(NamedTuple):
    """What became of the pairs of a page.

    Attributes:
        proven: (key, digest over the compared raw values) of pairs that are equal.
        left: (key, source row, target row) of pairs whose bytes differ; what that means is still to be said.
    """

    proven: list[tuple[bytes, int]]
    left: list[tuple[bytes, Seen, Seen | None]]


class _Side:
    """One table: the type of its rows, and how their parts are got at."""

    def __init__(self, declared: Declared, side: Side) -> None:
        moved = [pair[0 if side is Side.SOURCE else 1] for pair in declared.moved]
        self.computed = tuple(
            name for each in declared.computed for name in (each.source if side is Side.SOURCE else each.target)
        )
        constants = [(name, raw) for where, name, raw in declared.constants if where is side]
        raw = {
            **{f"c{number}": name for number, name in enumerate(moved)},
            **{f"m{number}": name for number, name in enumerate(self.computed)},
            **{f"x{number}": name for number, (name, _) in enumerate(constants)},
            "ids": protocol.IDS,
            "floor": protocol.FLOOR,
            "event_version": protocol.EVENT_VERSION,
            "events": protocol.EVENTS,
            "deleted": protocol.DELETED,
            "ttl": protocol.TTL,
        }
        if side is Side.SOURCE and declared.ttl:
            raw["own_ttl"] = declared.ttl
        typed = {"version": protocol.VERSION, "generation": protocol.GENERATION}
        keys = {f"k{number}": name for number, name in enumerate(declared.keys[side])}
        fields: list[Any] = [(each, _KeyValue, msgspec.field(name=name)) for each, name in keys.items()]
        fields += [(each, _Number | None, msgspec.field(default=None, name=name)) for each, name in typed.items()]
        fields += [("role", _Role | None, msgspec.field(default=None, name=protocol.ROLE))]
        fields += [(each, Raw, msgspec.field(default=_NOTHING, name=name)) for each, name in raw.items()]
        kind = msgspec.defstruct("TypedRow", fields, gc=False, forbid_unknown_fields=True)
        more: list[Any] = [("ScannedCount", int), ("LastEvaluatedKey", Raw, _NOTHING)]
        page = msgspec.defstruct("TypedPage", [("Items", list[kind]), *more], gc=False)  # type: ignore[valid-type]
        batch = msgspec.defstruct("TypedBatch", [("Responses", dict[str, list[kind]])], gc=False)  # type: ignore[valid-type]
        self.decode_row = msgspec.json.Decoder(kind).decode
        self.decode_page = msgspec.json.Decoder(page).decode
        self.decode_batch = msgspec.json.Decoder(batch).decode
        self.names = keys | typed | {"role": protocol.ROLE} | raw
        self.key_names = declared.keys[side]
        self.key_parts = _tuple_of(list(keys))
        shared = [each for each in raw if each[0] == "c"] + ["ids", "floor", "event_version", "events"]
        self.shared = _tuple_of(shared)
        self.aside = _tuple_of(["deleted", *(each for each in raw if each[0] == "m")])
        self.no_aside = (_NOTHING,) * (1 + len(self.computed))
        self.made = _tuple_of([each for each in raw if each[0] == "m"])
        self.constants = [
            (attrgetter(f"x{number}"), [Raw(wanted)], form_of(wanted)) for number, (_, wanted) in enumerate(constants)
        ]
        self.constant_names = tuple(name for name, _ in constants)
        self.ask = msgspec.defstruct(
            "Ask", [(each, _KeyValue, msgspec.field(name=name)) for each, name in keys.items()]
        )

    def image(self, row: AnyRow) -> Attributes:
        """Return a row as it stands in its table."""
        if isinstance(row, dict):
            return row
        found = ((name, getattr(row, each)) for each, name in self.names.items())
        return {
            name: value if isinstance(value, Raw) else Raw(_encode(value))
            for name, value in found
            if value is not None and value != _NOTHING
        }

    def has_constants(self, row: AnyRow) -> bool:
        """Say whether a typed row has each constant of its side, in whatever spelling; new spellings are learned."""
        for get, known, form in self.constants:
            raw = get(row)
            if raw not in known:
                if raw == _NOTHING or form_of(raw) != form:
                    return False
                if len(known) < SPELLINGS:
                    known.insert(0, Raw(bytes(raw)))
        return True


def _tuple_of(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """As `attrgetter`, with a tuple for one name and for none, too."""
    if len(names) > 1:
        return attrgetter(*names)
    return (lambda _row: ()) if not names else (lambda row, get=attrgetter(names[0]): (get(row),))  # type: ignore[misc]


class Reading(RowReading):
    """The verifier's own reading of both tables of a migration."""

    def __init__(self, declared: Declared) -> None:
        super().__init__(declared)
        self._sides = {side: _Side(declared, side) for side in Side}

    def constants(self, side: Side) -> tuple[str, ...]:
        """Return the constants of a side, which each of its rows has and the mapping drops."""
        return self._sides[side].constant_names

    def page(self, side: Side, answer: bytes) -> Page:
        """Read the answer of a Scan.

        Raises:
            StoreUnavailable: it is none.
            PoisonRecord: a row has no key.
        """
        mine, other = self._sides[side], self._sides[side.other]
        found: Any
        try:
            found = mine.decode_page(answer)
            items: Sequence[AnyRow] = found.Items
        except msgspec.MsgspecError:
            found = _read(_decode_page, "Scan", answer)
            items = [_row(mine, each) for each in found.Items]
        rows, asks, ask = [], [], other.ask
        for row in items:
            parts = _parts(mine, row)
            key = _encode(parts)
            if self._belongs(parts, key):
                rows.append((key, row))
                asks.append(_encode(ask(*parts)))
        after = found.LastEvaluatedKey
        return Page(rows, asks, found.ScannedCount, None if bytes(after) in _NO_NEXT else bytes(after))

    def batch(self, side: Side, answers: Sequence[bytes]) -> dict[bytes, AnyRow]:
        """Read answers of BatchGetItem; return the rows by encoded key. Errors as of `page`."""
        mine = self._sides[side]
        rows: dict[bytes, AnyRow] = {}
        for answer in answers:
            try:
                found: Any = mine.decode_batch(answer)
                items = [row for each in found.Responses.values() for row in each]
            except msgspec.MsgspecError:
                found = _read(_decode_batch, "BatchGetItem", answer)
                items = [_row(mine, raw) for each in found.Responses.values() for raw in each]
            for row in items:
                rows[_encode(_parts(mine, row))] = row
        return rows

    def asks(self, side: Side, keys: Sequence[bytes]) -> list[bytes]:
        """Return encoded keys as BatchGetItem on a side wants them."""
        ask = self._sides[side].ask
        return [_encode(ask(*_decode_key(key))) for key in keys]

    def seen(self, side: Side, key: bytes, row: AnyRow) -> Seen:
        """Read a row of `page` or `batch` value by value; errors as of `RowReading.row`."""
        try:
            return self.row(side, self._sides[side].image(row))
        except PoisonRecord as error:
            raise PoisonRecord(f"{side.value} row {key.decode()}: {error}") from error

    def compare(self, page: Page, answers: Sequence[bytes], rows: OwnRows) -> Compared:
        """Compare a page of the source table with the target rows of its keys.

        Args:
            page: of the source table.
            answers: of BatchGetItem on the target table, for the page's keys.
            rows: what an absent role means.
        """
        there = self.batch(Side.TARGET, answers)
        proven, left, proof = [], [], self._proof
        default = {side: "A" if rows.absent_owns(side) else "S" for side in Side}
        roles = default[Side.SOURCE], default[Side.TARGET]
        for key, row in page.rows:
            other = there.get(key)
            values = None if other is None or type(row) is dict or type(other) is dict else proof(row, other, roles)
            if values is None:
                target = None if other is None else self.seen(Side.TARGET, key, other)
                left.append((key, self.seen(Side.SOURCE, key, row), target))
            else:
                proven.append((key, _digest(b"%d:%b%b" % (len(key), key, b"\x00".join(values)))))
        return Compared(proven, left)

    def _proof(self, source: AnyRow, target: AnyRow, roles: tuple[str, str]) -> tuple[Raw, ...] | None:
        """Return the raw values that a typed pair has in common, if they prove it equal; None if they prove nothing."""
        ours, theirs = self._sides[Side.SOURCE], self._sides[Side.TARGET]
        owner = roles[0] if source.role is None else source.role.S
        if owner == (roles[1] if target.role is None else target.role.S):
            return None
        values: tuple[Raw, ...] = ours.shared(source)
        if values != theirs.shared(target):
            return None
        one, other = source.version, target.version
        if ("0" if one is None else one.N) != ("0" if other is None else other.N):
            return None
        one, other = source.generation, target.generation
        one, other = "0" if one is None else one.N, "0" if other is None else other.N
        if one != other and (other if owner == "A" else one) != "0":
            return None  # a standby of a higher generation than its owner could never be handed over
        carried = source.ttl
        if self.declared.ttl:
            if (source.own_ttl if owner == "S" else carried) != _NOTHING:
                return None
            carried = source.own_ttl if owner == "A" else carried
        if carried != target.ttl:
            return None
        aside = ours.aside(source) != ours.no_aside or theirs.aside(target) != theirs.no_aside
        if aside and not self._computed_agree(source, target):
            return None
        return values if ours.has_constants(source) and theirs.has_constants(target) else None

    def _computed_agree(self, source: AnyRow, target: AnyRow) -> bool:
        if source.deleted != _NOTHING or target.deleted != _NOTHING:
            return False
        ours, theirs = self._sides[Side.SOURCE], self._sides[Side.TARGET]
        here, there = _present(ours, source), _present(theirs, target)
        return all(_agree(rule, here, there) for rule in self.declared.computed)

    def _belongs(self, parts: tuple[_KeyValue, ...], key: bytes) -> bool:
        prefixes = self.declared.prefixes
        if prefixes is None:
            return self.declared.belongs(key)
        for part, prefix in zip(parts, prefixes, strict=True):
            if part.S is None or not part.S.startswith(prefix):
                return False
        return True


def row_digest(key: bytes, row: Seen) -> int:
    """Return the digest of a row by its values, 128 bits. It is never compared with, or added to, one over raw values.

    Raises:
        PoisonRecord: a value is no attribute value.
    """
    found: int = _digest(b"%d:%b%b" % (len(key), key, content_form(row)))
    return found


def _present(side: _Side, row: AnyRow) -> Attributes:
    return {name: raw for name, raw in zip(side.computed, side.made(row), strict=True) if raw != _NOTHING}


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


def _row(side: _Side, raw: Raw) -> AnyRow:
    try:
        return side.decode_row(raw)
    except msgspec.MsgspecError:
        return _read(_decode_image, "a row", raw)


def _parts(side: _Side, row: AnyRow) -> tuple[_KeyValue, ...]:
    if type(row) is dict:
        try:
            parts = tuple(_decode_key_value(row[name]) for name in side.key_names)
        except (KeyError, msgspec.MsgspecError) as error:
            raise PoisonRecord(f"a row without its key: {error}") from error
    else:
        parts = side.key_parts(row)
    for part in parts:
        if part.N is not None:
            part.N = number_of(part.N).plain()
    return parts


def _read(decode: Callable[[Any], Any], what: str, answer: bytes | Raw) -> Any:
    try:
        return decode(answer)
    except msgspec.MsgspecError as error:
        raise StoreUnavailable(f"{what}: unreadable answer: {error}") from error
