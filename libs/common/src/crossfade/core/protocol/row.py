"""A row as every protocol can speak of it: what it holds, and at which version. The rest is the protocol's own."""

from __future__ import annotations

from typing import Final, Protocol, TypeVar

from msgspec import Raw

from crossfade.core.values.canonical import canonical, encode

_TTL_NAME: Final = "\x00ttl"
"""Stands for the TTL value among the attributes; no attribute is called so."""


class Row(Protocol):
    """One row of one table, as its protocol reads it."""

    @property
    def version(self) -> int | None:
        """What orders it; None when it carries none."""

    @property
    def deleted(self) -> bool:
        """Whether it stands for one that is not there."""

    @property
    def ttl(self) -> bytes:
        """Raw TTL value; empty when there is none."""

    @property
    def content(self) -> tuple[tuple[str, bytes], ...]:
        """The mapped attributes (no key, TTL or protocol attribute) as sorted (name, raw value) pairs."""

    def value(self, name: str) -> Raw | None:
        """Return one mapped attribute, None when the row lacks it."""

    def holding(self: RowT, content: tuple[tuple[str, bytes], ...]) -> RowT:
        """Return the same row with other content."""

    def at(self: RowT, version: int) -> RowT:
        """Return the same row at another version."""


RowT = TypeVar("RowT", bound=Row)


def canonical_content(row: Row) -> bytes:
    """Return the canonical form of a row's mapped attributes and its TTL value.

    One that stands for a deleted row has none, so all of them are the same. Protocol attributes are not content.

    Raises:
        PoisonRecord: a value is not an attribute value.
    """
    if row.deleted:
        return b"{}"
    content = {name: canonical(raw) for name, raw in row.content}
    if row.ttl:
        content[_TTL_NAME] = canonical(row.ttl)
    return encode(content)


def same_content(one: Row, other: Row) -> bool:
    """Say whether two rows, both in the names of one side, have the same content.

    Two deleted ones have; a deleted and a live one never have, not even an empty one.

    Raises:
        PoisonRecord: a value is not an attribute value.
    """
    if one.deleted or other.deleted:
        return one.deleted and other.deleted
    if one.content == other.content and one.ttl == other.ttl:
        return True
    return canonical_content(one) == canonical_content(other)
