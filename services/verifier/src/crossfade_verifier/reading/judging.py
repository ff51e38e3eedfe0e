"""What the verifier asks of the rows it has read: who owns a key, and whether two rows are the same.

The ownership rules of design.md, section 4: written a second time, as what `crossfade.core.protocol.seam.RowReader`
answers for rows of the verifier's own reading.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec
import xxhash

from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.shape import Side
from crossfade_verifier.reading.rows import Seen, content_form, same_content
from crossfade_verifier.reading.values import form_of

FIRST_ORDERED: Final = 10**17
"""Versions below are commit times in µs of one table; from here on an owner write gave them (design.md, section 3)."""

_digest = xxhash.xxh3_128_digest
_encode = msgspec.msgpack.encode


class OwnRows(NamedTuple):
    """Answers at one state of the flag document."""

    complete: bool = False

    def absent_owns(self, side: Side) -> bool:
        """Say whether a row that is absent, or has no role, owns its key: in source, once complete in target."""
        return (side is Side.TARGET) is self.complete

    def owns(self, item: Seen | None, side: Side) -> bool:
        """An active row does."""
        return self.absent_owns(side) if item is None or not item.role else item.role == "A"

    def owner_of(self, source: Seen | None, target: Seen | None) -> Side | None:
        """Return the one side that owns the key; a row that is there wins over one that is absent."""
        owners = [side for side, item in ((Side.SOURCE, source), (Side.TARGET, target)) if self.owns(item, side)]
        if len(owners) == 2:
            owners = [side for side, item in ((Side.SOURCE, source), (Side.TARGET, target)) if item is not None]
        return owners[0] if len(owners) == 1 else None

    def is_contested(self, source: Seen | None, target: Seen | None) -> bool:
        """Say whether both are there, and active."""
        both = source is not None and target is not None
        return both and self.owns(source, Side.SOURCE) and self.owns(target, Side.TARGET)

    def why_unreadable(self, item: Seen | None) -> str:
        """Return the cause that the reading found."""
        return "" if item is None else item.unreadable

    def is_held_out(self, item: Seen | None) -> bool:
        """Say whether the row is active at an odd generation (ADR 0014)."""
        return item is not None and item.role == "A" and item.generation % 2 == 1

    def is_live(self, item: Seen | None) -> bool:
        """Say whether there is anything to read."""
        return item is not None and not item.deleted

    def version_of(self, item: Seen | None) -> int:
        """Return `cf_mv`, 0 where there is none."""
        return 0 if item is None or item.version is None else item.version

    def is_ordered(self, version: int) -> bool:
        """Say whether an owner write gave the version."""
        return version >= FIRST_ORDERED

    def standing_of(self, item: Seen | None) -> int:
        """Return `cf_gen`, 0 where there is none."""
        return 0 if item is None else item.generation

    def described(self, item: Seen) -> dict[str, str | None]:
        """Return role and generation, as text."""
        return {"role": item.role or None, "generation": str(item.generation)}

    def digest_of(self, item: Seen) -> bytes:
        """Return 16 bytes over what owner and standby have in common: content, TTL, ids, events and the like."""
        try:
            events, content = form_of(item.events) if item.events else b"", content_form(item)
        except PoisonRecord:
            events, content = item.events, repr((item.side, item.content, item.ttl)).encode()
        counts = f"{item.event_version} {item.deleted:d} {item.fires:d}"
        return _digest(_encode((counts, sorted(item.ids), item.floor, events, content)))

    def is_same_state(self, one: Seen, other: Seen) -> bool:
        """As `digest_of`, without forms where the bytes are the same.

        Raises:
            PoisonRecord: a value is no attribute value.
        """
        return (
            one.ids == other.ids
            and (one.floor, one.event_version, one.deleted, one.fires)
            == (other.floor, other.event_version, other.deleted, other.fires)
            and (one.events == other.events or _same(one.events, other.events))
            and same_content(one, other)
        )

    def are_comparable(self, one: Seen, other: Seen) -> bool:
        """Say whether what two rows differ in is worth naming: where they are of one version."""
        return one.version == other.version


def _same(one: bytes, other: bytes) -> bool:
    return bool(one) and bool(other) and form_of(one) == form_of(other)


def differing(one: Seen, other: Seen) -> list[str]:
    """Return what two rows of one version differ in: attributes of the migration in the source's names, and others."""
    ours, theirs = dict(one.content), dict(other.content)
    found = [name for name in sorted(ours.keys() | theirs.keys()) if not _alike(ours.get(name), theirs.get(name))]
    found = [name.lstrip("\x00") for name in found]
    for name, differ in (
        ("TTL", not _alike(one.ttl, other.ttl)),
        ("live TTL on a standby", one.fires or other.fires),
        ("cf_recent", one.ids != other.ids),
        ("cf_floor", one.floor != other.floor),
        ("cf_events", not _alike(one.events, other.events)),
        ("cf_emv", one.event_version != other.event_version),
        ("cf_deleted", one.deleted != other.deleted),
    ):
        if differ:
            found.append(name)
    if not found and one.generation != other.generation:
        found.append("cf_gen")
    return found + [f"{each.side.value}: {each.trouble}" for each in (one, other) if each.trouble]


def _alike(one: bytes | None, other: bytes | None) -> bool:
    if not one or not other:
        return not one and not other
    try:
        return one == other or form_of(one) == form_of(other)
    except PoisonRecord:
        return False
