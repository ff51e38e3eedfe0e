"""An item as the protocol sees it: protocol attributes decoded, everything else raw and hashable."""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple

from msgspec import Raw

from crossfade.core.protocol.events import EVENTS as EVENTS
from crossfade.core.values import image as wire
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.image import PROTOCOL_PREFIX, Image
from crossfade.core.values.shape import Side, TableShape, absent_is_active

FIRST_STAMPED: Final = 10**17
"""Versions from here on come from an owner write; below it they are commit times in µs, of unstamped writers."""

MV: Final = "cf_mv"
ROLE: Final = "cf_role"
GEN: Final = "cf_gen"
RECENT: Final = "cf_recent"
FLOOR: Final = "cf_floor"
EMV: Final = "cf_emv"
DELETED: Final = "cf_deleted"
TTL: Final = "cf_ttl"

CARRIED: Final = (RECENT, FLOOR, EVENTS, EMV, DELETED, TTL)
"""Protocol attributes that travel with a state transfer. Version travels as the fence; role and generation never do."""

_KNOWN: Final = frozenset({MV, ROLE, GEN, *CARRIED})

NO_TTL: Final = b'{"N":"0"}'
"""What the seal leaves in `cf_ttl` when there was no TTL value (a missing operand would fail the write)."""


class Role(Enum):
    """Whether a table owns the key."""

    ACTIVE = "A"
    STANDBY = "S"


_ROLES: Final = {spelled % role.value.encode(): role for spelled in (b'{"S":"%b"}', b'{"S": "%b"}') for role in Role}
"""The usual spellings, so that almost no role has to be decoded."""


class Item(NamedTuple):
    """One item of one table.

    Attributes:
        version: `cf_mv`; None when the item carries none (never written by the protocol, nor imported).
        role: `cf_role`; None when missing, which means what `absent_is_active` says.
        generation: `cf_gen`, 0 when missing.
        recent: `cf_recent`, the transaction ids applied last.
        floor: `cf_floor`, the highest id ever trimmed; empty when none was.
        events: raw `cf_events`; empty when missing.
        event_version: `cf_emv`, version of the write that set the events; 0 when missing.
        deleted: `cf_deleted`: a tombstone or a stub.
        ttl: raw TTL value: of `cf_ttl`, or of the table's own TTL attribute; empty when there is none.
        content: the mapped attributes (no key, TTL or protocol attribute) as sorted (name, raw value) pairs.
    """

    version: int | None = None
    role: Role | None = None
    generation: int = 0
    recent: frozenset[bytes] = frozenset()
    floor: bytes = b""
    events: bytes = b""
    event_version: int = 0
    deleted: bool = False
    ttl: bytes = b""
    content: tuple[tuple[str, bytes], ...] = ()

    def value(self, name: str) -> Raw | None:
        """Return one mapped attribute, None when the item lacks it."""
        for each, raw in self.content:
            if each == name:
                return Raw(raw)
        return None

    def holding(self, content: tuple[tuple[str, bytes], ...]) -> Item:
        """See `crossfade.core.protocol.row.Row`."""
        return self._replace(content=content)

    def at(self, version: int) -> Item:
        """See `crossfade.core.protocol.row.Row`."""
        return self._replace(version=version)


def is_unknown(name: str) -> bool:
    """Say whether an attribute has the protocol's prefix, but is none that this release knows."""
    return name.startswith(PROTOCOL_PREFIX) and name not in _KNOWN


def version_of(item: Item | None) -> int:
    """Return the version that orders the item; 0 for an absent or unstamped one."""
    return (item.version or 0) if item else 0


def generation_of(item: Item | None) -> int:
    """Return the generation; 0 for an absent item."""
    return item.generation if item else 0


def is_active(item: Item | None, side: Side, *, complete: bool = False) -> bool:
    """Say whether `side` owns the key, as far as this item tells."""
    if item is None or item.role is None:
        return absent_is_active(side, complete=complete)
    return item.role is Role.ACTIVE


def is_fence(item: Item | None) -> bool:
    """Say whether this is a standby that was shut by a fence: an odd generation is a give-back's (ADR 0014)."""
    return item is not None and item.role is Role.STANDBY and item.generation % 2 == 1


def is_held_out(item: Item | None) -> bool:
    """Say whether the key was given back to this side, because the other table refused it for good (ADR 0014).

    Such an item is active at an odd generation. A flag with a higher generation takes the key up again.
    """
    return item is not None and item.role is Role.ACTIVE and item.generation % 2 == 1


def parse_item(image: Image, shape: TableShape) -> Item:
    """Decode the protocol attributes of an item.

    Raises:
        PoisonRecord: a protocol attribute has a wrong type.
    """
    get = image.get
    version, role, gen, emv = get(MV), get(ROLE), get(GEN), get(EMV)
    recent, floor, deleted, events = get(RECENT), get(FLOOR), get(DELETED), get(EVENTS)
    ttl = bytes(get(shape.ttl) or b"") if shape.ttl else b""
    if not ttl:
        ttl = bytes(get(TTL) or b"")
        if ttl and wire.number(Raw(ttl)) == 0:
            ttl = b""
    key, own_ttl = shape.key, shape.ttl
    content = [
        (name, bytes(raw))
        for name, raw in image.items()
        if name not in _KNOWN and name not in key and name != own_ttl and not name.startswith(PROTOCOL_PREFIX)
    ]
    content.sort()
    return Item(  # in the order of its attributes: every read row passes here, and names would double the cost
        None if version is None else wire.number(version),
        None if role is None else role_of(role),
        0 if gen is None else wire.number(gen),
        frozenset() if recent is None else wire.binary_set(recent),
        b"" if floor is None else wire.binary(floor),
        b"" if events is None else bytes(events),
        0 if emv is None else wire.number(emv),
        deleted is not None and wire.boolean(deleted),
        ttl,
        tuple(content),
    )


def role_of(value: Raw) -> Role:
    """Decode a role.

    Raises:
        PoisonRecord: there is no such role.
    """
    role = _ROLES.get(bytes(value))
    if role is not None:
        return role
    try:
        return Role(wire.string(value))
    except ValueError as error:
        raise PoisonRecord(f"no such {ROLE}: {bytes(value)[:80]!r}") from error


def build_image(item: Item, shape: TableShape, key: Image) -> Image:
    """Return the item as it stands in its table; the inverse of `parse_item`.

    The TTL value stands in the table's own TTL attribute while the item is active there, in `cf_ttl` otherwise.
    """
    image = dict(key)
    image |= {name: Raw(raw) for name, raw in item.content}
    if item.version is not None:
        image[MV] = wire.of_number(item.version)
    if item.role is not None:
        image[ROLE] = wire.of_string(item.role.value)
    if item.generation or item.role is not None:  # a role never stands without its generation
        image[GEN] = wire.of_number(item.generation)
    if item.recent:
        image[RECENT] = wire.of_binary_set(item.recent)
    if item.floor:
        image[FLOOR] = wire.of_binary(item.floor)
    if item.events:
        image[EVENTS] = Raw(item.events)
    if item.event_version:
        image[EMV] = wire.of_number(item.event_version)
    if item.deleted:
        image[DELETED] = wire.of_boolean(True)
    if item.ttl:
        fires = shape.ttl is not None and is_active(item, shape.side)
        image[shape.ttl if fires and shape.ttl else TTL] = Raw(item.ttl)
    return image
