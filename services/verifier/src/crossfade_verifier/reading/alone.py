"""What one row says alone: a digest of its state, equal for an owner and a standby that are equal.

A pair needs no joining where the sums of such digests agree (ADR 0038). Two forms are kept apart, never added to one
sum: over the raw bytes of the compared attributes, for rows of the layout that was met in a sample of both tables, and
over values, for the rest. Digests that differ prove nothing; then the rows are joined, and judged as the sweep does.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence, Set
from itertools import repeat
from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgspec
import xxhash
from msgspec import Raw

from crossfade.core.values.declared import Computed, Declared
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.shape import Side
from crossfade_verifier.reading import rows as protocol
from crossfade_verifier.reading.judging import FIRST_ORDERED, OwnRows
from crossfade_verifier.reading.pages import Reading, belonging
from crossfade_verifier.reading.rows import Seen, computed_of
from crossfade_verifier.reading.sums import VALUED, Layout, Sums, decode_line
from crossfade_verifier.reading.typed import NOTHING, AnyRow, KeyValue, TypedSide, image_of, tuple_of
from crossfade_verifier.reading.values import form_of, number_of, value_of

_PLACE_SEED: Final = 3
_SEPARATOR: Final = b"\x00"  # JSON has none
_ORDERED: Final = b'\x00{"N":"'
"""Before the 19 digits and two more characters of every version that the protocol gives (`wall µs << 10`)."""
_ZERO: Final = b'{"N":"0"}'
_STATE: Final = (protocol.IDS, protocol.FLOOR, protocol.EVENT_VERSION, protocol.EVENTS)
PLAIN_GROUPS: Final = 8
GROUPS: Final = 256
"""Combinations of role, generation and constants that are remembered."""

# Of a key's first attribute without a seed: its bucket, which is the same for all rows of a partition.
_digest = xxhash.xxh3_64_intdigest
_join = _SEPARATOR.join
_encode = msgspec.json.encode
_item = attrgetter("Item")


class _Group(NamedTuple):
    """Rows of one role, generation and constants.

    Attributes:
        prefix: what the joined values of each begin with.
        lane: where they are summed.
        active: whether they own their keys.
        standing: their generation.
        unusual: whether the buckets of such rows are noted, since most rows are of a safer generation.
    """

    prefix: bytes
    lane: int
    active: bool
    standing: int
    unusual: bool


class Alone:
    """One side's rows, read without their counterparts."""

    def __init__(self, reading: Reading, side: Side, layout: Layout, *, buckets: int, complete: bool) -> None:
        """Take what a row is read by.

        Args:
            reading: of both tables.
            side: whose rows.
            layout: what a sample of both looked like.
            buckets: a power of two.
            complete: whether a row without a role in the target table owns its key; else one in the source table.
        """
        self._reading, self._side, self._mask = reading, side, buckets - 1
        self._default = "A" if (side is Side.TARGET) is complete else "S"
        self._usual = {role: layout.standings.get((side, role), 0) for role in "AS"}
        declared, met = reading.declared, {side: frozenset(names) for side, names in layout.names.items()}
        self._typed, self._belongs = TypedSide(declared, side), belonging(declared)
        self.constants = tuple(name for where, name, _ in declared.constants if where is side)
        columns = [pair[0 if side is Side.SOURCE else 1] for pair in _moved(reading, met)]
        columns += [name for name in _STATE if any(name in each for each in met.values())]
        has_ttl = any(protocol.TTL in each for each in met.values()) or declared.ttl in met[Side.SOURCE]
        self._own_ttl = declared.ttl if has_ttl and side is Side.SOURCE else None
        live = [name for name in (self._own_ttl, protocol.TTL) if name] if has_ttl else []
        self._computed = _rules(declared, met)
        made = [name for rule in self._computed for name in (rule.source if side is Side.SOURCE else rule.target)]
        rare, keys = [protocol.ROLE, protocol.GENERATION, *self.constants], declared.keys[side]
        order = [*rare, *keys, *columns, protocol.VERSION, *live, *made]
        field = {name: f"f{number}" for number, name in enumerate(order)}
        spec: dict[str, Any] = {name: (field[name], Raw, msgspec.field(default=NOTHING, name=name)) for name in order}
        spec |= {name: (field[name], Raw, msgspec.field(name=name)) for name in keys}
        # Decoding is quickest where fields are in the order in which they come.
        come = [spec[name] for name in dict.fromkeys((*layout.names[side], *order)) if name in spec]
        options: Any = {"gc": False, "kw_only": True}
        self._kind = msgspec.defstruct("LoneRow", come, forbid_unknown_fields=True, **options)
        self._decoder = _decoder(self._kind)
        self._place_decoder = _decoder(msgspec.defstruct("LoneKey", [spec[name] for name in keys], **options))
        self._values, self._rare = attrgetter(*map(field.__getitem__, order)), attrgetter(*map(field.__getitem__, rare))
        self._columns = tuple_of([field[name] for name in columns])
        self._version, self._live = attrgetter(field[protocol.VERSION]), tuple_of([field[name] for name in live])
        self._key_names, self._keys = keys, tuple_of([field[name] for name in keys])
        self._begins = _prefixes(declared)
        self._made_names, self._made = made, tuple_of([field[name] for name in made])
        self._is_plain = self._begins != () and not live and not made
        self._groups: dict[bytes, _Group] = {}
        self._first_key = attrgetter(field[keys[0]])
        self._plain: list[_Group] = []

    # ---- summing ----------------------------------------------------------------------------------

    def add(self, block: bytes, sums: Sums) -> None:
        """Sum up a block of whole lines."""
        try:
            lines = self._decoder.decode_lines(block)
        except msgspec.MsgspecError:
            lines = self._fitting(block, sums)
        sums.rows += len(lines)
        if self._is_plain and b"\\" not in block:
            rows = list(map(_item, lines))
            if not self._add_alike(rows, sums):
                self._add_plain(rows, sums)
        else:
            for row in map(_item, lines):
                self._add_row(row, sums)

    def _fitting(self, block: bytes, sums: Sums) -> list[Any]:
        """Return the lines that fit the layout; the others are summed up at once."""
        fitting = []
        for number, line in enumerate(block.splitlines(), 1):
            try:
                fitting.append(self._decoder.decode(line))
                continue
            except msgspec.MsgspecError:
                sums.rows += 1
            try:
                self._add_row(decode_line(line).Item, sums, number)
            except msgspec.MsgspecError as error:
                sums.meet_odd(f"not an export line: {error}", number)
        return fitting

    def _add_alike(self, rows: Sequence[AnyRow], sums: Sums) -> bool:
        """Add rows whose keys are spelled one way and which have no TTL, if all are of one group and nothing is odd.

        It runs for each row of both tables, so it is made of what needs no bytecode for each row. Returns whether they
        were added; otherwise none was.
        """
        if not self._plain:
            return False
        group, count, mask = self._plain[0], len(rows), self._mask
        joined = list(map(_join, map(self._values, rows)))
        forms = list(map(bytes.removeprefix, joined, repeat(group.prefix)))
        if sum(map(len, joined)) - sum(map(len, forms)) != count * len(group.prefix):
            return False
        if len(self._begins) > 1:
            ends = map(bytes.find, forms, repeat(_SEPARATOR))
            if not all(map(bytes.startswith, forms, repeat(_SEPARATOR + self._begins[-1]), ends)):
                return False
        if group.unusual or not all(map(bytes.startswith, forms, repeat(_ORDERED), repeat(-28))):
            return False
        lane = sums.lanes[group.lane]
        points = map(_digest, map(self._first_key, rows))
        for point, digest in zip(points, map(_digest, forms), strict=True):
            lane[point & mask] += digest
        sums.belonging += count
        return True

    def _add_plain(self, rows: Sequence[AnyRow], sums: Sums) -> None:
        """Add rows whose keys are spelled one way and which have no TTL; what is odd goes the other way."""
        begin = _SEPARATOR + self._begins[-1] if len(self._begins) > 1 else b""
        for row in rows:
            joined = _join(self._values(row))
            group = next((each for each in self._plain if joined.startswith(each.prefix)), None)
            group = group or self._plain_group(row, joined)
            form = joined[len(group.prefix) :] if group else b""
            if group is None or not form.startswith(begin, form.find(_SEPARATOR)) or form[-28:-21] != _ORDERED:
                self._add_row(row, sums)
                continue
            bucket = _digest(self._first_key(row)) & self._mask
            sums.lanes[group.lane][bucket] += _digest(form)
            sums.belonging += 1
            if group.unusual:
                sums.mark(bucket, group.standing, active=group.active)

    def _plain_group(self, row: AnyRow, joined: bytes) -> _Group | None:
        """Return the group of a row, with what the values of its rows begin with as far into the key as is declared."""
        group = self._group(row)
        if group is None:
            return None
        group = group._replace(prefix=group.prefix + self._begins[0])
        if not joined.startswith(group.prefix):
            return None
        if len(self._plain) < PLAIN_GROUPS:
            self._plain.append(group)
        return group

    def _group(self, row: AnyRow) -> _Group | None:
        """Return the group of a row; None where its role, generation and constants don't allow one."""
        rare = _join((*self._rare(row), b""))
        group = self._groups.get(rare)
        if group is None:
            seen = self._reading.seen(self._side, image_of(row))
            if seen.unreadable or seen.trouble:
                return None
            role = seen.role or self._default
            lane = 0 if self._owner(role) is Side.SOURCE else 1
            group = _Group(rare, lane, role == "A", seen.generation, self._is_unusual(role, seen.generation))
            if len(self._groups) < GROUPS:
                self._groups[rare] = group
        return group

    def _is_unusual(self, role: str, standing: int) -> bool:
        usual = self._usual[role]
        return standing < usual if role == "A" else standing > usual

    def _owner(self, role: str) -> Side:
        return self._side if role == "A" else self._side.other

    def _add_row(self, row: AnyRow, sums: Sums, number: int = 0) -> None:
        """Add one row, however it is spelled: over raw bytes where they are of the layout, else by value."""
        try:
            parts = self._parts(row)
        except PoisonRecord as error:
            sums.meet_odd(str(error), number)
            return
        key = _encode(parts)
        if not self._belongs(parts, key):
            sums.meet_other(key)
            return
        sums.belonging += 1
        raw_key = [_encode(part) for part in parts]
        bucket = _digest(raw_key[0]) & self._mask
        group = None if type(row) is dict else self._group(row)
        form = None if group is None else self._raw_form(row, raw_key, active=group.active)
        if group is not None and form is not None:
            sums.lanes[group.lane][bucket] += _digest(form)
            if group.unusual:
                sums.mark(bucket, group.standing, active=group.active)
            return
        seen = self._reading.seen(self._side, image_of(row))
        role = seen.role or self._default
        sums.valued += 1
        sums.dropped.update(seen.dropped)
        form = b"%d:%b%b" % (len(key), key, state_form(seen, self._owner(role)))
        sums.lanes[VALUED][bucket] += _digest(form)
        if self._is_unusual(role, seen.generation):
            sums.mark(bucket, seen.generation, active=role == "A")

    def _raw_form(self, row: AnyRow, raw_key: Sequence[bytes], *, active: bool) -> bytes | None:
        """Return what a row's digest is over, if its raw bytes tell."""
        version = _version_form(self._version(row))
        live = self._live(row)
        if version is None:
            return None
        values = [*raw_key, *self._columns(row), version]
        if live:
            carried, own = bytes(live[-1]), bytes(live[0]) if len(live) > 1 else b""
            if own and not active:
                return None  # a standby that would expire on its own equals nothing
            values.append(own or (b"" if carried == _ZERO else carried))  # a seal leaves a zero where there was none
        if self._computed:
            made = self._computed_form(row)
            if made is None:
                return None
            values.append(made)
        form = _join(values)
        return form[len(self._begins[0]) :] if self._begins else form

    def _computed_form(self, row: AnyRow) -> bytes | None:
        """Return the form of what is computed on either side, from this side's; None where it can't be computed."""
        given = {name: raw for name, raw in zip(self._made_names, self._made(row), strict=True) if raw != NOTHING}
        found: dict[str, bytes] = {}
        try:
            for rule in self._computed:
                found |= computed_of(self._side, rule, given)
            return b"".join(
                b"%d:%b%b" % (len(name), name.encode(), form_of(raw)) for name, raw in sorted(found.items())
            )
        except PoisonRecord:
            return None

    def _parts(self, row: AnyRow) -> tuple[KeyValue, ...]:
        image = row if type(row) is dict else dict(zip(self._key_names, self._keys(row), strict=True))
        return self._typed.key_of(image)

    # ---- picking ----------------------------------------------------------------------------------

    def pick(self, block: bytes, wanted: Container[int], places: int) -> Iterator[tuple[int, bytes]]:
        """Return the lines of a block whose keys are in one of the wanted buckets, each with its key's place.

        Args:
            block: whole lines.
            wanted: numbers of buckets.
            places: how many there are; a key's place is the same on both sides.
        """
        for line in block.splitlines():
            try:
                parts = self._parts(self._place_decoder.decode(line).Item)
            except (msgspec.MsgspecError, PoisonRecord):
                continue  # it was counted as odd
            if _digest(_encode(parts[0])) & self._mask in wanted:
                key = _encode(parts)
                if self._belongs(parts, key):
                    yield _digest(key, _PLACE_SEED) % places, line


