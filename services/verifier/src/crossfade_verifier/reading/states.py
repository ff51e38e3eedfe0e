"""What a change record says of a row: version, role, generation, and 16 bytes for all that both sides have in common.

As `OwnRows.digest_of` of a row that was read value by value, at a third of its cost, since it is made of each change of
both streams. Values are put in one spelling instead of being decoded: most are spelled that way already. Such digests
are compared with each other only.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

import msgspec
import xxhash
from msgspec import Raw

from crossfade.core.values.declared import Attributes, Computed
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.masking import described
from crossfade.core.values.shape import Side
from crossfade_verifier.reading import rows as protocol
from crossfade_verifier.reading.rows import RowReading, computed_of
from crossfade_verifier.reading.values import MAX_DIGITS, number_of, value_of

_digest = xxhash.xxh3_128_digest
_encode = msgspec.json.encode
_strings = msgspec.json.Decoder(dict[str, list[str]]).decode
_anything = msgspec.json.Decoder().decode
_UNUSUAL: Final = re.compile(rb'"[SNB]S" *:|"N" *: *"(?!(?:0|-?[1-9][0-9]{0,37})")|\\').search
"""What JSON alone doesn't put in one spelling: sets, other numbers, escapes."""

_ROLE_SPELLINGS: Final = {_encode({"S": role}): role for role in ("A", "S")} | {b"": ""}
_TRUE: Final = b'{"BOOL":true}'
_KNOWN_SPELLINGS: Final = 8
_MADE: Final = 4096
"""Results of the author's functions that are remembered: a row's next change asks for them again."""


class State(NamedTuple):
    """One side of a key at one moment.

    Attributes:
        version: `cf_mv`; None when there is none.
        role: `cf_role`; empty when there is none.
        generation: `cf_gen`; 0 when there is none.
        deleted: whether it is a tombstone or a stub.
        digest: 16 bytes, the same for two rows of a key exactly when content, TTL, ids, events and the like are.
    """

    version: int | None
    role: str
    generation: int
    deleted: bool
    digest: bytes


class StateReading:
    """Reads states of one side's rows."""

    def __init__(self, reading: RowReading, side: Side) -> None:
        declared = reading.declared
        self._reading, self._side = reading, side
        self._moved = tuple(pair[0 if side is Side.SOURCE else 1] for pair in declared.moved)
        self._constants = [(name, [raw]) for where, name, raw in declared.constants if where is side]
        self._computed = [(each, each.source if side is Side.SOURCE else each.target) for each in declared.computed]
        self._made: dict[tuple[Any, ...], list[bytes]] = {}
        self._trouble = b"trouble in " + side.value.encode()
        self._own_ttl = declared.ttl if side is Side.SOURCE and declared.ttl else ""
        made = [name for _, names in self._computed for name in names]
        named = (*self._moved, *made, *(name for name, _ in self._constants))
        named += (*declared.keys[side], *protocol.ATTRIBUTES)
        self._named = frozenset((*named, self._own_ttl) if self._own_ttl else named)

    def state(self, key: bytes, image: Attributes, committed_us: int = 0) -> State:
        """Read a state.

        Args:
            key: the encoded key.
            image: the row.
            committed_us: when the change was committed that the record tells, µs.

        Raises:
            PoisonRecord: an attribute of the protocol can't be read, or a value is none.
        """
        del committed_us  # each row has its version
        get = image.get
        role = _ROLE_SPELLINGS.get(bytes(get(protocol.ROLE, b"")))
        if role is None:
            role = self._reading.row(self._side, image).role
        deleted = protocol.DELETED in image and self._is_deleted(image)
        parts = [key, b"%d" % deleted]
        for name in protocol.IDS, protocol.FLOOR, protocol.EVENTS:
            raw = get(name)
            parts.append(b"" if raw is None else spelled(bytes(raw)))
        if (parts[2] and parts[2][:5] != b'{"BS"') or (parts[3] and parts[3][:4] != b'{"B"'):
            self._reading.row(self._side, image)  # which says what is wrong with it
        parts.append(b"%d" % _whole(get(protocol.EVENT_VERSION), protocol.EVENT_VERSION))
        parts += self._ttl(image, role)
        for name in self._moved:
            raw = get(name)
            parts.append(b"" if raw is None else spelled(bytes(raw)))
        if not deleted:
            self._add_others(image, parts)
        return State(
            _whole(image[protocol.VERSION], protocol.VERSION) if protocol.VERSION in image else None,
            role,
            _whole(get(protocol.GENERATION), protocol.GENERATION),
            deleted,
            _digest(b"\x00".join(parts)),
        )

    def version_before(self, version: int) -> int:
        """Return the version of a record's old image as states have it. Args: version: `cf_mv`, 0 for none."""
        return version

    def _is_deleted(self, image: Attributes) -> bool:
        raw = bytes(image[protocol.DELETED])
        return raw == _TRUE or self._reading.row(self._side, image).deleted

    def _ttl(self, image: Attributes, role: str) -> tuple[bytes, bytes]:
        """Return the TTL value, and whether it takes effect where it should not."""
        own, carried = image.get(self._own_ttl), image.get(protocol.TTL)
        if own is not None:
            return spelled(bytes(own)), b"fires" if role == "S" else b""
        found = b"" if carried is None else spelled(bytes(carried))
        return b"" if found == b'{"N":"0"}' else found, b""

    def _add_others(self, image: Attributes, parts: list[bytes]) -> None:
        """Add what is computed, what an open mapping keeps, and whatever makes the row equal to nothing."""
        strange = image.keys() - self._named
        for name in sorted(strange):
            if self._reading.keeps(self._side, name):
                parts += (name.encode(), spelled(bytes(image[name])))
            else:
                parts.append(self._trouble)
        for name, known in self._constants:
            raw = image.get(name)
            if raw not in known:
                if raw is None or spelled(bytes(raw)) != spelled(bytes(known[0])):
                    parts.append(self._trouble)
                elif len(known) < _KNOWN_SPELLINGS:
                    known.insert(0, Raw(bytes(raw)))
        for rule, names in self._computed:
            given = (names, *(bytes(image.get(name, b"")) for name in names))
            made = self._made.get(given)
            if made is None:
                if len(self._made) >= _MADE:
                    self._made.clear()
                made = self._made[given] = self._make(rule, image)
            parts += made

    def _make(self, rule: Computed, image: Attributes) -> list[bytes]:
        try:
            found = sorted(computed_of(self._side, rule, image).items())
            return [part for name, value in found for part in (name.encode(), spelled(value))]
        except PoisonRecord:
            return [self._trouble]


