"""A member of a plain migration: what a process does so that it may write standby rows (`crossfade.ports.members`).

    register → read the map → work                       at the start
    map sealed → nothing begins, what runs ends → acknowledge the epoch
    map open again → read, work

    beat sent                  requests stop                 others may call it dead
    |--------------------------|-----------------------------|--------- … signature limit ---------|
    0                          2/3 of the lease              lease                  its requests can't land

A member's word counts from when it was *sent*. `check` is asked by the wire client after it took the date that it
signs (`Wire(permit=…)`): so a process that was stopped for longer than its lease either finds that its word no longer
counts, or sends a request whose signature is as old as its word, and DynamoDB refuses it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog

from crossfade.core.protocol.plain.map import OwnerMap, State
from crossfade.core.values.errors import CrossfadeError, StoreUnavailable
from crossfade.ports.clock import Clock
from crossfade.ports.members import Members
from crossfade.ports.owner_map import OwnerMaps

log = structlog.get_logger()

_COUNTS_PART: Final = 2 / 3
"""A member's own word counts for this part of the lease; the rest is for a request that is about to be signed."""

_BEAT_PART: Final = 6
"""A beat comes so often in a lease."""

LOOK_S: Final = 0.2
"""How often a member reads the map: one read unit each time."""


class Membership:
    """One process's place in the list of members, and its view of the map."""

    def __init__(
        self,
        maps: OwnerMaps,
        members: Members,
        *,
        clock: Clock,
        name: str,
        duty: str,
        lease_s: float,
        signature_s: float,
        look_s: float = LOOK_S,
    ) -> None:
        """Take what it goes by.

        Args:
            maps: the map item.
            members: the list.
            clock: of this process.
            name: of this process, unique for each start.
            duty: see `crossfade.core.protocol.plain.members.Member`.
            lease_s: how long a beat is valid, as the list's adapter was told.
            signature_s: how long after its date a signed request may still take effect.
            look_s: how often the map is read; so much later a seal may be acknowledged.
        """
        self._maps = maps
        self._members = members
        self._clock = clock
        self._name, self._duty = name, duty
        self._lease_s, self._signature_s, self._look_s = lease_s, signature_s, look_s
        self._view: OwnerMap | None = None
        self._acked = 0
        self._said_s = self._counts_until_s = float("-inf")
        self._unknown_s: float | None = None
        self._working = 0
        self._changed = asyncio.Event()

    @property
    def view(self) -> OwnerMap | None:
        """The map as this process knows it; None before it is one."""
        return self._view

    @property
    def acked(self) -> int:
        """The epoch acknowledged last; 0 for none."""
        return self._acked

    def check(self) -> None:
        """Let a request be signed, or refuse it.

        Raises:
            StoreUnavailable: this member's word no longer counts: others may call it dead.
        """
        if self._clock.monotonic() >= self._counts_until_s:
            raise StoreUnavailable(
                f"{self._name} can't renew its place in the list of members, so nothing may be written: a flip may be "
                "under way without it"
            )

    def outcome_unknown(self) -> None:
        """Note that a request has no answer, and may yet take effect."""
        self._unknown_s = self._clock.monotonic()

    async def look(self) -> OwnerMap | None:
        """Read the map consistently."""
        found = await self._maps.read()
        if found is not None and (self._view is None or found.epoch > self._view.epoch):
            self._view = found
            self._stir()
        return self._view

    async def beat(self) -> None:
        """Say that this member is there, then read the map, and acknowledge a seal that nothing stands against.

        Raises:
            CrossfadeError: list or map don't answer.
        """
        await self._say()
        await self._follow()

    async def run(self) -> None:
        """Beat, and follow the map more often than that, until cancelled."""
        while True:
            try:
                if self._clock.monotonic() - self._said_s >= self._lease_s / _BEAT_PART:
                    await self._say()
                await self._follow()
            except CrossfadeError as error:
                log.warning("this member can't be heard", member=self._name, error=str(error))
            await self._clock.sleep(self._look_s)

    async def _follow(self) -> None:
        view = await self.look()
        if view is not None and view.state is State.SEALED and not self._working and self._acked < view.epoch:
            self._acked = view.epoch
            await self._say()
            log.info("acknowledged", member=self._name, epoch=view.epoch, unanswered_s=self._unanswered_s())

    async def leave(self) -> None:
        """Leave at a clean stop, with nothing at work. What may yet take effect keeps it in the list until it can't."""
        self._counts_until_s = float("-inf")
        if self._unanswered_s():
            log.warning("a request has no answer: others wait out its signature", member=self._name)
            return
        await self._members.leave(self._name)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[OwnerMap]:
        """Work on standby rows: give the map, once it is open or draining and this member's word counts."""
        while (view := self._free()) is None:
            await self._changed.wait()
        self._working += 1
        try:
            yield view
        finally:
            self._working -= 1

    def _free(self) -> OwnerMap | None:
        view = self._view
        if view is None or view.state is State.SEALED or self._clock.monotonic() >= self._counts_until_s:
            return None
        return view

    async def _say(self) -> None:
        sent_s = self._clock.monotonic()
        await self._members.beat(self._name, self._duty, acked=self._acked, unanswered_s=self._unanswered_s())
        self._said_s, self._counts_until_s = sent_s, sent_s + _COUNTS_PART * self._lease_s
        self._stir()

    def _unanswered_s(self) -> float:
        if self._unknown_s is None:
            return 0.0
        age_s = self._clock.monotonic() - self._unknown_s
        if age_s >= self._signature_s:
            self._unknown_s = None
            return 0.0
        return max(age_s, 1e-3)

    def _stir(self) -> None:
        """Wake whoever waits for a map that is open, or for this member's word to count."""
        woken, self._changed = self._changed, asyncio.Event()
        woken.set()
