"""Processes, and the calls that they make: each takes a rolled time, and may be lost, late, unanswered or throttled.

A request, once sent, arrives whether or not its sender still waits for it, or still lives: as with a real store.
"""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Callable, Coroutine
from typing import Any, Final

from crossfade.core.protocol.keyed.writes import Activate, Fence, Reseal, Seal, SealAbsent, TakeBack
from crossfade.core.values.errors import StoreUnavailable, Throttled
from crossfade.ports.sending import NotSent
from simulation.loop import VirtualLoop
from simulation.script import Faults
from simulation.story import Broken, Story

START_S: Final = 1_764_230_400.0
"""AWS's clock at the beginning of a play."""

DATA_PLANE: Final = frozenset({"perform", "transfer", "read", "read_many", "scan_page"})
"""What a table may throttle. (A batch's own answers say it item by item; its request as a whole is lost or not.)"""

BATCHES: Final = frozenset({"transfer", "perform_many"})
"""Requests of many statements, of which a lost answer says nothing: any number of them may have taken effect."""

CALM_S: Final = 40.0
"""From then on the weather is fine: a play has to end, and what was broken before has to heal."""

ANY: Final = ("lost", "unanswered", "late")
HANDOVER: Final = (Seal, SealAbsent, Activate, Reseal, Fence, TakeBack)

Started = Callable[["Process"], Coroutine[Any, Any, None]]


