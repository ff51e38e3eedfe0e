"""One table of the migration, as the keyed protocol's own parts use it: its items, its writes."""

from __future__ import annotations

from typing import TypeAlias

from crossfade.core.protocol.keyed.item import Item
from crossfade.core.protocol.keyed.writes import Write
from crossfade.ports.table import Table

OwnedTable: TypeAlias = Table[Item, Write]
"""Owner writes, handover writes and reads of one side."""
