"""The canary under the plain protocol: a key that only markers write to (`crossfade_controller.plain.moments`)."""

from __future__ import annotations

from crossfade.core.migration.evidence import Probe
from crossfade.core.migration.state import Migration
from crossfade_controller.plain.moments import canary_of
from crossfade_controller.world import World


class StillCanary:
    """Writes nothing while evidence is collected: an owner's rows are the application's."""

    def __init__(self, world: World) -> None:
        self._key = canary_of(world)

    def record(self) -> Probe:
        """Return what is known: the key."""
        return Probe(key="" if self._key is None else self._key.decode())

    async def probe(self, _state: Migration) -> None:
        """Write nothing."""

    async def go_home(self) -> None:
        """There is nowhere to go."""
