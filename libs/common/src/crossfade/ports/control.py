"""The control plane's memory: journal, heartbeats, consumer reports, dead letters.

All of it lives in the control tables of `crossfade.core.migration.control`. What must be right is in the journal, never
only in a metric.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from crossfade.contracts.heartbeat import Heartbeat
from crossfade.contracts.journal import Entry
from crossfade.contracts.letter import DeadLetter
from crossfade.contracts.report import Report

COUNT_AT_MOST: Final = 10_000
"""Most letters of one consumer and kind that are counted; beyond that nobody needs the exact number."""


class Journal(Protocol):
    """Append-only; each number is taken once."""

    async def append(self, kind: str, body: Mapping[str, Any]) -> Entry:
        """Append an entry under the next free number.

        Raises:
            LeaseLost: the writer's lease (if it writes under one) is held by another one by now.
        """
        ...

    async def entries(self, *, after: int = 0) -> list[Entry]:
        """Return the entries with higher numbers, in order."""
        ...


class Lease(Protocol):
    """Time-bounded right to do something alone; a holder can lose it at any moment, so the store checks it, too."""

    @property
    def counter(self) -> int:
        """Rises with each holder."""
        ...

    @property
    def held(self) -> bool:
        """Whether it is surely ours, on our own clock."""
        ...

    async def acquire(self) -> bool:
        """Take it if it is free, ours, or was not renewed for a whole lease time; call again until True."""
        ...

    async def renew(self) -> None:
        """Renew it.

        Raises:
            LeaseLost: another took over.
        """
        ...

    async def release(self) -> None:
        """Release it at a clean stop; does nothing if another holds it."""
        ...


class Heartbeats(Protocol):
    """Who works under which flag document."""

    async def beat(self, heartbeat: Heartbeat) -> None:
        """Write the pod's heartbeat."""
        ...

    async def leave(self, pod: str) -> None:
        """Withdraw it, at a clean stop."""
        ...

    async def all(self) -> list[Heartbeat]:
        """Return every pod's last heartbeat."""
        ...


class Reports(Protocol):
    """The consumers' reports."""

    async def put(self, reports: Sequence[Report]) -> None:
        """Replace the reports of these consumers and shards."""
        ...

    async def all(self) -> list[Report]:
        """Return the last report of each consumer and shard."""
        ...


class Parking(Protocol):
    """Where a pipeline leaves what it can't apply."""

    async def park(self, letter: DeadLetter) -> None:
        """Keep a letter; parking the same one again changes nothing. A settled one takes the place of an older one."""
        ...


class DeadLetters(Parking, Protocol):
    """The dead-letter store. Settled letters need no decision: they are neither listed nor counted with the others."""

    async def all(self, *, limit: int = 1000, code: str = "") -> list[DeadLetter]:
        """Return the letters that need a human decision, oldest first.

        Args:
            limit: most letters.
            code: only those of one code; empty for all.
        """
        ...

    async def settled(self, *, limit: int = 1000) -> list[DeadLetter]:
        """Return the settled letters, one per key, in no order."""
        ...

    async def count(self) -> int:
        """Return how many need a human decision. Counting stops at `COUNT_AT_MOST` of a kind."""
        ...

    async def remove(self, letter: DeadLetter) -> None:
        """Take a letter out, after it was applied, merged, overtaken or discarded."""
        ...


class StatusBoard(Protocol):
    """The controller's last status, for readers that can't reach the controller itself."""

    async def put(self, status: Mapping[str, Any]) -> None:
        """Replace the status."""
        ...

    async def get(self) -> Mapping[str, Any] | None:
        """Return the last status; None if there has never been one."""
        ...
