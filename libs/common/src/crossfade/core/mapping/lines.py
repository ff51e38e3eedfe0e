"""The quick way through a mapping for lines of an export: most rows need nothing decided.

A mapping's declaration (`Declared`) is compiled once. A line that the compiled form can't answer for sure is left to
the mapping itself (`crossfade.core.mapping.snapshot`), so that this module decides no fate and words no reason; a test
holds both ways against each other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import accumulate
from operator import is_
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
from msgspec import Raw
from msgspec.structs import astuple

from crossfade.core.mapping.interface import Mapping
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.image import PROTOCOL_PREFIX, Image
from crossfade.core.values.keys import Key, encode_key, key_image
from crossfade.core.values.shape import Direction, IndexKey, Side

QUICK_BYTES: Final = 256 * 1024
"""A longer line may be too large an item, which only counting tells."""

_SHORT: Final = re.compile(rb'\{"N":"-?[0-9]{1,18}"\}')
"""A whole number that any 64 bits hold."""

FORMATS: Final = 10_000
"""Combinations of attributes whose spelling is remembered."""

_INDEXABLE: Final = {
    "S": re.compile(rb'\{"S":"[^"\\]{1,256}"\}'),
    "N": re.compile(rb'\{"N":"[^"\\]{1,64}"\}'),
    "B": re.compile(rb'\{"B":"[^"\\]{4,1024}"\}'),
}
"""A value that any index takes as a key, by its type."""

_PLAIN_LINE: Final = b'{"Item":{'
_PROTOCOL_NAME: Final = b'"' + PROTOCOL_PREFIX.encode()
_ESCAPE: Final = b"\\u"
_encode = msgspec.json.encode


Quick: TypeAlias = tuple[bytes, int]
"""A line of the import file, with its line end; and the standing that the row carries from an earlier migration. Not a
NamedTuple: making one takes as long as reading the key."""


class _Text(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    S: str


ReadKey: TypeAlias = Callable[[bytes], "Key | None"]
"""Reads the encoded key of a line; None where it takes more than this."""

MapLine: TypeAlias = Callable[[bytes], "Quick | None"]
"""Maps a line that belongs and isn't left out; None where it takes more than this."""


def key_reader(mapping: Mapping) -> ReadKey:
    """Return what reads the key of a line: keys of strings, which most are."""
    names = mapping.shape(Side.SOURCE).key
    fields: list[Any] = [(f"k{n}", _Text, msgspec.field(name=name)) for n, name in enumerate(names)]
    row = msgspec.defstruct("Row", fields, gc=False)
    line = msgspec.defstruct("Line", [("Item", row)], gc=False, forbid_unknown_fields=True)
    decode: Callable[[bytes], Any] = msgspec.json.Decoder(line).decode

    def read(text: bytes) -> Any:
        try:
            return _encode(astuple(decode(text).Item))
        except msgspec.MsgspecError:
            return None

    return read


def line_mapper(mapping: Mapping, index_keys: Sequence[IndexKey]) -> MapLine | None:
    """Compile a mapping for lines; None where no line could be answered for sure.

    Args:
        mapping: of the migration.
        index_keys: of the target table.
    """
    if mapping.declared.source_key is not None:
        return None
    if not mapping.declared.is_open:
        return _closed(mapping, index_keys)
    return _unchanged(mapping, index_keys) if _is_identity(mapping) else None


def _suffix(mapping: Mapping) -> bytes:
    """Return what the protocol writes into a row that has nothing of it: members of the row, each after a comma."""
    added: Image = {}
    mapping.protocol.imported({}, added)
    return b"".join(b",%b:%b" % (_encode(name), bytes(raw)) for name, raw in added.items())


def _is_identity(mapping: Mapping) -> bool:
    """Say whether rows go as they are, by what is declared and by what becomes of a row with all that is named."""
    declared, source, target = mapping.declared, mapping.shape(Side.SOURCE), mapping.shape(Side.TARGET)
    if declared.constants or declared.computed or source.key != target.key:
        return False
    row: Image = {name: Raw(b'{"S":"%d"}' % n) for n, name in enumerate(source.key)}
    named = [*(name for name, _ in declared.moved), *filter(None, [source.ttl]), "a name that nothing declares"]
    row |= {name: Raw(b'{"N":"%d"}' % n) for n, name in enumerate(named)}
    try:
        there = key_image(encode_key(row, source.key), target.key) | mapping.carry(Direction.FORWARD, row)
    except PoisonRecord:
        return False
    return {name: bytes(raw) for name, raw in there.items()} == {name: bytes(raw) for name, raw in row.items()}


