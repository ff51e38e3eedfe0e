"""API pods, made of the API's own parts, and the clients that call them and keep books."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from msgspec.structs import replace

from crossfade.adapters.memory.control import MemoryHeartbeats, MemoryReports
from crossfade.application.epochs import Epochs
from crossfade.application.ownership import Ownership
from crossfade.application.pulse import Pulse
from crossfade.core.ownership.machine import OwnershipRules
from crossfade.core.protocol.keyed.operation import Operation
from crossfade.core.protocol.keyed.writes import Activate, Answer, Write
from crossfade.core.protocol.writing import Unfit
from crossfade.core.values.errors import CrossfadeError, StoreUnavailable, Unavailable
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade.ports.flags import Flags
from crossfade.runtime.figures import Figures, tell
from crossfade.runtime.statuses import Refusal
from engagement_api.mirror import Mirror
from engagement_api.operations import Kind, points_of, points_operation
from engagement_api.points import Points, Wallet
from engagement_api.refusals import InsufficientPoints, TransactionExpired, WalletNotFound
from engagement_migration import MAPPING
from simulation.ground import Ground, Table
from simulation.network import Process
from simulation.story import Broken

LEASE_S: Final = 2.0
OPERATION_S: Final = 0.8
RUSH_S: Final = 0.8
RUSH_PAUSE_S: Final = 0.15
PATIENCE_S: Final = 6.0
"""How long a client tries one operation before it gives it up as unknown."""


class PodFlags:
    """The flags as one pod sees them: it looks now and then, so what it knows may be old."""

    def __init__(self, process: Process, ground: Ground) -> None:
        self._process, self._ground = process, ground
        self._known = ground.flags.current()
        self._dice = random.Random(f"flags {process.name} {ground.script.seed}")

    def current(self) -> Flags:
        return self._known

    async def refresh(self) -> Flags:
        self._known = await self._process.far(self._ground.flags).refresh()
        return self._known

    async def watch(self, looked: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(self._dice.choice((0.1, 0.3, 0.3, 1.2)))
            if self._known == self._ground.flags.current():
                continue  # a look that shows what is known costs a call, and tells nothing
            try:
                await self.refresh()
                looked()
            except CrossfadeError:
                continue


class Pod:
    """One life of an API pod."""

    def __init__(self, process: Process, ground: Ground, rules: OwnershipRules) -> None:
        self.process, self._ground = process, ground
        tables = {side: process.far(table) for side, table in ground.tables.items()}
        if process.outdated:
            tables[Side.TARGET] = process.far(Refusing(ground.tables[Side.TARGET]))
        self._flags = PodFlags(process, ground)
        self._epochs = Epochs(self._flags)
        self._pulse = Pulse(
            process.far(MemoryHeartbeats(ground.store)),
            self._epochs,
            clock=process,
            pod=process.name,
            lease_s=LEASE_S,
            longest_operation_s=OPERATION_S,
        )
        self._figures = Figures(process.monotonic)
        marks = process.far(ground.marks)
        mirror = Mirror(MAPPING, tables, Trusting(marks), self._epochs, call_s=0.5, clock=process)
        ownership = Ownership(tables[Side.SOURCE], tables[Side.TARGET], MAPPING, clock=process)
        ownership._rules = rules
        self._points = Points(
            ownership,
            MAPPING,
            self._epochs,
            self._pulse,
            mirror,
            operation_s=OPERATION_S,
            clock=process,
        )
        self.ready = False

    async def run(self) -> None:
        process = self.process
        await self._flags.refresh()
        self._epochs.look()
        await self._pulse.beat()
        process.spawn(self._flags.watch(self._epochs.look))
        process.spawn(self._pulse.run())
        reports = process.far(MemoryReports(self._ground.store))
        process.spawn(tell(2.0, self._figures, reports, process.name, wall_us=process.wall_us))
        self.ready = True
        await asyncio.get_running_loop().create_future()

    async def operate(self, op: Operation) -> Wallet:
        """Serve a call; it ends with the pod."""
        return await self._served(self._operate(op))

    async def read(self, key: Key) -> Wallet:
        return await self._served(self._read(key))

    async def _served(self, work: Any) -> Wallet:
        if self.process.dead:
            work.close()
            raise Unavailable("connection refused", retry_after_s=0.1)
        task = self.process.call(work)
        await asyncio.wait({task})
        if task.cancelled():
            raise StoreUnavailable("connection lost: outcome unknown")
        found: Wallet = task.result()
        return found

    async def _operate(self, op: Operation) -> Wallet:
        seeded = replace(op, seed=self.process.wall_us() << 10)
        with self._figures.counting("EarnPoints"):
            return await self._points.operate(seeded)

    async def _read(self, key: Key) -> Wallet:
        with self._figures.counting("GetBalance"):
            return await self._points.read(key)


class Refusing:
    """The target table as a pod of another release meets it: it takes none of that release's activations, ever."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)

    async def perform(self, write: Write, *, timeout_s: float | None = None) -> Answer:
        if isinstance(write, Activate):
            return Unfit("this release can't write it there")
        return await self._table.perform(write, timeout_s=timeout_s)


