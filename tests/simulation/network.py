"""Processes, and the calls that they make: each takes a rolled time, and may be lost, late, unanswered or throttled.

A request, once sent, arrives whether or not its sender still waits for it, or still lives: as with a real store.
"""

from __future__ import annotations

import asyncio
import inspect
import struct
from collections.abc import Callable, Coroutine
from hashlib import blake2b
from itertools import accumulate
from typing import Any, Final

from crossfade.core.protocol.keyed.writes import Activate, Fence, Reseal, Seal, SealAbsent, TakeBack
from crossfade.core.values.errors import StoreUnavailable, Throttled
from crossfade.ports.sending import NotSent
from simulation.loop import VirtualLoop
from simulation.script import Script
from simulation.story import Broken, Story

START_S: Final = 1_764_230_400.0
"""AWS's clock at the beginning of a play."""

BATCHES: Final = frozenset({"transfer", "perform_many"})
"""Requests of many statements, of which a lost answer says nothing: any number of them may have taken effect."""

CALM_S: Final = 40.0
"""From then on the weather is fine: a play has to end, and what was broken before has to heal."""

HANDOVER: Final = (Seal, SealAbsent, Activate, Reseal, Fence, TakeBack)
ANY: Final = ("lost", "unanswered", "late")
HANDED: Final = (*ANY, "throttled", "half_way")
KINDS: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(("read", "read_many", "scan_page"), (*ANY, "throttled")),
    "perform": (*ANY, "throttled", "untold"),
    "perform_many": (*ANY, "half_way"),
    "transfer": (*ANY, "throttled", "lagging"),
}
"""What may go wrong with a call of a table. (A batch's own answers say item by item what was throttled.)"""

_BECOMES: Final = {
    "half_way": ("lost", "unanswered", "late", "late", "late"),
    "lagging": ("lost", "late"),
    "untold": ("unanswered",),
}

_EIGHT: Final = struct.Struct("<8I").unpack

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
        self.tasks: dict[
            asyncio.Task[Any], None
        ] = {}  # in order: a set's is by address, and a kill is part of the story
        self.on_crash: Callable[[BaseException], None] = lambda _error: None
        self._booted_s = network.loop.time() - 10 - 990 * network.rolls(f"boot {name}")[0]

    def wall_us(self) -> int:
        return self.network.now_us() + int(self.skew_s * 1e6)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)  # of the virtual loop

    def monotonic(self) -> float:
        return self.network.loop.time() - self._booted_s

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run something in this process."""
        task = self.network.loop.create_task(work)
        self.tasks[task] = None
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self.tasks.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.on_crash(error)

    def call(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Serve one call in this process: its errors are the caller's affair."""
        task = self.network.loop.create_task(work)
        self.tasks[task] = None
        task.add_done_callback(lambda _: self.tasks.pop(task, None))
        return task

    def kill(self) -> None:
        """End it as SIGKILL does, between two calls of ports."""
        self.dead = True
        for task in list(self.tasks):
            task.cancel()

    def far(self, target: Any) -> Any:
        """Return a port of a store, as this process reaches it."""
        return Far(self, target)


class Far:
    """A port whose calls travel over the network."""

    def __init__(self, process: Process, target: Any) -> None:
        self._process, self._target = process, target

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if not inspect.iscoroutinefunction(found):
            return found
        process, network = self._process, self._process.network

        def call(*args: Any, **kwargs: Any) -> Any:
            return network.call(process, name, found, args, kwargs)

        setattr(self, name, call)
        return call


