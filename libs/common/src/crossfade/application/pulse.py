"""The pod's heartbeat, and what it permits: owner writes only while its word surely counts (design.md, section 4).

    beat sent             writes stop                  the word expires, on any reader's clock
    |---------------------|----------------------------|
    0                     lease - longest operation    lease

A beat counts from when it was *sent*, since no reader sees it earlier. Owner writes stop one longest operation before
the lease ends, so that none is running when it does.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

import structlog

from crossfade.application.epochs import Epochs
from crossfade.contracts.heartbeat import Heartbeat
from crossfade.core.ownership.ramp import FlagDocument
from crossfade.core.values.errors import CrossfadeError, StateMissing, Unavailable
from crossfade.ports.clock import Clock
from crossfade.ports.control import Heartbeats

log = structlog.get_logger()

NO_MIGRATION: Final = FlagDocument()
"""What the flags say before any migration: nothing that a lease would guard."""

_BEAT_PART: Final = 6
"""A beat may take this part of the lease: so one that hangs leaves time for another before writes stop."""

_RETRY_PART: Final = 12
"""After a beat that failed, the next is tried after this part of the lease."""


class Pulse:
    """Beats every third of the lease and whenever the flags have settled, and says whether owner writes are allowed."""

    def __init__(
        self,
        heartbeats: Heartbeats,
        epochs: Epochs,
        *,
        clock: Clock,
        pod: str,
        lease_s: float,
        longest_operation_s: float,
    ) -> None:
        """Prepare it; `beat` once before the first request, then `run`.

        Args:
            heartbeats: where the word is kept.
            epochs: what it is about.
            clock: of this process.
            pod: name of this process, unique for each start.
            lease_s: how long a word counts.
            longest_operation_s: bound of one owner write, handover included; well below `lease_s`.
        """
        self._heartbeats = heartbeats
        self._epochs = epochs
        self._pod = pod
        self._lease_s = lease_s
        self._writes_s = lease_s - longest_operation_s
        self._clock = clock
        self._until_s = float("-inf")
        self._unregistered = False
        self._failure = ""
        self._settled = asyncio.Event()
        epochs.on_settled = self._settled.set

    @property
    def counted(self) -> bool:
        """Whether the pod's word counts, so that owner writes are allowed."""
        return self._clock.monotonic() < self._until_s or self._free()

    @property
    def hindrance(self) -> str:
        """Why owner writes are not allowed, for the health page; empty when they are."""
        if self.counted:
            return ""
        return "no owner writes: the heartbeat can't be renewed" + (self._failure and f" ({self._failure})")

    def check(self) -> None:
        """Allow an owner write, or refuse it.

        Raises:
            Unavailable: the pod's word may soon expire.
        """
        if not self.counted:
            raise Unavailable(
                "this pod can't renew its heartbeat; another one can serve the call", retry_after_s=self._retry_s()
            )

    async def beat(self) -> bool:
        """Write the pod's word once, and say whether that worked."""
        sent_s = self._clock.monotonic()
        try:
            if sent_s >= self._until_s:
                # Nobody waited for us meanwhile, so the flags may have moved on by any number of steps.
                await self._epochs.refresh()
            settled = self._epochs.settled
            word = Heartbeat(
                pod=self._pod,
                document=settled.document,
                dual_write=settled.dual_write,
                lease_s=self._lease_s,
                beat_us=self._clock.wall_us(),
            )
            sent_s = self._clock.monotonic()
            async with asyncio.timeout(self._lease_s / _BEAT_PART):
                await self._heartbeats.beat(word)
        except (CrossfadeError, TimeoutError) as error:
            self._failed(error)
            return False
        if self._unregistered or self._until_s == float("-inf"):
            log.info("registered", pod=self._pod, document=word.document._asdict(), dual_write=word.dual_write)
        self._unregistered, self._failure = False, ""
        self._until_s = sent_s + self._writes_s
        return True

    async def run(self) -> None:
        """Beat until cancelled."""
        went = True
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._lease_s / (3 if went else _RETRY_PART)):
                    await self._settled.wait()
            self._settled.clear()
            went = await self.beat()

    async def leave(self) -> None:
        """Withdraw the word at a clean stop; if that fails, it expires on its own."""
        self._until_s = float("-inf")
        try:
            async with asyncio.timeout(self._lease_s / 3):
                await self._heartbeats.leave(self._pod)
        except (CrossfadeError, TimeoutError) as error:
            log.warning("heartbeat not withdrawn", pod=self._pod, error=str(error))

    def _free(self) -> bool:
        """No control table and no migration in the flags: there is nothing that the pod could disturb."""
        return self._unregistered and self._epochs.current.document == NO_MIGRATION

    def _failed(self, error: Exception) -> None:
        was_unregistered, self._unregistered = self._unregistered, isinstance(error, StateMissing)
        self._failure = error.code if isinstance(error, CrossfadeError) else "timeout"
        if not self._free():
            log.warning("heartbeat failed", pod=self._pod, error=str(error), writes_allowed=self.counted)
        elif not was_unregistered:
            log.info("no control table: no migration is prepared yet", pod=self._pod)

    def _retry_s(self) -> float:
        return self._lease_s / _RETRY_PART