def state_form(row: Seen, owner: Side) -> bytes:
    """Return the form of a row's state by value, which an owner and a standby have in common only if they are equal.

    What can't be read has nothing in common with any row of the other side: its trouble names the side.
    """
    version = row.version or 0
    ordered = row.deleted or version >= FIRST_ORDERED  # unordered rows compare by content
    return b"%b %d %b" % (owner.value.encode(), version if ordered else 0, OwnRows().digest_of(row))


def _version_form(raw: Raw) -> bytes | None:
    """Return a version's raw bytes; nothing where rows compare by content, None where it can't be read."""
    text = bytes(raw)
    if not text:
        return b""
    if len(text) == len(_ORDERED) + 20 and text.startswith(_ORDERED[1:]):
        return text
    try:
        kind, number = value_of(raw)
        version = number_of(number).plain() if kind == "N" else ""
    except PoisonRecord:
        return None
    if not version.isdecimal():
        return None
    return b'{"N":"%b"}' % version.encode() if int(version) >= FIRST_ORDERED else b""


def _moved(reading: Reading, met: Mapping[Side, Set[str]]) -> list[tuple[str, str]]:
    """Return (source name, target name) of what is kept and was met, in one order for both sides."""
    declared = [
        (source, target)
        for source, target in reading.declared.moved
        if source in met[Side.SOURCE] or target in met[Side.TARGET]
    ]
    named = {side: {pair[0 if side is Side.SOURCE else 1] for pair in reading.declared.moved} for side in Side}
    known = {side: {*protocol.ATTRIBUTES, *reading.declared.keys[side], *named[side]} for side in Side}
    kept = {
        name
        for side in Side
        for name in met[side]
        if name not in known[side] and all(reading.keeps(each, name) and name not in known[each] for each in Side)
    }
    return sorted({*declared, *((name, name) for name in kept)})


def _rules(declared: Declared, met: Mapping[Side, Set[str]]) -> tuple[Computed, ...]:
    """Return the rules of which anything was met."""
    return tuple(
        rule
        for rule in declared.computed
        if not met[Side.SOURCE].isdisjoint(rule.source) or not met[Side.TARGET].isdisjoint(rule.target)
    )


def _prefixes(declared: Declared) -> tuple[bytes, ...]:
    """Return what the raw key values of a row that belongs begin with; nothing where that isn't declared."""
    if declared.prefixes is None or len(declared.prefixes) != len(declared.keys[Side.SOURCE]):
        return ()
    return tuple(_encode({"S": prefix})[:-2] for prefix in declared.prefixes)


def _decoder(kind: Any) -> Any:
    return msgspec.json.Decoder(msgspec.defstruct("LoneLine", [("Item", kind)], gc=False))