def now(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that never waits, as nothing in memory does."""
    try:
        work.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("nothing waits in memory")


class Process:
    """One life of a process: from its start to its end or its kill.

    Attributes:
        name: of the process, with the number of its life.
        dead: it was killed: nothing that it left behind may reach anything.
        on_crash: told of an error that a task of its own died of.
        outdated: it is of a release whose activations the target table refuses for good (ADR 0014).
        skew_s: by how much its wall clock is ahead of AWS's.
    """

    def __init__(self, network: Network, name: str, skew_s: float) -> None:
        self.network, self.name, self.skew_s = network, name, skew_s
        self.dead = self.outdated = False
        self.tasks: set[asyncio.Task[Any]] = set()
        self.on_crash: Callable[[BaseException], None] = lambda _error: None
        self._booted_s = network.loop.time() - network.dice.uniform(10, 1000)

    def wall_us(self) -> int:
        return self.network.now_us() + int(self.skew_s * 1e6)

    def wall_s(self) -> float:
        return self.wall_us() / 1e6

    def monotonic(self) -> float:
        return self.network.loop.time() - self._booted_s

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run something in this process."""
        task = self.network.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.on_crash(error)

    def call(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Serve one call in this process: its errors are the caller's affair."""
        task = self.network.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def kill(self) -> None:
        """End it as SIGKILL does, between two calls of ports."""
        self.dead = True
        for task in list(self.tasks):
            task.cancel()

    def far(self, target: Any, *, steady: bool = False) -> Any:
        """Return a port of a store, as this process reaches it; `steady` where a client retries by itself, as botocore
        does, so that calls only take longer.
        """
        return Far(self, target, steady)


class Far:
    """A port whose calls travel over the network."""

    def __init__(self, process: Process, target: Any, steady: bool) -> None:
        self._process, self._target, self._steady = process, target, steady

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if not inspect.iscoroutinefunction(found):
            return found
        process, network = self._process, self._process.network

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await network.call(process, name, found, args, kwargs, steady=self._steady)

        setattr(self, name, call)
        return call


class Network:
    """Carries calls, with faults.

    Attributes:
        faults_seen: how many faults happened so far.
        calls: how many calls were made.
        broken: the first promise that was found broken.
        after: looks at what a call did, and raises Broken.
        on_broken: ends the play.
    """

    def __init__(self, loop: VirtualLoop, story: Story, faults: Faults, seed: int, most_faults: int | None) -> None:
        self.loop, self.story, self.faults = loop, story, faults
        self.dice = random.Random(f"network {seed}")
        self._fault_dice = random.Random(f"faults {seed}")
        self._most_faults = most_faults
        self.faults_seen = self.calls = 0
        self.broken: Broken | None = None
        self.after: Callable[[], None] = lambda: None
        self.on_broken: Callable[[], object] = lambda: None

    def watched(self, act: Callable[[], None]) -> None:
        """Do something that may find a promise broken; the play ends there."""
        if self.broken is None:
            try:
                act()
            except Broken as error:
                self.broken = error
                self.on_broken()

    def now_us(self) -> int:
        """AWS's clock, µs."""
        return int((START_S + self.loop.time()) * 1e6)

    def fault(self, *kinds: str) -> str:
        """Roll for the first of some kinds of fault that happens now; "" for none."""
        rolled = self._fault_dice.random()
        if self.loop.time() > CALM_S:
            return ""
        for kind in kinds:
            share: float = getattr(self.faults, kind, 1.0)
            if rolled < share:
                if self._most_faults is not None and self.faults_seen >= self._most_faults:
                    return ""
                self.faults_seen += 1
                return kind
            rolled -= share
        return ""

    async def call(
        self,
        process: Process,
        name: str,
        method: Callable[..., Coroutine[Any, Any, Any]],
        args: Any,
        kwargs: Any,
        *,
        steady: bool = False,
    ) -> Any:
        """Send a request; return its answer, or raise what the port may raise."""
        if process.dead:
            raise asyncio.CancelledError
        self.calls += 1
        fault = self.fault(*(("late",) if steady else self._kinds(name, args)))
        if fault:
            self.story.tell(process.name, f"{name} {_brief(args)}: {fault}")
        result = await self._sent(name, method, args, kwargs, fault)
        if process.dead:
            raise asyncio.CancelledError
        return result

    def _kinds(self, name: str, args: Any) -> tuple[str, ...]:
        if name == "perform":
            return (*ANY, "throttled", "half_way" if isinstance(args[0], HANDOVER) else "untold")
        if name == "perform_many":
            return (*ANY, "half_way") if any(isinstance(each, HANDOVER) for each in args[0]) else ANY
        if name == "transfer":
            return (*ANY, "throttled", "lagging")
        return (*ANY, "throttled") if name in DATA_PLANE else ANY

    def _sent(
        self, name: str, method: Callable[..., Coroutine[Any, Any, Any]], args: Any, kwargs: Any, fault: str
    ) -> asyncio.Future[Any]:
        """Send a request on its way; return where its answer will be. Nobody can call it back."""
        dice, loop = self.dice, self.loop
        there_s, back_s = self._way_s(), self._way_s()
        if fault == "half_way":
            fault = dice.choice(("lost", "unanswered", "late", "late", "late"))
        if fault == "lagging":
            fault = dice.choice(("lost", "late"))
        fault = "unanswered" if fault == "untold" else fault
        silence_s = dice.uniform(0.05, 0.5)
        answered: asyncio.Future[Any] = loop.create_future()

        def answer(result: Any, error: BaseException | None) -> None:
            if answered.done():
                return
            if error is not None:
                answered.set_exception(error)
            else:
                answered.set_result(result)

        def arrive() -> None:
            result, error = None, None
            try:
                result = self._performed(name, method, args, kwargs, fault)
            except Exception as raised:
                error = raised
            self.watched(self.after)
            if fault == "unanswered":
                return
            if dice.random() < 0.5:
                answer(result, error)
            else:
                loop.call_later(back_s, answer, result, error)

        if fault != "lost":
            loop.call_later(dice.uniform(0.1, 2.0) if fault == "late" else there_s, arrive)
        if fault in ("lost", "unanswered"):
            loop.call_later(silence_s, answer, None, StoreUnavailable("no answer: outcome unknown"))
        return answered

    def _way_s(self) -> float:
        """Roll how long one way takes: mostly some milliseconds, now and then some tens."""
        return self.dice.uniform(0.01, 0.08) if self.dice.random() < 0.12 else self.dice.uniform(0.0005, 0.006)

    def _performed(
        self, name: str, method: Callable[..., Coroutine[Any, Any, Any]], args: Any, kwargs: Any, fault: str
    ) -> Any:
        if fault == "throttled":
            return self._throttled(name, method, args, kwargs)
        if fault == "unanswered" and name in BATCHES and self.dice.random() < 0.5:
            return now(method(args[0][: self.dice.randrange(len(args[0]) + 1)], *args[1:], **kwargs))
        return now(method(*args, **kwargs))

    def _throttled(self, name: str, method: Callable[..., Coroutine[Any, Any, Any]], args: Any, kwargs: Any) -> Any:
        """Refuse a request for the moment; of transfers only some, as DynamoDB does."""
        if name != "transfer":
            raise Throttled("throttled")
        taken = self.dice.randrange(len(args[0]))
        done = now(method(args[0][:taken], *args[1:], **kwargs)) if taken else []
        return [*done, *[NotSent.THROTTLED] * (len(args[0]) - taken)]


def _brief(args: Any) -> str:
    named = (f"[{len(each)}]" if type(each) in (list, tuple) else str(getattr(each, "key", each)) for each in args)
    return ", ".join(named)[:60]
