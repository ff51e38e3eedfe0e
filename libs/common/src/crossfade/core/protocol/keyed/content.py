"""The content of an item: its mapped attributes and its TTL value, without what the protocol adds."""

from __future__ import annotations

from typing import Final

from crossfade.core.protocol.keyed.item import Item
from crossfade.core.values.canonical import canonical, encode

_TTL_NAME: Final = "\x00ttl"
"""Stands for the TTL value among the attributes; no attribute is called so."""


def canonical_content(item: Item) -> bytes:
    """Return the canonical form of an item's mapped attributes and its TTL value.

    A tombstone or stub has none, so all of them are the same. Protocol attributes are not content.

    Raises:
        PoisonRecord: a value is no attribute value.
    """
    if item.deleted:
        return b"{}"
    content = {name: canonical(raw) for name, raw in item.content}
    if item.ttl:
        content[_TTL_NAME] = canonical(item.ttl)
    return encode(content)


def same_content(one: Item, other: Item) -> bool:
    """Say whether two items, both in the names of one side, have the same content.

    Two tombstones have; a tombstone and a live item never have, not even an empty one.

    Raises:
        PoisonRecord: a value is no attribute value.
    """
    if one.deleted or other.deleted:
        return one.deleted and other.deleted
    if one.content == other.content and one.ttl == other.ttl:
        return True
    return canonical_content(one) == canonical_content(other)