def spelled(raw: bytes) -> bytes:
    """Return a value in the one spelling of it: `raw` itself, mostly.

    Raises:
        PoisonRecord: it is no attribute value.
    """
    start = raw[:6]
    if start in (b'{"N":"', b'{"S":"', b'{"B":"') and raw[-2:] == b'"}':
        inner = raw[6:-2]
        if start == b'{"N":"':
            if inner.isdigit() and (inner[0] != 48 or inner == b"0") and len(inner) <= MAX_DIGITS:
                return raw
        elif b"\\" not in inner and b'"' not in inner:
            return raw
    elif raw[:7] in (b'{"BS":[', b'{"SS":['):
        return _set(raw)
    elif start in (b'{"L":[', b'{"M":{') and not _UNUSUAL(raw):
        return _encode(_anything(raw), order="sorted")
    return respelled(raw)


def _set(raw: bytes) -> bytes:
    try:
        [(kind, members)] = _strings(raw).items()
    except (msgspec.MsgspecError, ValueError) as error:
        raise PoisonRecord(f"no attribute value: {described(raw)}") from error
    members.sort()
    return _encode({kind: members})


def respelled(raw: bytes | Raw) -> bytes:
    """As `spelled`, by decoding the value as its type.

    Raises:
        PoisonRecord: it is no attribute value.
    """
    kind, inner = value_of(raw)
    match kind:
        case "N":
            inner = number_of(inner).plain()
        case "M":
            members = [_encode(name) + b":" + respelled(inner[name]) for name in sorted(inner)]
            return b'{"M":{' + b",".join(members) + b"}}"
        case "L":
            return b'{"L":[' + b",".join(map(respelled, inner)) + b"]}"
        case "SS":
            inner = sorted(inner)
        case "NS":
            inner = sorted(number_of(each).plain() for each in inner)
        case "BS":
            inner = [each.decode() for each in _sorted_base64(inner)]
        case _:
            pass
    return _encode({kind: inner})


def _sorted_base64(members: list[bytes]) -> list[bytes]:
    return sorted(_encode(each)[1:-1] for each in members)


def _whole(raw: Raw | None, name: str) -> int:
    if raw is None:
        return 0
    text = bytes(raw)
    inner = text[6:-2]
    if text[:6] == b'{"N":"' and text[-2:] == b'"}' and inner.isdigit():
        return int(inner)
    return protocol.whole(raw, name)
