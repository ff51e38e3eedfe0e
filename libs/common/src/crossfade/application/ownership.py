"""Runs the ownership machine against two tables: one operation, a batch of them, or the sweeper's keys.

The machine decides (`crossfade.core.ownership.machine`), the tables' conditions make it safe. A request whose outcome
is unknown is sent again as it is: if it did take effect, its condition now says so (a transaction id in the set, a
higher generation), and the machine goes on from there.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from msgspec.structs import replace

from crossfade.application.reading import read_apart
from crossfade.core.mapping.interface import Mapping as MigrationMapping
from crossfade.core.ownership.carrying import why_it_stays
from crossfade.core.ownership.decisions import Done, Found, Next, Outcome, Perform, Read, Reply, Seen, State, Task
from crossfade.core.ownership.machine import OwnershipRules
from crossfade.core.ownership.trim import SOFT_SIZE
from crossfade.core.protocol.keyed.item import Item
from crossfade.core.protocol.keyed.operation import Operation
from crossfade.core.protocol.keyed.versions import seeded
from crossfade.core.protocol.keyed.writes import Write
from crossfade.core.protocol.seam import Aim
from crossfade.core.protocol.writing import Unfit
from crossfade.core.values.backoff import backoff_s
from crossfade.core.values.errors import (
    CrossfadeError,
    KeyNotServed,
    OwnershipAmbiguous,
    StoreRefused,
    StoreUnavailable,
)
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade.ports.clock import Clock
from crossfade.ports.owned_table import OwnedTable

T = TypeVar("T")

DEADLINE_S: Final = 10.0
"""Of a call that names none."""
ATTEMPT_S: Final = 2.0
"""Longest wait for one answer, but that of a batch of writes: so a deadline leaves room for a second try."""
BACK_OFF_S: Final = 0.02
"""Longest wait before the second try of a request; it doubles with each, up to `LONGEST_WAIT_S`."""
LONGEST_WAIT_S: Final = 1.0
HINTS: Final = 100_000
"""Keys whose soft size a pod remembers."""


class OwnerImage(NamedTuple):
    """The answer to a read.

    Attributes:
        side: the table that answered: the owner, or, while the key is on its way, the one with the higher generation.
        item: the image; None when there is none. A tombstone or stub is there with `deleted` set.
    """

    side: Side
    item: Item | None


def _never(_key: Key) -> bool:
    return False


class Ownership:
    """Operations, hand-overs and reads on two tables. Belongs to one event loop.

    All deadlines are times of the event loop's clock (`loop.time()`).
    """

    def __init__(
        self,
        source: OwnedTable,
        target: OwnedTable,
        mapping: MigrationMapping,
        *,
        clock: Clock,
        excluded: Callable[[Key], bool] = _never,
        jitter: Callable[[], float] = random.random,
        attempt_s: float = ATTEMPT_S,
    ) -> None:
        """Take the two tables.

        Args:
            source: the source table.
            target: the target table.
            mapping: of the migration.
            clock: seeds versions, ages transaction ids, and waits between tries.
            excluded: keys that an operator took out of the migration: they stay where they are.
            jitter: random, 0 to 1.
            attempt_s: see `ATTEMPT_S`.
        """
        self._tables = {Side.SOURCE: source, Side.TARGET: target}
        self._mapping = mapping
        self._rules = OwnershipRules(mapping)
        self._excluded = excluded
        self._jitter = jitter
        self._clock, self._attempt_s = clock, attempt_s
        self._soft: OrderedDict[Key, int] = OrderedDict()

    async def operate(self, op: Operation, aim: Aim, *, complete: bool = False, deadline: float | None = None) -> Done:
        """Run one operation to its end.

        Args:
            op: the operation.
            aim: where to try first.
            complete: of the flag document.
            deadline: when to give up; None for `DEADLINE_S` from now.

        Returns:
            How it ended. A replay's item is always the owner's.

        Raises:
            Throttled: still throttled at the deadline.
            StoreUnavailable: the outcome is unknown; the same operation is safe to send again.
            OwnershipAmbiguous: nobody can tell who owns the key.
            KeyNotServed: what it takes is refused for good; the message has the cause. Nothing was applied.
            PoisonRecord: the item can't be read.
        """
        ends = self._deadline(deadline)
        done = await self._run(self._rules.begin(self._task(op.key, aim, op, complete)), ends)
        self._learn(op.key, done)
        if done.authoritative:
            return done
        owner = await self.owner_read(op.key, aim, complete=complete, deadline=ends)
        return _answered_by(done, owner)

    async def operate_many(
        self, calls: Sequence[tuple[Operation, Aim]], *, complete: bool = False, deadline: float | None = None
    ) -> list[Done | Exception]:
        """Run operations together, with as few requests as the tables allow. Of one key, they run in order.

        Args:
            calls: the operations, each with where the flag says to try it first.
            complete: of the flag document.
            deadline: when to give up; None for `DEADLINE_S` from now.

        Returns:
            In the order of the calls: how each ended, or what `operate` would have raised.
        """
        ends = self._deadline(deadline)
        tasks = [self._task(op.key, aim, op, complete) for op, aim in calls]
        results = await self._run_many([(task, None) for task in tasks], ends)
        stale = [n for n, done in enumerate(results) if isinstance(done, Done) and not done.authoritative]
        if stale:
            wishes = [(calls[n][0].key, calls[n][1]) for n in stale]
            owners = await self.owner_read_many(wishes, complete=complete, deadline=ends)
            for n, owner in zip(stale, owners, strict=True):
                done = results[n]
                if isinstance(done, Done):
                    results[n] = owner if isinstance(owner, Exception) else _answered_by(done, owner)
        return results

    async def hand_over_many(
        self,
        keys: Sequence[Key],
        aim: Aim,
        *,
        known: Mapping[Key, Item] | None = None,
        complete: bool = False,
        deadline: float | None = None,
    ) -> list[Done | Exception]:
        """Hand keys over to the side aimed at, and complete what others left half done.

        Args:
            keys: the keys; absent ones stay absent.
            aim: the owner to be, with the generation of that wish. Generation 0 moves nothing and only completes.
            known: what a scan of the other side showed of them, which saves reading it again.
            complete: of the flag document.
            deadline: when to give up; None for `DEADLINE_S` from now.

        Returns:
            For each key SETTLED with its owner, HELD_OUT with its owner and the cause, or an error.
        """
        seen = known or {}
        tasks = [(self._task(key, aim, None, complete), Seen(seen[key]) if key in seen else None) for key in keys]
        return await self._run_many(tasks, self._deadline(deadline))

    async def hold_out_many(self, causes: Mapping[Key, str], aim: Aim) -> list[Done | Exception]:
        """Mark keys that can't move to the side aimed at, in their rows: each is sealed and given back (ADR 0014).

        So that everybody who meets such a row knows: an operator's exclusion, say, is known to the controller only.

        Args:
            causes: why each stays, by key.
            aim: the owner that can't be, with the generation of that wish.

        Returns:
            For each key HELD_OUT, SETTLED when somebody moved it meanwhile, or an error.
        """
        tasks = [(replace(self._task(key, aim, None, False), hold_out=cause), None) for key, cause in causes.items()]
        return await self._run_many(tasks, self._deadline(None))

    def why_held_out(self, key: Key, item: Item, destination: Side) -> str:
        """Say why a key stays that was held out: what speaks against it now, or that the other table refused it.

        Args:
            key: the encoded key.
            item: its owner's.
            destination: the side that it can't move to.
        """
        return why_it_stays(self._mapping, self._task(key, Aim(destination, item.generation), None, False), item)

    async def owner_read(
        self,
        key: Key,
        aim: Aim,
        *,
        consistent: bool = True,
        complete: bool = False,
        deadline: float | None = None,
    ) -> OwnerImage:
        """Read a key where it is owned.

        Args:
            key: the encoded key.
            aim: which side to read first.
            consistent: whether to see all writes that were acknowledged before.
            complete: of the flag document.
            deadline: when to give up; None for `DEADLINE_S` from now.

        Raises:
            Throttled, StoreUnavailable: a table did not answer.
            OwnershipAmbiguous: both sides stay standby in one generation.
            KeyNotServed: the key was left behind in the source table, which is gone or denied.
        """
        task = replace(self._task(key, aim, None, complete), reads=True)
        done = await self._run(self._rules.begin(task), self._deadline(deadline), consistent=consistent)
        return OwnerImage(done.side, done.item)

    async def owner_read_many(
        self,
        wishes: Sequence[tuple[Key, Aim]],
        *,
        consistent: bool = True,
        complete: bool = False,
        deadline: float | None = None,
    ) -> list[OwnerImage | Exception]:
        """Read keys where they are owned; in order, each with its image or what `owner_read` would have raised."""
        tasks = [(replace(self._task(key, aim, None, complete), reads=True), None) for key, aim in wishes]
        results = await self._run_many(tasks, self._deadline(deadline), consistent=consistent)
        return [each if isinstance(each, Exception) else OwnerImage(each.side, each.item) for each in results]

    # One task at a time.

    async def _run(self, step: Next, ends: float, *, consistent: bool = True) -> Done:
        while not isinstance(step, Done):
            state, request = step
            step = self._rules.advance(state, await self._reply(state.task, request, ends, consistent))
        failure = _error_of(step)
        if failure is not None:
            raise failure
        return step

    async def _reply(self, task: Task, request: Read | Perform, ends: float, consistent: bool) -> Reply:
        try:
            return await self._insist(request, ends, consistent)
        except StoreRefused as error:
            answer = _left_behind(task, request, error)
            if isinstance(answer, Exception):
                raise
            return answer

    async def _insist(self, request: Read | Perform, ends: float, consistent: bool) -> Reply:
        attempt = 0
        while True:
            try:
                return await self._within(ends, self._send(request, ends, consistent))
            except CrossfadeError as error:
                attempt += 1
                if not error.retryable or not await self._may_retry(attempt, ends, error.retry_after_s):
                    raise

    async def _send(self, request: Read | Perform, ends: float, consistent: bool) -> Reply:
        table = self._tables[request.side]
        if isinstance(request, Read):
            return Found(await self._within(self._soon(ends), table.read(request.key, consistent=consistent)))
        left_s = self._soon(ends) - asyncio.get_running_loop().time()
        return await table.perform(request.write, timeout_s=max(left_s, 0.001))

    # Many tasks together.

    async def _run_many(
        self, tasks: Sequence[tuple[Task, Seen | None]], ends: float, *, consistent: bool = True
    ) -> list[Done | Exception]:
        results: list[Done | Exception] = [_UNREAD] * len(tasks)
        waiting: dict[Key, list[int]] = {}
        for n, (task, _) in enumerate(tasks):
            waiting.setdefault(task.key, []).append(n)
        pending: dict[int, tuple[State, Read | Perform]] = {}

        def settle(n: int, step: Next | Exception) -> None:
            """Note where task `n` stands; when it ends, the next one of its key begins."""
            while isinstance(step, Done | Exception):
                if isinstance(step, Done):
                    self._learn(tasks[n][0].key, step)
                    results[n] = _error_of(step) or step
                else:
                    results[n] = step
                queue = waiting[tasks[n][0].key]
                queue.pop(0)
                if not queue:
                    return
                n = queue[0]
                step = self._begin(*tasks[n])
            pending[n] = step

        for queue in list(waiting.values()):
            settle(queue[0], self._begin(*tasks[queue[0]]))
        attempt = 0
        while pending:
            round_, pending = pending, {}
            replies = await self._send_many({n: request for n, (_, request) in round_.items()}, ends, consistent)
            failed = [reply for reply in replies.values() if isinstance(reply, CrossfadeError) and reply.retryable]
            attempt = attempt + 1 if failed else 0
            again = bool(failed) and await self._may_retry(attempt, ends, failed[0].retry_after_s)
            for n, reply in replies.items():
                if isinstance(reply, StoreRefused):
                    reply = _left_behind(round_[n][0].task, round_[n][1], reply)
                if isinstance(reply, Exception):
                    retry = again and isinstance(reply, CrossfadeError) and reply.retryable
                    settle(n, round_[n] if retry else reply)
                else:
                    settle(n, self._advance(round_[n][0], reply))
        return results

    def _begin(self, task: Task, known: Seen | None) -> Next:
        soft = self._soft.get(task.key, SOFT_SIZE)
        if soft != task.soft:  # learned from the operations before it
            task = replace(task, soft=soft)
        return self._rules.begin(task, known)

    def _advance(self, state: State, reply: Reply) -> Next | Exception:
        try:
            return self._rules.advance(state, reply)
        except CrossfadeError as error:
            return error

    async def _send_many(
        self, requests: Mapping[int, Read | Perform], ends: float, consistent: bool
    ) -> dict[int, Reply | Exception]:
        replies: dict[int, Reply | Exception] = {}
        reads: dict[Side, list[tuple[int, Key]]] = {side: [] for side in Side}
        writes: dict[Side, list[tuple[int, Write]]] = {side: [] for side in Side}
        for n, request in requests.items():
            if isinstance(request, Read):
                reads[request.side].append((n, request.key))
            else:
                writes[request.side].append((n, request.write))

        async def write(side: Side) -> None:
            if writes[side]:
                answers = await self._tables[side].perform_many([each for _, each in writes[side]])
                replies.update(zip((n for n, _ in writes[side]), answers, strict=True))

        async def read(side: Side) -> None:
            try:
                found = read_apart(self._tables[side], [key for _, key in reads[side]], consistent=consistent)
                items = await self._within(self._soon(ends), found)
                replies.update((n, items[key]) for n, key in reads[side])
            except CrossfadeError as error:
                replies.update((n, error) for n, _ in reads[side])

        try:
            await self._within(ends, asyncio.gather(*(read(side) for side in Side if reads[side]), *map(write, Side)))
        except CrossfadeError as error:
            replies.update((n, error) for n in requests if n not in replies)
        return replies

    # What all share.

    def _task(self, key: Key, aim: Aim, op: Operation | None, complete: bool) -> Task:
        now_us = self._clock.wall_us()
        return Task(
            key=key,
            aim=aim,
            op=op,
            now_ms=now_us // 1000,
            seed=op.seed if op else seeded(now_us),
            soft=self._soft.get(key, SOFT_SIZE),
            complete=complete,
            may_hand_over=not self._excluded(key),
        )

    def _learn(self, key: Key, done: Done) -> None:
        if done.soft is None:
            return
        self._soft[key] = done.soft
        self._soft.move_to_end(key)
        if len(self._soft) > HINTS:
            self._soft.popitem(last=False)

    def _deadline(self, deadline: float | None) -> float:
        return asyncio.get_running_loop().time() + DEADLINE_S if deadline is None else deadline

    def _soon(self, ends: float) -> float:
        return min(ends, asyncio.get_running_loop().time() + self._attempt_s)

    async def _within(self, ends: float, work: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout_at(ends):
                return await work
        except TimeoutError as error:
            raise StoreUnavailable("no answer in time: outcome unknown") from error

    async def _may_retry(self, attempt: int, ends: float, asked_s: float | None) -> bool:
        wait_s = backoff_s(attempt, first_s=BACK_OFF_S, longest_s=LONGEST_WAIT_S, jitter=self._jitter())
        wait_s += asked_s or 0.0
        if asyncio.get_running_loop().time() + wait_s >= ends:
            return False
        await self._clock.sleep(wait_s)
        return True


_UNREAD: Final = StoreUnavailable("not read")


def _answered_by(done: Done, owner: OwnerImage) -> Done:
    return replace(done, side=owner.side, item=owner.item, authoritative=True)


def _left_behind(task: Task, request: Read | Perform, error: StoreRefused) -> Unfit | StoreRefused:
    """After `complete` the source table may be denied to us, or gone: only a key that was left behind asks for it."""
    return Unfit(str(error)) if task.complete and request.side is Side.SOURCE else error


def _error_of(done: Done) -> CrossfadeError | None:
    if done.outcome is Outcome.REFUSED:
        return KeyNotServed(done.because)
    if done.outcome is Outcome.AMBIGUOUS:
        return OwnershipAmbiguous("; ".join(step.reason for step in done.steps) or "both sides are standby")
    return None