_Check: TypeAlias = tuple[str, Callable[[Any], Any]]
"""An attribute that a quick line has in a form that matches, or not at all."""


def _checks(mapping: Mapping, index_keys: Sequence[IndexKey], back: dict[str, str]) -> list[_Check]:
    """Return what is checked: keys of indexes by their names in the source, and numbers that are to be whole."""
    indexed = [(back.get(each.name, each.name), _INDEXABLE[each.kind].fullmatch) for each in index_keys]
    return [*indexed, *((name, _SHORT.fullmatch) for name in mapping.wholes)]


def _raw_fields(names: Sequence[str], first: int = 0) -> list[Any]:
    return [(f"a{n}", Raw, msgspec.field(default=None, name=name)) for n, name in enumerate(names, first)]


def _unchanged(mapping: Mapping, index_keys: Sequence[IndexKey]) -> MapLine:
    """Map by leaving the line as it is: what the protocol adds goes in before its end."""
    end = _suffix(mapping) + b"}}\n"
    checks = _checks(mapping, index_keys, {})
    names = list(dict.fromkeys(name for name, _ in checks))
    at_checks = [(names.index(name), matches) for name, matches in checks]
    row = msgspec.defstruct("Row", _raw_fields(names), gc=False)
    line_type = msgspec.defstruct("Line", [("Item", row)], gc=False, forbid_unknown_fields=True)
    decode: Callable[[bytes], Any] = msgspec.json.Decoder(line_type).decode

    def quick(line: bytes) -> Quick | None:
        if (
            len(line) > QUICK_BYTES
            or not line.startswith(_PLAIN_LINE)
            or not line.endswith(b"}}")
            or _PROTOCOL_NAME in line
            or _ESCAPE in line
        ):
            return None
        if at_checks:
            try:
                values = astuple(decode(line).Item)
            except msgspec.MsgspecError:
                return None
            for n, matches in at_checks:
                if values[n] is not None and not matches(values[n]):
                    return None
        return line[:-2] + end, 0

    return quick


class _Formats(dict[tuple[bool, ...], bytes]):
    """How a row is spelled, by which of its attributes it has: a table's rows have them in few combinations."""

    def __init__(self, key: Sequence[str], moved: Sequence[str]) -> None:
        super().__init__()
        self._each = [b"," + _spelled(name) for name in (*key, *moved)]

    def __missing__(self, missing: tuple[bool, ...]) -> bytes:
        if len(self) >= FORMATS:
            self.clear()
        found = b"".join(each for each, is_missing in zip(self._each, missing, strict=True) if not is_missing)
        self[missing] = b'{"Item":{' + found[1:]
        return self[missing]


def _spelled(name: str) -> bytes:
    return _encode(name).replace(b"%", b"%%") + b":%b"


class _Layout(NamedTuple):
    """Where what is in a row, decoded into a tuple: the key, what moves, constants, what is computed from, the rest.

    Attributes:
        names: of all attributes that a row may have.
        kept: end of the key and of what moves.
        constants: place and value of each attribute that the source always has.
        checks: place of each checked attribute, and its form.
        computes: place and name of what each function takes, how what it makes is spelled, and the function.
        own: the protocol's own attributes, and the place of the first.
        carried: likewise those that travel with each copy, after them.
        apart: place of the first of those that need the mapping itself, after them.
        added: constants of the target, spelled.
    """

    names: Sequence[str]
    kept: int
    constants: Sequence[tuple[int, Raw]]
    checks: Sequence[tuple[int, Callable[[Any], Any]]]
    computes: Sequence[tuple[Sequence[tuple[str, int]], dict[str, bytes], Callable[[Image], Image]]]
    own: tuple[Sequence[str], int]
    carried: tuple[Sequence[str], int]
    apart: int
    added: bytes


