"""The marks of applied writes, as API and replicator both spell them (design.md, section 3, rule 7).

A mark says: the destination table holds this key at this version or a higher one. Its version is text of 20 digits and
is compared as bytes, because Lua, sorted sets and JavaScript round numbers of 19 digits. The name holds the table's id,
not its name: a table that was dropped and imported again starts without marks.
"""

from __future__ import annotations

from typing import Final

from crossfade.core.values.shape import Direction

DIGITS: Final = 20
"""Of a marked version; 64 bits fit."""

_HIGHEST: Final = 10**DIGITS


def mark_prefix(migration: str, table_id: str, direction: Direction) -> bytes:
    """Return what comes before the encoded key in a mark's name: `cf:{migration}:{table id}:{direction}:`.

    Args:
        migration: name of the mapping.
        table_id: DynamoDB's `TableId` of the destination table.
        direction: which way the marked writes went.
    """
    return f"cf:{migration}:{table_id}:{direction.value}:".encode()


def mark_value(version: int) -> bytes:
    """Return the value of a mark: 20 digits, so that bytes order as versions do.

    Raises:
        ValueError: the version is negative or has more digits.
    """
    if not 0 <= version < _HIGHEST:
        raise ValueError(f"no version of {DIGITS} digits: {version}")
    return b"%020d" % version


def marked_version(value: bytes | None) -> int | None:
    """Return the version a mark holds; None for no mark, or for one that somebody else wrote."""
    if value is None or len(value) != DIGITS or not value.isdigit():
        return None
    return int(value)