class Network:
    """Carries calls, with faults.

    Attributes:
        happened: what chance did so far, in its order: faults, kills, operations, strays; by name.
        faults: how many faults of calls are among them.
        calls: how many calls were made.
        broken: the first promise that was found broken.
        after: looks at what a call did, and raises Broken.
        on_broken: ends the play.
    """

    def __init__(self, loop: VirtualLoop, story: Story, script: Script) -> None:
        self.loop, self.story, self._script = loop, story, script
        self._calls_of: dict[str, int] = {}
        self._shares: dict[tuple[str, ...], list[tuple[float, str]]] = {}
        self.happened: list[str] = []
        self.faults = self.calls = 0
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

    # Chance.

    def rolls(self, act: str) -> list[float]:
        """Return eight numbers from 0 to 1 for one act: its own die, so that leaving out another changes nothing."""
        digest = blake2b(f"{self._script.seed} {act}".encode(), digest_size=32).digest()
        return [each * 2.0**-32 for each in _EIGHT(digest)]

    def happens(self, act: str) -> bool:
        """Say whether something that chance wants takes place: shrinking leaves most of it out."""
        only = self._script.only
        if only is not None and act not in only:
            return False
        self.happened.append(act)
        return True

    def _fault(self, kinds: tuple[str, ...], rolled: float, act: str) -> str:
        """Return which of some kinds of fault happens to a call; "" for none."""
        shares = self._shares.get(kinds)
        if shares is None:
            ends = accumulate(getattr(self._script.faults, kind) for kind in kinds)
            shares = self._shares[kinds] = list(zip(ends, kinds, strict=True))
        if rolled >= shares[-1][0] or self.loop.time() > CALM_S or not self.happens(act):
            return ""
        self.faults += 1
        return next(kind for end, kind in shares if rolled < end)

    # Calls.

    async def call(
        self, process: Process, name: str, method: Callable[..., Coroutine[Any, Any, Any]], args: Any, kwargs: Any
    ) -> Any:
        """Send a request; return its answer, or raise what the port may raise."""
        if process.dead:
            raise asyncio.CancelledError
        self.calls += 1
        subject = getattr(args[0], "key", args[0]) if args else ""
        act = f"{process.name} {name} {subject.decode() if type(subject) is bytes else ''}"
        number = self._calls_of[act] = self._calls_of.get(act, 0) + 1
        act = f"{act} {number}"
        rolls = self.rolls(act)
        fault = self._fault(self._kinds(name, args), rolls[0], act)
        if fault:
            self.story.tell(process.name, f"{name} {_brief(args)}: {fault}")
        result = await self._sent(name, method, args, kwargs, fault, rolls)
        if process.dead:
            raise asyncio.CancelledError
        return result

    def _kinds(self, name: str, args: Any) -> tuple[str, ...]:
        if name not in KINDS:
            return ANY
        if name == "perform":
            return HANDED if isinstance(args[0], HANDOVER) else KINDS[name]
        if name == "perform_many":
            return KINDS[name] if any(isinstance(each, HANDOVER) for each in args[0]) else ANY
        return KINDS[name]

    def _sent(
        self,
        name: str,
        method: Callable[..., Coroutine[Any, Any, Any]],
        args: Any,
        kwargs: Any,
        fault: str,
        rolls: list[float],
    ) -> asyncio.Future[Any]:
        """Send a request on its way; return where its answer will be. Nobody can call it back."""
        loop = self.loop
        _, there, back, slow, silence, prompt, which, part = rolls
        fault = _BECOMES[fault][int(which * len(_BECOMES[fault]))] if fault in _BECOMES else fault
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
                result = _performed(name, method, args, kwargs, fault, part)
            except Exception as raised:
                error = raised
            self.watched(self.after)
            if fault == "unanswered":
                return
            if prompt < 0.5:
                answer(result, error)
            else:
                loop.call_later(_way_s(back, slow < 0.12), answer, result, error)

        if fault != "lost":
            loop.call_later(0.1 + 1.9 * slow if fault == "late" else _way_s(there, slow > 0.88), arrive)
        if fault in ("lost", "unanswered"):
            loop.call_later(0.05 + 0.45 * silence, answer, None, StoreUnavailable("no answer: outcome unknown"))
        return answered


def _way_s(rolled: float, slow: bool) -> float:
    """Return how long one way takes: mostly some milliseconds, now and then some tens."""
    return 0.01 + 0.07 * rolled if slow else 0.0005 + 0.0055 * rolled


def _performed(
    name: str, method: Callable[..., Coroutine[Any, Any, Any]], args: Any, kwargs: Any, fault: str, part: float
) -> Any:
    """Do what a request asks for; of a batch whose answer is lost, or that is throttled, only some."""
    if fault == "throttled" and name != "transfer":
        raise Throttled("throttled")
    some = fault == "throttled" or (fault == "unanswered" and name in BATCHES and part < 0.5)
    if not some:
        return now(method(*args, **kwargs))
    taken = int(part * 2 % 1 * (len(args[0]) + (fault != "throttled")))
    done = now(method(args[0][:taken], *args[1:], **kwargs)) if taken else []
    return [*done, *[NotSent.THROTTLED] * (len(args[0]) - taken)]


def _brief(args: Any) -> str:
    named = (f"[{len(each)}]" if type(each) in (list, tuple) else str(getattr(each, "key", each)) for each in args)
    return ", ".join(named)[:60]
