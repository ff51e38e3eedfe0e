"""What a row means that stands where a row of the snapshot is to be written (ADR 0047).

nothing there                         it is written
the same, or a later state of it      an earlier try, or the stream, has brought it: nothing to do
anything else                         somebody else's: never overwritten, and listed for a human decision

A later state of the row of *another* source key is somebody else's too, where keys change.
"""

from __future__ import annotations

from enum import Enum

from crossfade.core.mapping.interface import Mapping
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.image import Image
from crossfade.core.values.shape import Side


class Landing(Enum):
    """What became of a row that was to be inserted."""

    WRITTEN = "written"
    THERE = "there"  # the same row stands there
    NEWER = "newer"  # a copy of a later state stands there
    OTHER = "other"  # another row stands there


def landing(mapping: Mapping, row: Image, met: Image | None) -> Landing:
    """Say what became of a row of the snapshot.

    Args:
        mapping: of the migration.
        row: as it was to be inserted into the target table.
        met: what stood there; None for nothing.
    """
    if met is None:
        return Landing.WRITTEN
    if mapping.is_anothers(met, row):
        return Landing.OTHER
    protocol = mapping.protocol
    read, rows = protocol.reader(mapping.shape(Side.TARGET)).row, protocol.rows()
    try:
        ours, theirs = read(row), read(met)
        if rows.version_of(theirs) > rows.version_of(ours):
            return Landing.NEWER
        same = rows.version_of(theirs) == rows.version_of(ours) and rows.is_same_state(ours, theirs)
    except PoisonRecord:
        return Landing.OTHER
    return Landing.THERE if same else Landing.OTHER
