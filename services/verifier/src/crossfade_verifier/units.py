"""One unit of a pass: a segment of both tables, or a share of the rows that were spilled; from its last checkpoint on.

What the store or the tables can't do at the moment is tried again here, and the pass goes on. Whoever loses the lease
of a unit stops at once, and writes nothing more: another one goes on from the last checkpoint.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import msgspec
import structlog

from crossfade.contracts.passes import PassRecord, UnitRecord
from crossfade.core.parity.classes import Difference, Pair, agrees
from crossfade.core.values.backoff import backoff_s
from crossfade.core.values.errors import CrossfadeError, LeaseLost, StoreRefused, UnknownDocument
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade.ports.clock import Clock
from crossfade.ports.passes import PassStore
from crossfade.runtime.pace import Pace
from crossfade_verifier.both import BothTables
from crossfade_verifier.findings import Findings, Limits, Stage
from crossfade_verifier.followlist import FollowList, Handovers
from crossfade_verifier.reading.pages import Compared
from crossfade_verifier.reading.typed import AnyRow
from crossfade_verifier.settings import Settings

log = structlog.get_logger()
T = TypeVar("T")

CHUNK: Final = 100
"""Keys read together: one BatchGetItem."""

FIRST_RETRY_S: Final = 0.05


class Means(NamedTuple):
    """What all units of a process work with.

    Attributes:
        both: both tables.
        store: of passes.
        pace: of all reads.
        handovers: keys standby on both sides.
        settings: of the process.
        clock: of the process.
        at_most_us: a moment that the tables' clock has surely not passed yet, µs.
        proven: see `FollowList`.
    """

    both: BothTables
    store: PassStore
    pace: Pace
    handovers: Handovers
    settings: Settings
    clock: Clock
    at_most_us: Callable[[], int]
    proven: Callable[[Key, int], bool] = lambda _key, _version: False

    def limits(self, record: PassRecord, *, whole: bool = True) -> Limits:
        """Return how much findings of a pass keep, or of one unit."""
        kept = self.settings.keys_kept
        return Limits(record.buckets, self.settings.samples, kept * record.scan_units if whole else kept)


class Checkpoint(msgspec.Struct, kw_only=True):
    """What the next holder of a unit goes on from; fields are added with defaults.

    Attributes:
        findings: `Findings.encode`.
        after: of a scan unit: by side, where the next page starts; not there before the first.
        ended: sides that were scanned to their ends.
        waiting: by side, keys of rows that waited for their partners.
        resolved: see `Join`.
        suspects: that were read by key.
        spills: of a scan unit: by holder's counter, how often rows were spilled.
        spilled: rows that were spilled.
        place: of a join unit: round, and the last key that was judged in it.
        following: keys on the follow list, with the versions that their standbys must reach.
    """

    findings: bytes
    after: dict[str, bytes] = {}
    ended: list[str] = []
    waiting: dict[str, list[bytes]] = {}
    resolved: list[bytes] = []
    suspects: int = 0
    spills: dict[int, int] = {}
    spilled: int = 0
    place: tuple[int, bytes] = (0, b"")
    following: list[tuple[bytes, int]] = []


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Checkpoint).decode


def checkpoint_of(body: bytes) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        UnknownDocument: it is none.
    """
    try:
        return _decode(body)
    except msgspec.MsgspecError as error:
        raise UnknownDocument(f"not the checkpoint of a unit: {error}") from error


class _Counted(Pace):
    """A pace shared with others that tells how much its own callers took."""

    def __init__(self, pace: Pace, taken: Callable[[int], None]) -> None:
        self._pace, self._taken = pace, taken

    async def take(self, items: int) -> None:
        """See `Pace.take`."""
        await self._pace.take(items)
        self._taken(items)


