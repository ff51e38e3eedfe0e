"""Flags, as every service reads them."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from crossfade.core.ramp import FlagDocument


class Flags(NamedTuple):
    """What the flags say now.

    Attributes:
        document: the flag document.
        dual_write: whether the API copies each owner write to the other table at once.
        age_s: since the source was last read successfully.
    """

    document: FlagDocument
    dual_write: bool
    age_s: float


class FlagSource(Protocol):
    """Where flags come from. Reading is cheap; evaluate once a request."""

    def current(self) -> Flags:
        """Return the flags as last read."""
        ...

    async def refresh(self) -> Flags:
        """Read the source now, and return what it says."""
        ...


class FlagPublisher(Protocol):
    """Where the controller writes flags."""

    async def publish(self, document: FlagDocument, *, dual_write: bool) -> None:
        """Publish a new file, whole."""
        ...
