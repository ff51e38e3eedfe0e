"""Types of rows, made from what is declared of a table: values stay raw.

A row with an attribute that nothing declares fits none, and is an image instead: a dictionary of raw values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import Raw, Struct

from crossfade.core.values.declared import Attributes, Declared
from crossfade.core.values.errors import PoisonRecord, StoreUnavailable
from crossfade.core.values.masking import reason_of
from crossfade.core.values.shape import Side
from crossfade_verifier.reading import rows as protocol
from crossfade_verifier.reading.values import form_of, number_of

SPELLINGS: Final = 8
"""Spellings of one constant that are remembered: as many as engines write, and a bound against a table of others."""

NOTHING: Final = Raw(b"")
"""Stands for an attribute that a row lacks."""

_encode = msgspec.json.encode


class KeyValue(Struct, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """One attribute of a key: one of the three is set."""

    S: str | None = None
    N: str | None = None
    B: str | None = None


class _Number(Struct, gc=False, forbid_unknown_fields=True):
    N: str


class _Role(Struct, gc=False, forbid_unknown_fields=True):
    S: Literal["A", "S"]


class Consumed(Struct, gc=False):
    """What a request has cost."""

    CapacityUnits: float = 0.0


class _RawPage(Struct, gc=False):
    Items: list[Raw]
    ScannedCount: int
    LastEvaluatedKey: Raw = NOTHING
    ConsumedCapacity: Consumed | None = None


class _RawBatch(Struct, gc=False):
    Responses: dict[str, list[Raw]]


decode_page = msgspec.json.Decoder(_RawPage).decode
decode_batch = msgspec.json.Decoder(_RawBatch).decode
decode_image = msgspec.json.Decoder(dict[str, Raw]).decode
_decode_key_value = msgspec.json.Decoder(KeyValue).decode
decode_key = msgspec.json.Decoder(tuple[KeyValue, ...]).decode

AnyRow: TypeAlias = Any
"""A typed row, made for its side, or an image where the type doesn't fit."""


class Marks(NamedTuple):
    """What of a protocol's own attributes a typed row has, by the names of fields.

    Attributes:
        raw: those that stay raw.
        numbers: those that are numbers.
        shared: raw fields that an owner and its standby have in common.
        role: the field of the role; empty where there is none.
    """

    raw: dict[str, str]
    numbers: dict[str, str]
    shared: tuple[str, ...] = ()
    role: str = ""


KEYED_MARKS: Final = Marks(
    raw={
        "ids": protocol.IDS,
        "floor": protocol.FLOOR,
        "event_version": protocol.EVENT_VERSION,
        "events": protocol.EVENTS,
        "deleted": protocol.DELETED,
        "ttl": protocol.TTL,
    },
    shared=("ids", "floor", "event_version", "events", "deleted"),
    numbers={"version": protocol.VERSION, "generation": protocol.GENERATION},
    role="role",
)