def _closed(mapping: Mapping, index_keys: Sequence[IndexKey]) -> MapLine | None:
    """Map by taking a row's known attributes out of the line, and putting each in its place."""
    declared, spelling = mapping.declared, mapping.protocol.spelling
    source, target = mapping.shape(Side.SOURCE), mapping.shape(Side.TARGET)
    apart = (spelling.deleted, spelling.ttl)  # what a row with one of these becomes, the mapping itself says
    moved = [*declared.moved, *([(declared.ttl, spelling.ttl)] if declared.ttl else [])]
    constants = [(name, Raw(value)) for side, name, value in declared.constants if side is Side.SOURCE]
    added = [(name, value) for side, name, value in declared.constants if side is Side.TARGET]
    back = {to: from_ for from_, to in moved} | dict(zip(target.key, source.key, strict=True))
    computed = list(dict.fromkeys(name for each in declared.computed for name in each.source))
    own, carried = list(spelling.own), [name for name in spelling.carried if name not in apart]
    groups = (source.key, [name for name, _ in moved], [name for name, _ in constants], computed, own, carried)
    names = [name for group in groups for name in group]
    _, to_moved, _, to_computed, to_own, to_carried = accumulate(map(len, groups))
    names += [name for name in apart if name and name not in names]
    if len(set(names)) < len(names) or {each.name for each in index_keys} - set(back):
        return None  # an attribute with two destinations, or an index on what is made by us
    layout = _Layout(
        names=names,
        kept=to_moved,
        constants=[(to_moved + n, value) for n, (_, value) in enumerate(constants)],
        checks=[(names.index(name), matches) for name, matches in _checks(mapping, index_keys, back)],
        computes=[
            (
                [(name, names.index(name)) for name in each.source],
                {name: b"," + _spelled(name) for name in each.target},
                each.forward,
            )
            for each in declared.computed
        ],
        own=(own, to_computed),
        carried=(carried, to_own),
        apart=to_carried,
        added=b"".join(b",%b:%b" % (_encode(name), value) for name, value in added),
    )
    return _in_places(mapping, layout, _Formats(target.key, [to for _, to in moved]))


def _in_places(mapping: Mapping, layout: _Layout, formats: _Formats) -> MapLine:  # noqa: C901  # see below
    """Return what maps a line by a layout. It is one function, since a call would cost as much as most of its steps."""
    row = msgspec.defstruct("Row", _raw_fields(layout.names), gc=False, forbid_unknown_fields=True)
    line_type = msgspec.defstruct("Line", [("Item", row)], gc=False)
    decode: Callable[[bytes], Any] = msgspec.json.Decoder(line_type).decode
    kept = layout.kept
    constants, checks, computes, at_own = layout.constants, layout.checks, layout.computes, layout.own[1]
    nothing = (None,) * (len(layout.names) - at_own)
    no_kept, whole = (None,) * kept, formats[(False,) * kept]
    added, end = layout.added, layout.added + _suffix(mapping) + b"}}\n"
    with_protocol = _with_protocol(mapping, layout)

    def quick(line: bytes) -> Quick | None:  # noqa: C901  # see above
        if len(line) > QUICK_BYTES:
            return None
        try:
            values = astuple(decode(line).Item)
        except msgspec.MsgspecError:
            return None
        for n, wanted in constants:
            if values[n] != wanted:
                return None
        for n, matches in checks:
            if values[n] is not None and not matches(values[n]):
                return None
        found = values[:kept]
        spelling = whole if None not in found else formats[tuple(map(is_, found, no_kept))]
        text = spelling % tuple(filter(None, found))  # no value is without bytes
        for given_at, spelled, compute in computes:
            given = {}
            for name, n in given_at:
                if values[n] is not None:
                    given[name] = values[n]
            if given:
                try:
                    for name, raw in compute(given).items():
                        text += spelled[name] % raw
                except Exception:  # the author's function may raise anything: the mapping says what it means
                    return None
        if values[at_own:] == nothing:
            return text + end, 0
        own = with_protocol(values)
        return None if own is None else (b"%b%b%b}}\n" % (text, added, own[0]), own[1])

    return quick


def _with_protocol(mapping: Mapping, layout: _Layout) -> Callable[[Sequence[Any]], tuple[bytes, int] | None]:
    """Return what spells the protocol's part of a row that has something of it, each attribute after a comma."""
    (own, at_own), (carried, at_carried), at_apart = layout.own, layout.carried, layout.apart

    def spell(values: Sequence[Any]) -> tuple[bytes, int] | None:
        if any(value is not None for value in values[at_apart:]):
            return None
        image = _present(own, values[at_own:at_carried])
        written = _present(carried, values[at_carried:at_apart])
        try:
            standing = mapping.protocol.imported(image, written)
        except PoisonRecord:
            return None
        return b"".join(b",%b:%b" % (_encode(name), bytes(raw)) for name, raw in written.items()), standing

    return spell


def _present(names: Sequence[str], values: Sequence[Any]) -> Image:
    return {name: raw for name, raw in zip(names, values, strict=True) if raw is not None}