class Trusting:
    """Marks as a process sees them: Redis that fails is Redis that knows nothing."""

    def __init__(self, far: Any) -> None:
        self._far = far

    async def seen(self, direction: Any, keys: Any) -> list[int | None]:
        try:
            found: list[int | None] = await self._far.seen(direction, keys)
        except CrossfadeError:
            return [None] * len(keys)
        return found

    async def mark(self, direction: Any, versions: Any) -> None:
        try:
            await self._far.mark(direction, versions)
        except CrossfadeError:
            return


@dataclass
class Book:
    """What clients were told.

    Attributes:
        acknowledged: transactions that were answered as applied.
        refused: transactions that were refused before anything of theirs was unknown.
        unknown: transactions whose outcome nobody told.
        seen: highest version that was acknowledged or read, by key.
    """

    acknowledged: set[bytes] = field(default_factory=set)
    refused: set[bytes] = field(default_factory=set)
    unknown: set[bytes] = field(default_factory=set)
    seen: dict[Key, int] = field(default_factory=dict)


class Client:
    """Calls pods, one call after another; retries what is unknown with the same transaction id, on any pod."""

    def __init__(self, name: str, ground: Ground, pods: list[Pod | None], book: Book) -> None:
        self.name, self._ground, self._pods, self._book = name, ground, pods, book
        self._dice = random.Random()
        self._number = 0
        self.stop = False

    async def run(self) -> None:
        while not self.stop:
            self._number += 1
            act = f"{self.name} {self._number}"
            self._dice.seed(f"{act} {self._ground.script.seed}")
            await asyncio.sleep(self._pause_s())
            key, reads = self._dice.choice(self._ground.warm), self._dice.random() < 0.15
            if not self._ground.network.happens(act):
                continue
            if reads:
                await self._read(key)
            else:
                await self._operate(self._operation(key))

    def _pause_s(self) -> float:
        """Everybody calls at once while keys change hands, a second or so after the flags changed."""
        rush = self._ground.network.loop.time() - self._ground.flags_changed_s < RUSH_S
        return self._dice.expovariate(1 / (RUSH_PAUSE_S if rush else self._ground.script.pause_s))

    def _operation(self, key: Key) -> Operation:
        kind = self._dice.choices((Kind.EARN, Kind.SPEND, Kind.DELETE), (12, 6, 2))[0]
        amount = 0 if kind is Kind.DELETE else self._dice.randrange(1, 9)
        stamp = self._ground.network.now_us() // 1000
        suffix = self._dice.getrandbits(48).to_bytes(6, "big") + self._number.to_bytes(4, "big")
        transaction_id = stamp.to_bytes(6, "big") + suffix
        return points_operation(kind, key, transaction_id, amount, 0, reason=self.name)

    def _pod(self) -> Pod | None:
        living = [each for each in self._pods if each is not None and each.ready and not each.process.dead]
        return self._dice.choice(living) if living else None

    async def _operate(self, op: Operation) -> None:
        book, story, number = self._book, self._ground.story, op.transaction_id.hex()[-6:]
        ends_s = self._ground.network.loop.time() + PATIENCE_S
        unknown = False
        story.tell(self.name, f"asks {op.verb.name} {points_of(op)} on {op.key.decode()} {number}")
        while self._ground.network.loop.time() < ends_s:
            pod = self._pod()
            if pod is not None:
                try:
                    wallet = await pod.operate(op)
                except (InsufficientPoints, WalletNotFound) as error:
                    story.tell(self.name, f"{number} refused: {type(error).__name__}")
                    if not unknown:
                        book.refused.add(op.transaction_id)
                    return
                except TransactionExpired:
                    break
                except (Refusal, Unavailable) as error:
                    story.tell(self.name, f"{number} at {pod.process.name}: {error}")
                except CrossfadeError as error:
                    unknown = True
                    story.tell(self.name, f"{number} at {pod.process.name}: {error}")
                else:
                    replayed = " (replayed)" if wallet.replayed else ""
                    story.tell(self.name, f"{number} acknowledged: {wallet.balance}{replayed}")
                    book.acknowledged.add(op.transaction_id)
                    self._ground.network.watched(lambda: self._acknowledged(op))
                    return
            await asyncio.sleep(self._dice.uniform(0.05, 0.3))
        book.unknown.add(op.transaction_id)

    def _acknowledged(self, op: Operation) -> None:
        if not self._ground.applied[op.transaction_id]:
            raise Broken(f"acknowledged, and never applied: {op.transaction_id.hex()}")

    async def _read(self, key: Key) -> None:
        pod = self._pod()
        if pod is None:
            return
        least = self._book.seen.get(key, 0)
        try:
            wallet = await pod.read(key)
        except CrossfadeError:
            return
        self._ground.network.watched(lambda: self._seen(key, wallet, least))

    def _seen(self, key: Key, wallet: Wallet, least: int) -> None:
        if wallet.version < least:
            raise Broken(f"a consistent read of {key.decode()} saw version {wallet.version} after {least}")
        self._book.seen[key] = max(wallet.version, self._book.seen.get(key, 0))
