"""Flags in memory: publisher and source in one."""

from __future__ import annotations

from crossfade.core.ownership.ramp import FlagDocument
from crossfade.ports.flags import Flags, refuse_older


class MemoryFlags:
    """What was published last is what is read, at once."""

    def __init__(self, document: FlagDocument | None = None, *, dual_write: bool = False) -> None:
        self._flags = Flags(document or FlagDocument(), dual_write, age_s=0.0)

    async def publish(self, document: FlagDocument, *, dual_write: bool) -> None:
        """Replace the flags; see `crossfade.ports.flags.FlagPublisher`."""
        refuse_older(document, self._flags.document, "the flag document in place")
        self.show(document, dual_write=dual_write)

    async def in_place(self) -> Flags | None:
        """Return the flags as published last."""
        return self._flags

    def show(self, document: FlagDocument, *, dual_write: bool) -> None:
        """Replace the flags, whatever is in place: for a pod that sees an old or a mistaken document."""
        self._flags = Flags(document, dual_write, age_s=0.0)

    def current(self) -> Flags:
        """Return the flags as published last."""
        return self._flags

    async def refresh(self) -> Flags:
        """Return the flags as published last."""
        return self._flags
