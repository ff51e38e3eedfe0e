"""What a flip reaches, beside the rest of the controller's world."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from crossfade.application.membership import Membership
from crossfade.core.values.clocks import Skew
from crossfade.core.values.shape import Side
from crossfade.ports.guard import Guards
from crossfade.ports.members import Members
from crossfade.ports.owner_map import OwnerMaps
from crossfade.ports.plain_table import PlainTable
from crossfade.ports.tombstones import Tombstones

Hook = Callable[[Sequence[str], Mapping[str, str], float], Awaitable[tuple[int, str]]]
"""Runs a command, with variables beside the process's own, for at most so many seconds; its exit code and output."""


@dataclass(frozen=True)
class PlainPorts:
    """The ports.

    Attributes:
        maps: the map item.
        members: all that may write a standby row.
        membership: the coordinator is one of them: its place in the list.
        tombstones: the durable list of them.
        tables: both sides, whole rows.
        guards: resource policies; None where they may not be changed.
        hook: runs hold and release commands.
        skews: of our wall clock against AWS's where each table is; None when it is unknown.
        name: of this process as a member, unique for its life.
    """

    maps: OwnerMaps
    members: Members
    membership: Membership
    tombstones: Tombstones
    tables: Mapping[Side, PlainTable]
    guards: Guards | None
    hook: Hook
    skews: Mapping[Side, Callable[[], Skew | None]]
    name: str
