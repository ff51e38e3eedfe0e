"""Asks each sense of the verdict now and then, and keeps what it said with when it was asked.

Each has a task of its own: one that hangs delays no other, and its last answer grows old by not being replaced.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import structlog

from crossfade.contracts.journal import Entry
from crossfade.core.parity.repairs import is_repair, keys_of
from crossfade.core.parity.verdict import Input, Names, Reading, Sense, against_capture
from crossfade.core.values.errors import StoreUnavailable
from crossfade.core.values.shape import Side
from crossfade.ports.admin import Destination
from crossfade.ports.clock import Clock
from crossfade.ports.table import Answers
from crossfade_verifier.owning import Owning

log = structlog.get_logger()

JOURNAL_EVERY: Final = 3
"""The journal is read whole, so that much more seldom than the tables are asked."""

Ask: TypeAlias = Callable[[], Awaitable[tuple[str, ...]]]
"""Asks a sense; what it says against cutting over."""


class Captures(Protocol):
    """The part of `crossfade.ports.admin.TableAdmin` that is asked here."""

    async def destinations(self, table: str) -> list[Destination]:
        """Return a table's change streams."""
        ...


class Metrics(Protocol):
    """The part of `crossfade.ports.admin.Metrics` that is asked here."""

    async def unreplicated_s(self, table: str) -> float | None:
        """Return the age of a table's oldest record that is not in its stream; None without a recent value."""
        ...


class Entries(Protocol):
    """The part of `crossfade.ports.control.Journal` that is asked here."""

    async def entries(self) -> list[Entry]:
        """Return the whole journal."""
        ...


class Unreplicated(NamedTuple):
    """What CloudWatch says of the first hop, table to stream.

    Attributes:
        age_s: of the oldest record that is not in the stream yet; None when unknown.
        why: why it is unknown.
    """

    age_s: float | None = None
    why: str = "not asked yet"


class Watch:
    """What each sense said last.

    Attributes:
        names: of the migration.
        readings: the last answer of each sense that is asked here.
        unreplicated: the first hop, for the lags.
    """

    def __init__(
        self,
        names: Names,
        *,
        clock: Clock,
    ) -> None:
        """Start with no answer.

        Args:
            names: of the migration.
            clock: of the process.
        """
        self.names, self._clock = names, clock
        self.readings: dict[Input, Reading] = {}
        self.unreplicated = dict.fromkeys(Side, Unreplicated())

    async def asking(self, sense: Sense, side: Side | None, of: str, ask: Ask, every_s: float) -> None:
        """Ask one sense until cancelled.

        An answer that fails to come leaves the last one as it is, to grow old, and says why there is no newer one.

        Args:
            sense: which.
            side: of which table; None where it is of both.
            of: the table, stream or journal that is asked about.
            ask: asks it.
            every_s: pause between two askings.
        """
        while True:
            asked_s, last = self._clock.monotonic(), self.readings.get((sense, side), Reading(of, None))
            try:
                reading = Reading(of, asked_s, await ask())
            except Exception as error:  # whatever the client raises: nothing is known, and the verifier goes on
                reading = last._replace(trouble=str(error) or type(error).__name__)
                if reading != last:
                    log.warning("input not read", sense=sense.value, of=of, error=reading.trouble)
            self.readings[sense, side] = reading
            await self._clock.sleep(every_s)

    def without_first_hops(self, why: str) -> None:
        """Note that nobody asks CloudWatch, and why."""
        for side in Side:
            self.readings[Sense.FIRST_HOP, side] = Reading(self.names.tables[side], None, trouble=why)
            self.unreplicated[side] = Unreplicated(None, why)

    def tables(self, table: Callable[[Side], Answers], every_s: float) -> list[Coroutine[Any, Any, None]]:
        """Return what asks both tables for a row: any, since whether they answer is all that is asked."""

        def ask(side: Side) -> Ask:
            async def one() -> tuple[str, ...]:
                await table(side).scan_answer(segment=0, segments=1, start=None, limit=1)
                return ()

            return one

        return [self.asking(Sense.TABLE, side, self.names.tables[side], ask(side), every_s) for side in Side]

    def owner(self, owning: Owning, every_s: float) -> list[Coroutine[Any, Any, None]]:
        """Return what looks which table owns, where a map says so."""
        name = self.names.map
        return [self.asking(Sense.MAP, None, name, owning.against, every_s)] if name else []

    def captures(self, admin: Captures, every_s: float) -> list[Coroutine[Any, Any, None]]:
        """Return what asks for both tables' change streams."""

        def ask(side: Side) -> Ask:
            async def one() -> tuple[str, ...]:
                return against_capture(self.names.streams[side], await admin.destinations(self.names.tables[side]))

            return one

        return [self.asking(Sense.CAPTURE, side, self.names.tables[side], ask(side), every_s) for side in Side]

    def first_hops(self, metrics: Metrics, bound_s: float, every_s: float) -> list[Coroutine[Any, Any, None]]:
        """Return what asks CloudWatch for both first hops; one that takes longer than `bound_s` speaks against."""

        def ask(side: Side) -> Ask:
            async def one() -> tuple[str, ...]:
                try:
                    age_s = await metrics.unreplicated_s(self.names.tables[side])
                except Exception as error:
                    self.unreplicated[side] = Unreplicated(None, f"CloudWatch: {error}")
                    raise StoreUnavailable(f"CloudWatch: {error}") from error
                if age_s is None:
                    self.unreplicated[side] = Unreplicated(None, "CloudWatch has no recent value")
                    raise StoreUnavailable("CloudWatch has no recent value")
                self.unreplicated[side] = Unreplicated(age_s, "")
                return () if age_s <= bound_s else (f"the oldest record that isn't in its stream is {age_s:.1f} s old",)

            return one

        return [self.asking(Sense.FIRST_HOP, side, self.names.tables[side], ask(side), every_s) for side in Side]

    def journal(
        self, journal: Entries, pod: str, repaired: Callable[[int], None], every_s: float
    ) -> Coroutine[Any, Any, None]:
        """Return what looks for repairs of other verifiers: no pass made before or meanwhile speaks for their keys.

        Args:
            journal: of the migration.
            pod: this one's name in it.
            repaired: told how many keys others repaired, once for each entry that wasn't there before.
            every_s: pause between two readings.
        """
        seen: int | None = None

        async def ask() -> tuple[str, ...]:
            nonlocal seen
            # A plan, or a repair that was refused, has written nothing.
            found = [each for each in await journal.entries() if is_repair(each)]
            if seen is not None:  # no pass of this process is older than its first reading is wanted to be
                for each in found:
                    if each.number > seen and each.who != pod:
                        repaired(keys_of(each.body))
            seen = max((each.number for each in found), default=0)
            return ()

        return self.asking(Sense.JOURNAL, None, self.names.journal, ask, every_s)
