"""Which flags the running operations began under (design.md, section 4: heartbeats).

A pod may report a flag document only when no operation begun under an older one is running. So each operation belongs
to the epoch of the flags it began under, and the oldest epoch that still has one is what the pod can vouch for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import structlog

from crossfade.core.ownership.ramp import FlagDocument
from crossfade.core.values.errors import ConfigError
from crossfade.ports.clock import Clock
from crossfade.ports.flags import Flags, FlagSource

log = structlog.get_logger()


class Epoch:
    """The time from one change of the flags to the next.

    Attributes:
        document: the flag document.
        dual_write: the flag of that name.
        running: operations begun in it that have not ended.
    """

    __slots__ = ("document", "dual_write", "running")

    def __init__(self, document: FlagDocument, *, dual_write: bool) -> None:
        self.document = document
        self.dual_write = dual_write
        self.running = 0


class Epochs:
    """Reads the flags and counts the operations under each state of them."""

    def __init__(self, source: FlagSource, on_settled: Callable[[], None] = lambda: None) -> None:
        """Read the flags for the first time.

        Args:
            source: started already.
            on_settled: called whenever `settled` has changed.
        """
        self._source = source
        self._epochs: deque[Epoch] = deque()
        self.on_settled = on_settled
        self.age_s = 0.0
        self._take(source.current())

    @property
    def current(self) -> Epoch:
        """The epoch that operations begin in now."""
        return self._epochs[-1]

    @property
    def settled(self) -> Epoch:
        """The oldest epoch with a running operation; the current one when there is none."""
        return self._epochs[0]

    def begin(self) -> Epoch:
        """Count an operation in. `end` counts it out, whatever becomes of it."""
        epoch = self._epochs[-1]
        epoch.running += 1
        return epoch

    def end(self, epoch: Epoch) -> None:
        """Count an operation out."""
        epoch.running -= 1
        if not epoch.running and epoch is not self._epochs[-1]:
            self._settle()

    def look(self) -> None:
        """Read the flags as the source knows them."""
        self._take(self._source.current())

    async def refresh(self) -> None:
        """Read the flags from where they come from."""
        self._take(await self._source.refresh())

    async def watch(self, every_s: float, clock: Clock) -> None:
        """Look again and again, until cancelled. One evaluation serves all requests until the next."""
        while True:
            await clock.sleep(every_s)
            try:
                self.look()
            except (ConfigError, ValueError, TypeError) as error:  # a flag of another make: the last good one holds
                log.warning("flags can't be read", error=str(error))

    def _take(self, flags: Flags) -> None:
        self.age_s = flags.age_s
        now = self._epochs[-1] if self._epochs else None
        if now is None or (now.document, now.dual_write) != (flags.document, flags.dual_write):
            self._epochs.append(Epoch(flags.document, dual_write=flags.dual_write))
            self._settle()

    def _settle(self) -> None:
        before = self._epochs[0]
        while len(self._epochs) > 1 and not self._epochs[0].running:
            self._epochs.popleft()
        if self._epochs[0] is not before:
            self.on_settled()
