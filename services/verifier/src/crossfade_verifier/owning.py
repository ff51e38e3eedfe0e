"""Which table owns, as the map says it (`crossfade.core.protocol.plain.map`), read with the verifier's own eyes.

Each look is a consistent read of the one item. Under the keyed protocol rows tell who owns; they need no map.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol

from crossfade.core.protocol.plain.map import State
from crossfade.core.values.shape import Side
from crossfade.ports.owner_map import OwnerMaps


class View(NamedTuple):
    """What the map said.

    Attributes:
        owner: the table that owns.
        epoch: rises with each change of the map; 0 before it was written.
        turn: counts the tables' flips, from 1; 0 where rows tell who owns.
        is_open: whether a class may be called, and a pass begun: no flip is under way.
        why: why not.
        floor: the lowest fence that a copy of this turn has; 0 before the first flip.
    """

    owner: Side = Side.SOURCE
    epoch: int = 0
    turn: int = 0
    is_open: bool = True
    why: str = ""
    floor: int = 0


NO_MAP: Final = View()
"""Under a protocol whose rows tell who owns."""

UNWRITTEN: Final = View(is_open=False, why="which table owns isn't written yet: the migration has not started")


class Owning(Protocol):
    """Tells which table owns.

    Attributes:
        view: as of the last look.
    """

    view: View

    async def look(self) -> View:
        """Look now.

        Raises:
            CrossfadeError: the map can't be read.
        """
        ...

    async def against(self) -> tuple[str, ...]:
        """Look, and return what speaks against a flip now. Errors as of `look`."""
        ...


class ByRows:
    """Each row tells."""

    view = NO_MAP

    async def look(self) -> View:
        """See `Owning`."""
        return NO_MAP

    async def against(self) -> tuple[str, ...]:
        """See `Owning`."""
        return ()


class ByMap:
    """The map tells."""

    def __init__(self, maps: OwnerMaps) -> None:
        """Take what reads the map item consistently."""
        self._maps = maps
        self.view = UNWRITTEN

    async def look(self) -> View:
        """See `Owning`. A view never goes back to an older epoch, however late an answer comes."""
        found = await self._maps.read()
        if found is not None and found.epoch >= self.view.epoch:
            is_open = found.state is State.OPEN
            why = "" if is_open else f"the map is {found.state.value} at epoch {found.epoch}: a flip is under way"
            self.view = View(found.owner, found.epoch, len(found.intervals), is_open, why, found.floor)
        return self.view

    async def against(self) -> tuple[str, ...]:
        """See `Owning`."""
        view = await self.look()
        return () if view.is_open else (view.why,)
