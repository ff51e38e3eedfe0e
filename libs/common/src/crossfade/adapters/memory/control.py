"""The control plane's ports in memory: shipped fakes with the stores' own rules, held to them by the contract suite.

Two objects on one store behave like two processes on one table.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from crossfade.adapters.control.heartbeats import Watch
from crossfade.adapters.control.journal import wall_us
from crossfade.contracts.heartbeat import Heartbeat
from crossfade.contracts.journal import Entry
from crossfade.contracts.letter import DeadLetter
from crossfade.contracts.report import Report
from crossfade.core.migration.control import CONSUMERS
from crossfade.core.values.errors import ConfigError, LeaseLost


@dataclass
class _LeaseRow:
    holder: str
    counter: int
    beat: int


@dataclass
class ControlStore:
    """What the control tables hold."""

    journal: list[Entry] = field(default_factory=list)
    leases: dict[str, _LeaseRow] = field(default_factory=dict)
    heartbeats: dict[str, tuple[Heartbeat, int]] = field(default_factory=dict)
    reports: dict[tuple[str, str], Report] = field(default_factory=dict)
    letters: dict[tuple[str, str], DeadLetter] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)


class MemoryLease:
    """`crossfade.ports.control.Lease` in memory."""

    def __init__(
        self,
        store: ControlStore | None = None,
        name: str = "controller",
        *,
        holder: str = "holder",
        lease_s: float = 10.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """See `crossfade.adapters.control.lease.DynamoLease`."""
        self._leases = (store or ControlStore()).leases
        self._name, self._holder = name, holder
        self._lease_s, self._monotonic = lease_s, monotonic
        self._counter = 0
        self._renewed_s: float | None = None
        self._seen: tuple[int, int, float] | None = None

    @property
    def counter(self) -> int:
        """Rises with each holder."""
        return self._counter

    @property
    def held(self) -> bool:
        """Whether it is surely ours, on our own clock."""
        return self._renewed_s is not None and self._monotonic() - self._renewed_s < self._lease_s

    def check(self) -> None:
        """Stand for the store's own check of the lease.

        Raises:
            LeaseLost: it isn't held, or another took over.
        """
        row = self._leases.get(self._name)
        if not self.held or row is None or (row.holder, row.counter) != (self._holder, self._counter):
            raise LeaseLost(f"lease {self._name!r} is not held")

    async def acquire(self) -> bool:
        """Take it if it is free, ours, or stood still for a whole lease time."""
        now_s = self._monotonic()
        row = self._leases.get(self._name)
        if row is None:
            row = self._leases[self._name] = _LeaseRow("", 0, 0)
        elif row.holder == self._holder and row.counter == self._counter and self.held:
            return True
        else:
            if self._seen is None or self._seen[:2] != (row.counter, row.beat):
                self._seen = (row.counter, row.beat, now_s)
            if row.holder and row.holder != self._holder and now_s - self._seen[2] < self._lease_s:
                return False
        row.holder, row.counter, row.beat = self._holder, row.counter + 1, row.beat + 1
        self._counter, self._renewed_s, self._seen = row.counter, now_s, None
        return True

    async def renew(self) -> None:
        """Renew it."""
        row = self._leases.get(self._name)
        if self._renewed_s is None or row is None or (row.holder, row.counter) != (self._holder, self._counter):
            self._renewed_s = None
            raise LeaseLost(f"lease {self._name!r} is held by another one by now")
        row.beat += 1
        self._renewed_s = self._monotonic()

    async def release(self) -> None:
        """Give it up."""
        row = self._leases.get(self._name)
        held, self._renewed_s = self._renewed_s is not None, None
        if held and row is not None and (row.holder, row.counter) == (self._holder, self._counter):
            row.holder, row.beat = "", row.beat + 1


class MemoryJournal:
    """`crossfade.ports.control.Journal` in memory."""

    def __init__(
        self,
        store: ControlStore | None = None,
        *,
        who: str = "somebody",
        code: str = "0",
        lease: MemoryLease | None = None,
        now_us: Callable[[], int] = wall_us,
    ) -> None:
        """See `crossfade.adapters.control.journal.DynamoJournal`."""
        self._rows = (store or ControlStore()).journal
        self._who, self._code, self._lease, self._now_us = who, code, lease, now_us

    async def append(self, kind: str, body: Mapping[str, Any]) -> Entry:
        """Append an entry under the next free number."""
        if self._lease is not None:
            self._lease.check()
        # Through JSON, as a store would: what can't be written there must fail here, too.
        kept = msgspec.json.decode(msgspec.json.encode(body))
        entry = Entry(len(self._rows) + 1, kind, self._now_us(), self._who, self._code, kept)
        self._rows.append(entry)
        return entry

    async def entries(self, *, after: int = 0) -> list[Entry]:
        """Return the entries with higher numbers, in order."""
        return self._rows[after:]


class MemoryHeartbeats:
    """`crossfade.ports.control.Heartbeats` in memory."""

    def __init__(self, store: ControlStore | None = None, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """See `crossfade.adapters.control.heartbeats.DynamoHeartbeats`."""
        self._rows = (store or ControlStore()).heartbeats
        self._watch = Watch(monotonic)
        self._beats = itertools.count()

    async def beat(self, heartbeat: Heartbeat) -> None:
        """Write the pod's heartbeat."""
        self._rows[heartbeat.pod] = (heartbeat.replace(expired=False), next(self._beats))

    async def leave(self, pod: str) -> None:
        """Withdraw it."""
        self._rows.pop(pod, None)

    async def all(self) -> list[Heartbeat]:
        """Return every pod's last heartbeat."""
        return self._watch.judge([self._rows[pod] for pod in sorted(self._rows)])