class TypedSide:
    """One table: the type of its rows, and how their parts are got at."""

    def __init__(self, declared: Declared, side: Side, marks: Marks = KEYED_MARKS) -> None:
        moved = [pair[0 if side is Side.SOURCE else 1] for pair in declared.moved]
        self.computed = tuple(
            name for each in declared.computed for name in (each.source if side is Side.SOURCE else each.target)
        )
        constants = [(name, raw) for where, name, raw in declared.constants if where is side]
        raw = {
            **{f"c{number}": name for number, name in enumerate(moved)},
            **{f"m{number}": name for number, name in enumerate(self.computed)},
            **{f"x{number}": name for number, (name, _) in enumerate(constants)},
            **marks.raw,
        }
        if side is Side.SOURCE and declared.ttl:
            raw["own_ttl"] = declared.ttl
        keys = {f"k{number}": name for number, name in enumerate(declared.keys[side])}
        fields: list[Any] = [(each, KeyValue, msgspec.field(name=name)) for each, name in keys.items()]
        fields += [
            (each, _Number | None, msgspec.field(default=None, name=name)) for each, name in marks.numbers.items()
        ]
        if marks.role:
            fields += [(marks.role, _Role | None, msgspec.field(default=None, name=protocol.ROLE))]
        fields += [(each, Raw, msgspec.field(default=NOTHING, name=name)) for each, name in raw.items()]
        kind = msgspec.defstruct("TypedRow", fields, gc=False, forbid_unknown_fields=True)
        self.kind = kind
        self.decode_row = msgspec.json.Decoder(kind).decode
        self.decode_page, self.decode_batch = _decoders(kind)
        own = (*marks.numbers.values(), *((protocol.ROLE,) if marks.role else ()))
        self.names = frozenset((*keys.values(), *own, *raw.values()))
        self.key_names = declared.keys[side]
        self.key_parts = tuple_of(list(keys))
        self.shared = tuple_of([*(f"c{number}" for number in range(len(moved))), *marks.shared])
        self.made = tuple_of([f"m{number}" for number in range(len(self.computed))])
        self.constants = [
            (attrgetter(f"x{number}"), [Raw(wanted)], form_of(wanted)) for number, (_, wanted) in enumerate(constants)
        ]
        self.constant_names = tuple(name for name, _ in constants)
        self.ask = msgspec.defstruct("Ask", [(each, KeyValue, msgspec.field(name=name)) for each, name in keys.items()])

    def key_of(self, row: AnyRow) -> tuple[KeyValue, ...]:
        """Return the key values of a row, numbers in their one spelling.

        Raises:
            PoisonRecord: it has none.
        """
        if type(row) is dict:
            try:
                parts = tuple(_decode_key_value(row[name]) for name in self.key_names)
            except (KeyError, msgspec.MsgspecError) as error:
                raise PoisonRecord(f"a row without its key: {reason_of(error)}") from error
        else:
            parts = self.key_parts(row)
        for part in parts:
            if part.N is not None:
                part.N = number_of(part.N).plain()
        return parts

    def has_constants(self, row: AnyRow) -> bool:
        """Say whether a typed row has each constant of its side, in whatever spelling; new spellings are learned."""
        for get, known, form in self.constants:
            raw = get(row)
            if raw not in known:
                if raw == NOTHING or form_of(raw) != form:
                    return False
                if len(known) < SPELLINGS:
                    known.insert(0, Raw(bytes(raw)))
        return True


def _decoders(kind: Any) -> tuple[Callable[[bytes], Any], Callable[[bytes], Any]]:
    """Return what decodes answers of Scan and of BatchGetItem with rows of a type."""
    more: list[Any] = [
        ("ScannedCount", int),
        ("LastEvaluatedKey", Raw, NOTHING),
        ("ConsumedCapacity", Consumed | None, None),
    ]
    page = msgspec.defstruct("TypedPage", [("Items", list[kind]), *more], gc=False)
    batch = msgspec.defstruct("TypedBatch", [("Responses", dict[str, list[kind]])], gc=False)
    return msgspec.json.Decoder(page).decode, msgspec.json.Decoder(batch).decode


def image_of(row: AnyRow) -> Attributes:
    """Return a row as it stands in its table."""
    if type(row) is dict:
        return row
    found = zip(row.__struct_encode_fields__, row.__struct_fields__, strict=True)
    values = [(name, getattr(row, field)) for name, field in found]
    return {
        name: value if type(value) is Raw else Raw(_encode(value))
        for name, value in values
        if value is not None and value is not NOTHING
    }


def tuple_of(names: Sequence[str]) -> Callable[[Any], tuple[Any, ...]]:
    """As `attrgetter`, with a tuple for one name and for none, too."""
    if len(names) > 1:
        return attrgetter(*names)
    return (lambda _row: ()) if not names else (lambda row, get=attrgetter(names[0]): (get(row),))  # type: ignore[misc]


def kept(row: AnyRow) -> tuple[AnyRow, int]:
    """Return the same row for keeping, and its size in bytes: its values are views of a whole page otherwise."""
    if type(row) is dict:
        copied = {name: Raw(bytes(raw)) for name, raw in row.items()}
        return copied, sum(len(name) + len(raw) for name, raw in copied.items())
    values = [getattr(row, field) for field in row.__struct_fields__]
    size = sum(len(each) for each in values if type(each) is Raw)
    return type(row)(*(_copied(each) for each in values)), size


def _copied(value: Any) -> Any:
    return Raw(bytes(value)) if type(value) is Raw and value is not NOTHING else value


def row_of(side: TypedSide, raw: Raw) -> AnyRow:
    """Decode one row alone, as an image where its side's type doesn't fit."""
    try:
        return side.decode_row(raw)
    except msgspec.MsgspecError:
        return read_as(decode_image, "a row", raw)


def read_as(decode: Callable[[Any], Any], what: str, answer: bytes | Raw) -> Any:
    """Decode an answer.

    Raises:
        StoreUnavailable: it is not what it should be.
    """
    try:
        return decode(answer)
    except msgspec.MsgspecError as error:
        raise StoreUnavailable(f"{what}: unreadable answer: {error}") from error