class Unit(ABC):
    """A held unit.

    Attributes:
        record: as it is held.
        findings: so far.
        followed: its follow list.
        trouble: what fails at the moment, and is tried again; empty when nothing does.
        scanned: set once all its rows were read: from then on it only follows keys.
        ended: whether it is done, and saved.
    """

    def __init__(self, means: Means, whole: PassRecord, record: UnitRecord, *, complete: bool) -> None:
        """Take a unit that was claimed.

        Args:
            means: see there.
            whole: the pass.
            record: the unit as it is held.
            complete: what the flag document says.
        """
        self._means, self._whole, self.record = means, whole, record
        both, settings, clock = means.both, means.settings, means.clock
        self._rows = both.own(complete=complete)
        rows = both.rows(complete=complete)
        self.findings = Findings(means.limits(whole, whole=False), rows, both.why_refused, clock.wall_us)
        self.findings.stage = Stage.SCANNING if record.kind == "scan" else Stage.JOINING
        self.followed = FollowList(
            both,
            self.findings,
            _Counted(means.pace, self._read),
            means.handovers,
            bound_s=settings.in_flight_bound_s,
            limit_s=settings.follow_limit_s,
            every_s=settings.settle_every_s,
            rows=rows,
            clock=clock,
            at_most_us=means.at_most_us,
            most=max(1, settings.follow_bound // settings.segments),
            proven=means.proven,
        )
        self._judged = rows
        self.trouble = ""
        self.scanned = asyncio.Event()
        self.ended = False
        self._saving = asyncio.Lock()

    async def run(self) -> None:
        """Work until the unit is done.

        Raises:
            LeaseLost: another holds it by now.
        """
        work = [asyncio.create_task(self.work()), asyncio.create_task(self._keep())]
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
        finally:
            for each in work:
                each.cancel()
            await asyncio.gather(*work, return_exceptions=True)
        self.findings.stage = Stage.DONE
        await self._insist(lambda: self._save(done=True))
        self.ended = True

    async def leave(self) -> None:
        """Save it and give it up, at a clean stop, so that the next holder needn't wait nor read anything again."""
        try:
            await self._save()
            await self._means.store.release(self.record)
        except CrossfadeError as error:
            log.info("a unit could not be given up", number=self.record.number, error=str(error))

    async def work(self) -> None:
        """Go on from the last checkpoint to the end, without saving another one."""
        body = await self._insist(lambda: self._means.store.body(self.record))
        if body is not None:
            try:
                self._resume(checkpoint_of(body))
            except UnknownDocument as error:
                log.warning("a unit begins again: no readable checkpoint", unit=self.record.number, error=str(error))
        await all_or_first((self._read_all(), self._settle()))

    async def _read_all(self) -> None:
        await self._go_through()
        self.findings.stage = Stage.FOLLOWING
        self.scanned.set()

    async def _settle(self) -> None:
        await self._insist(lambda: self.followed.settle(self.scanned))

    async def _keep(self) -> None:
        """Save a checkpoint each few seconds, which is also the sign of life."""
        while True:
            await self._means.clock.sleep(self._means.settings.checkpoint_s)
            try:
                await self._save()
            except LeaseLost:
                raise
            except CrossfadeError as error:
                self.trouble = f"no checkpoint could be saved: {why(error)}"

    async def _save(self, *, done: bool = False) -> None:
        async with self._saving:
            body, head = _encode(self._checkpoint()), self.head()
            saved_us = self._means.clock.wall_us()
            self.record = await self._means.store.save(self.record, head, body, saved_us=saved_us, done=done)

    async def _insist(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until there is an answer; say meanwhile what is wrong.

        Raises:
            LeaseLost: another holds the unit by now.
        """
        failures, longest_s = 0, self._means.settings.retry_s
        while True:
            try:
                answer = await ask()
            except LeaseLost:
                raise
            except CrossfadeError as error:
                failures += 1
                if not self.trouble:
                    log.warning("a pass waits", unit=self.record.number, kind=self.record.kind, reason=why(error))
                self.trouble = why(error)
                wait_s = backoff_s(failures, first_s=min(FIRST_RETRY_S, longest_s), longest_s=longest_s, jitter=1.0)
                await self._means.clock.sleep(wait_s)
            else:
                self.trouble = ""
                return answer

    def _read(self, items: int) -> None:
        self.findings.read_units += items  # a key's consistent read: one unit for each 4 KB

    # ---- what both kinds do with rows ----

    def _judge(self, compared: Compared) -> None:
        """Count what is proven, and what is equal by value; follow the rest."""
        constants = {side: self._means.both.reading.constants(side) for side in Side}
        self.findings.prove(compared.proven, constants)
        self.followed.passed_all(Key(key) for key, _ in compared.proven)
        for encoded, source, target in compared.left:
            key, pair = Key(encoded), Pair(source, target)
            for row in (source, target):
                self.findings.drop(row)
            if agrees(pair, self._judged):
                self.findings.verify(key, pair)
                self.followed.passed(key)
            else:
                self.followed.add(key, pair)

    async def _rows_of(self, side: Side, keys: Sequence[bytes]) -> dict[bytes, AnyRow]:
        """Read rows by key, consistently."""
        if not keys:
            return {}
        reading, table = self._means.both.reading, self._means.both.table(side)
        await self._means.pace.take(len(keys))
        asks = reading.asks(side, keys)

        async def ask() -> dict[bytes, AnyRow]:
            return reading.batch(side, await table.read_answers(asks))

        rows = await self._insist(ask)
        self._read(len(keys))
        return rows

    def head(self) -> dict[str, Any]:
        """Return its progress, for all verifiers."""
        found = self.findings
        return {
            "stage": found.stage.value,
            "scanned": {side.value: count for side, count in found.scanned.items()},
            "verified": found.book.verified,
            "classes": {each.value: count for each, count in found.book.by_class.items()},
            "not_ours": found.not_ours,
            "following": len(self.followed),
            "read_units": round(found.read_units, 1),
            "trouble": self.trouble,
        }

    def _checkpoint(self) -> Checkpoint:
        self.findings.handovers = self._handovers()
        return Checkpoint(
            findings=self.findings.encode(),
            following=[(key, first) for key, first in self.followed.open_keys()],
        )

    def _handovers(self) -> dict[Key, int]:
        """Return since when keys of this unit have been in handover, µs of the tables' clock."""
        called = self.findings.called_keys.get(Difference.IN_HANDOVER, {})
        handovers, now_s, now_us = self._means.handovers, self._means.clock.monotonic(), self._means.at_most_us()
        return {
            key: now_us - int((now_s - since_s) * 1e6)
            for key in handovers.keys_now()
            if (key in called or key in self.followed) and (since_s := handovers.since_s(key)) is not None
        }

    def _resume(self, kept: Checkpoint) -> None:
        self.findings.take(kept.findings)
        now_s = self._means.clock.monotonic()
        for key, first in kept.following:
            self.followed.suspect(Key(key), first, now_s)

    @abstractmethod
    async def _go_through(self) -> None:
        """Read all of its rows, from where the last checkpoint left off."""


def why(error: CrossfadeError) -> str:
    """Say for people why something is waited for."""
    if isinstance(error, StoreRefused):
        return f"a table doesn't exist yet: {error}" if error.reason in NOT_THERE else f"a table can't be read: {error}"
    return f"{error.code}: {error}"


NOT_THERE: Final = frozenset({"ResourceNotFoundException", "ResourceInUseException", "TableNotFoundException"})
"""Refusals that mean: there is no such table yet."""


async def all_or_first(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Do it in parallel; of several errors, raise one, which says as much as all."""
    try:
        async with asyncio.TaskGroup() as group:
            for each in work:
                group.create_task(each)
    except ExceptionGroup as errors:  # not `except*`: Python before 3.11.4 wraps what is raised in it once more
        ours, others = errors.split(CrossfadeError)
        if ours is None or others is not None:
            raise
        raise _one_of(ours) from errors


def _one_of(errors: ExceptionGroup[CrossfadeError]) -> CrossfadeError:
    first = errors.exceptions[0]
    return _one_of(first) if isinstance(first, ExceptionGroup) else first
