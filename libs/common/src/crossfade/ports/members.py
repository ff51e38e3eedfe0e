"""Members: all who may write a standby row under the plain protocol.

They register, then read the map consistently, then work. In a sealed map each acknowledges the epoch with nothing on
the wire, and writes nothing until it has read a map that is open.
"""

from __future__ import annotations

from typing import Protocol

from crossfade.core.protocol.plain.members import Member


class Members(Protocol):
    """The list of members."""

    async def beat(self, name: str, duty: str, *, acked: int, unanswered_s: float) -> None:
        """Register, and stay registered. Raises when the list can't be written: then nothing may be sent."""
        ...

    async def leave(self, name: str) -> None:
        """Leave at a clean stop, with nothing on the wire."""
        ...

    async def all(self) -> list[Member]:
        """Return all that have not left, consistently."""
        ...

    async def bury(self, name: str) -> None:
        """Take out one that died, after its requests can no longer take effect."""
        ...