class MemoryReports:
    """`crossfade.ports.control.Reports` in memory."""

    def __init__(self, store: ControlStore | None = None) -> None:
        """Start empty, or on a shared store."""
        self._rows = (store or ControlStore()).reports

    async def put(self, reports: Sequence[Report]) -> None:
        """Replace the reports of these consumers and shards."""
        self._rows.update({(each.consumer, each.shard): each for each in reports})

    async def all(self) -> list[Report]:
        """Return the last report of each consumer and shard."""
        return [self._rows[each] for each in sorted(self._rows)]


class MemoryDeadLetters:
    """`crossfade.ports.control.DeadLetters` in memory."""

    def __init__(self, store: ControlStore | None = None) -> None:
        """Start empty, or on a shared store."""
        self._rows = (store or ControlStore()).letters

    async def park(self, letter: DeadLetter) -> None:
        """Keep a letter; parking the same one again changes nothing. A settled one takes the place of an older one."""
        if letter.consumer not in CONSUMERS:
            raise ConfigError(f"unknown consumer {letter.consumer!r}: one of {', '.join(CONSUMERS)}")
        held = self._rows.setdefault((letter.consumer, letter.sequence), letter)
        if letter.settled and held.committed_us < letter.committed_us:
            self._rows[letter.consumer, letter.sequence] = letter

    async def all(self, *, limit: int = 1000, code: str = "") -> list[DeadLetter]:
        """Return the letters that need a human decision, oldest first."""
        found = [each for each in self._rows.values() if not each.settled and code in ("", each.code)]
        return sorted(found, key=lambda letter: letter.at_us)[:limit]

    async def settled(self, *, limit: int = 1000) -> list[DeadLetter]:
        """Return the settled letters, one per key, in no order."""
        return [each for each in self._rows.values() if each.settled][:limit]

    async def count(self) -> int:
        """Return how many need a human decision."""
        return sum(not each.settled for each in self._rows.values())

    async def remove(self, letter: DeadLetter) -> None:
        """Take a letter out."""
        self._rows.pop((letter.consumer, letter.sequence), None)


class MemoryStatusBoard:
    """`crossfade.ports.control.StatusBoard` in memory."""

    def __init__(self, store: ControlStore | None = None) -> None:
        """Start empty, or on a shared store."""
        self._store = store or ControlStore()

    async def put(self, status: Mapping[str, Any]) -> None:
        """Replace the status."""
        self._store.status = msgspec.json.decode(msgspec.json.encode(status))

    async def get(self) -> Mapping[str, Any] | None:
        """Return the last status."""
        return self._store.status or None
