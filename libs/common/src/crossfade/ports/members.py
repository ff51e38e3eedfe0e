"""Members: all who may write a standby row under the plain protocol.

They register, then read the map consistently, then work. In a sealed map each acknowledges the epoch with nothing on
the wire, and writes nothing until it has read a map that is open.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Member(NamedTuple):
    """One member, as its last beat says.

    Attributes:
        name: of the process, unique for its life.
        role: "forward", "reverse", "repair", "redrive", "load" or "tail".
        acked: the epoch it acknowledged last; 0 for none.
        unanswered_s: for how long the oldest request that it sent has had no answer, at the beat; 0.0 for none.
        is_live: whether it beats, on the reader's own clock. One that died with a request unanswered is waited out
            (the signature limit) before a flip.
        silent_s: how long it hasn't beaten, on the reader's own clock.
    """

    name: str
    role: str
    acked: int
    unanswered_s: float
    is_live: bool
    silent_s: float


class Members(Protocol):
    """The list of members."""

    async def beat(self, name: str, role: str, *, acked: int, unanswered_s: float) -> None:
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
