"""Plays a script from the first row to COMPLETE, and holds every promise to it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import math
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import structlog

from crossfade.contracts.letter import STRAY
from crossfade.core.mapping.interface import Mapping
from crossfade.core.ownership.machine import OwnershipRules
from crossfade.core.protocol.keyed.item import is_active
from crossfade.core.values.errors import CrossfadeError
from crossfade.core.values.shape import Direction, Side
from crossfade_controller.settings import ControllerSettings
from crossfade_verifier.settings import Settings as VerifierSettings
from engagement_migration import MAPPING
from simulation.consumers import Feed, Replicator
from simulation.control import SETTINGS, VERIFIER, Controller, Operator, Verifier
from simulation.ground import Ground, Table
from simulation.loop import VirtualLoop
from simulation.network import CALM_S, Network, Process
from simulation.pods import Book, Client, Pod
from simulation.script import Script
from simulation.story import Broken, Story

LONGEST_S: Final = 900.0
"""Virtual time that a whole migration may take."""

AFTER_S: Final = 0.5
"""Clients go on for so long after COMPLETE."""

MANY: Final = 100
"""Tries to have an accident."""


def _real_rules(mapping: Mapping) -> OwnershipRules:
    return OwnershipRules(mapping)


@dataclass(frozen=True)
class Code:
    """What is played: the real code, unless a fault is planted (`planted`).

    Attributes:
        table: what both tables are.
        rules: what pods and the sweeper decide by.
        pod, replicator, feed, controller: made for each life of such a process.
        meanwhile: goes on beside everything else.
    """

    table: type[Table] = Table
    rules: Callable[[Mapping], OwnershipRules] = _real_rules
    pod: type[Pod] = Pod
    replicator: type[Replicator] = Replicator
    feed: type[Feed] = Feed
    controller: type[Controller] = Controller
    meanwhile: Callable[[Ground], Coroutine[Any, Any, None]] | None = None


REAL: Final = Code()


@dataclass
class Played:
    """How a play ended.

    Attributes:
        script: that was played.
        broken: which promise was broken; "" when all were kept.
        story: what happened.
        happened: what chance did, by name, in its order.
        faults: of the network, that happened.
        calls: of ports.
        operations: that took effect.
        took_s: virtual time.
    """

    script: Script
    broken: str
    story: Story
    happened: Sequence[str]
    faults: int
    calls: int
    operations: int
    took_s: float


@cache
def settings() -> tuple[ControllerSettings, VerifierSettings]:
    return ControllerSettings(**SETTINGS), VerifierSettings(**VERIFIER)


class Stage:
    """Everybody who plays, and the supervisor that starts again whoever was killed or crashed."""

    def __init__(self, script: Script, code: Code, loop: VirtualLoop) -> None:
        self.script, self.code = script, code
        self.story = Story(loop.time)
        self.network = Network(loop, self.story, script)
        self.ground = Ground(script, self.network, code.table)
        self.book = Book()
        self.pods: list[Pod | None] = [None] * script.pods
        self.verifier: Verifier | None = None
        self.controller: Controller | None = None
        self._lives: Counter[str] = Counter()
        self.processes: dict[str, Process] = {}
        self._dice = random.Random(f"stage {script.seed}")
        self.ended: set[str] = set()
        self.over = self._updated = False

    # Processes.

    def start(self, name: str) -> None:
        """Start a process, or start it again."""
        self._lives[name] += 1
        life = f"{name}.{self._lives[name]}"
        skew_s = (2 * self.network.rolls(f"skew {life}")[0] - 1) * self.script.faults.skew_s
        process = Process(self.network, life, skew_s)
        process.outdated = not self._updated and name in {f"pod-{n}" for n in range(self.script.outdated)}
        self.processes[name] = process
        self.story.tell(process.name, "starts")
        process.spawn(self._living(name, process))

    async def _living(self, name: str, process: Process) -> None:
        try:
            process.on_crash = lambda error: self._crashed(name, process, error)
            await self._role(name, process)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._crashed(name, process, error)
        else:
            self.story.tell(process.name, "has no more work")
            self.ended.add(name)

    def _crashed(self, name: str, process: Process, error: BaseException) -> None:
        if process.dead or self.over:
            return
        self.story.tell(process.name, f"crashes: {type(error).__name__}: {error}")
        if not isinstance(error, CrossfadeError):
            self.network.watched(lambda: _raise(Broken(f"{process.name} crashed: {error!r}")))
        self.kill(name, say="ends")

    async def _role(self, name: str, process: Process) -> None:
        ground, code = self.ground, self.code
        if name.startswith("pod-"):
            pod = code.pod(process, ground, code.rules(MAPPING))
            self.pods[int(name[4:])] = pod
            await pod.run()
        elif name == "feed":
            await code.feed(process, ground).run()
        elif name == "verifier":
            self.verifier = Verifier(process, ground, settings()[1])
            await self.verifier.run()
        elif name == "controller":
            rules = code.rules(MAPPING)
            chosen = settings()[0].model_copy(update={"shards": self.script.shards})
            self.controller = code.controller(process, ground, self._verifier_now, chosen, rules)
            await self.controller.run()
        else:
            await code.replicator(process, ground, Direction(name)).run()

    def _verifier_now(self) -> Verifier | None:
        process = self.processes["verifier"]
        return None if process.dead else self.verifier

    def kill(self, name: str, *, say: str = "is killed") -> None:
        """Kill a process; it starts again a while later."""
        process = self.processes[name]
        if process.dead or name in self.ended:
            return
        self.story.tell(process.name, say)
        process.kill()
        rest_s = (0.1, 0.5, 2.0)[int(self.network.rolls(f"rest {process.name}")[0] * 3)]
        self.network.loop.call_later(rest_s, self.start, name)

    # The play.

    async def play(self) -> None:
        """Play everything; return when the migration has ended and all is drained."""
        script, loop = self.script, self.network.loop
        names = [*(f"pod-{n}" for n in range(script.pods)), "forward", "reverse", "feed", "verifier", "controller"]
        for name in names:
            self.start(name)
        clients = [Client(f"client-{n}", self.ground, self.pods, self.book) for n in range(script.clients)]
        calling = [loop.create_task(each.run()) for each in clients]
        operator = Operator(self.ground, self._waiting_for, self._verifier_now)
        asking = loop.create_task(operator.run())
        others = [loop.create_task(each) for each in self._weather(names)]
        if script.accidents:
            others.append(loop.create_task(operator.tend()))
        if self.code.meanwhile is not None:
            others.append(loop.create_task(self.code.meanwhile(self.ground)))
        try:
            await asyncio.wait({asking}, timeout=LONGEST_S)
            if not asking.done():
                raise AssertionError(f"no end after {LONGEST_S:g} s; it waits for: {self._waiting_for()}")
            asking.result()
            await asyncio.sleep(AFTER_S)
            for client in clients:
                client.stop = True
            await asyncio.wait(calling)
            for call in calling:
                call.result()
            for each in others:
                if each.done():
                    each.result()
                each.cancel()
            await self._drained()
        finally:
            self.over = True
            for each in (asking, *others, *calling):
                each.cancel()

    def _weather(self, names: list[str]) -> list[Coroutine[Any, Any, None]]:
        return [self._killing(names), self._updating(), self._flushing(), self._straying(), self._accidents()]

    def _waiting_for(self) -> str:
        driver = self.controller.driver if self.controller else None
        return driver.waiting_for if driver is not None else "a controller"

    async def _killing(self, names: list[str]) -> None:
        mean_s, number = self.script.faults.kills_s, 0
        if not mean_s:
            return
        while True:
            number += 1
            first, again, which, *_ = self.network.rolls(f"kill {number}")
            pause_s = _expovariate(mean_s, first)
            rush_s = self.ground.flags_changed_s
            while pause_s > 0:
                await asyncio.sleep(min(pause_s, 0.5))
                pause_s -= 0.5
                if self.ground.flags_changed_s != rush_s:  # while keys change hands, a kill tells most
                    pause_s = min(pause_s, 1.5 * again)
                    rush_s = self.ground.flags_changed_s
            if self.network.loop.time() < CALM_S and self.network.happens(f"kill {number}"):
                self.kill(names[int(which * len(names))])

    async def _updating(self) -> None:
        """Put pods of the next release in the place of outdated ones, while keys move."""
        while not self.ground.flags.current().document.share:  # noqa: ASYNC110 - in virtual time a look costs nothing
            await asyncio.sleep(1.0)
        await asyncio.sleep(self._dice.uniform(4, 20))
        self._updated = True
        for number in range(min(self.script.outdated, self.script.pods)):
            self.kill(f"pod-{number}", say="makes way for the next release")

    async def _flushing(self) -> None:
        mean_s, number = self.script.faults.flushes_s, 0
        while mean_s:
            number += 1
            await asyncio.sleep(_expovariate(mean_s, self.network.rolls(f"flush {number}")[0]))
            if self.network.happens(f"flush {number}"):
                self.ground.marks.flush()

    async def _straying(self) -> None:
        while not self.ground.flags.current().dual_write:  # noqa: ASYNC110
            await asyncio.sleep(0.5)
        for number in range(self.script.strays):
            dice = random.Random(f"stray {number} {self.script.seed}")
            await asyncio.sleep(dice.uniform(0.5, 4))
            for _ in range(20 if self.network.happens(f"stray {number}") else 0):
                key = dice.choice(self.ground.keys)
                deletes = key in self.ground.cold and dice.random() < 0.5
                if self.ground.stray(key, 0 if deletes else 1 + dice.randrange(9)):
                    break
                await asyncio.sleep(0.5)

    async def _accidents(self) -> None:
        """Overwrite standby rows: now and then, and whenever keys are about to change hands."""
        left, number = self.script.accidents, 0

        def happens() -> None:
            nonlocal left, number
            number += 1
            which, ahead, *_ = self.network.rolls(f"accident {number}")
            key = self.ground.keys[int(which * len(self.ground.keys))]
            if left and self.network.happens(f"accident {number}"):
                left -= self.ground.accident(key, (0, 1, 5, 5)[int(ahead * 4)])

        self.ground.on_flags = happens
        while left and number < MANY:
            await asyncio.sleep(1 + 5 * self.network.rolls(f"pause {number}")[0])
            happens()

    async def _drained(self) -> None:
        """Wait until the feed has told everything, and both appliers are done."""
        loop = self.network.loop
        ends_s = loop.time() + 60
        while loop.time() < ends_s:
            await asyncio.sleep(0.2)
            if {"forward", "reverse"} <= self.ended and not self._untold():
                return

    def _untold(self) -> set[bytes]:
        return set(self.ground.to_tell) - self.ground.aws.told_ids

    # The end.

    def check_end(self) -> None:
        """Compare what the tables and the feed say with the clients' books."""
        ground, book = self.ground, self.book
        for key in ground.keys:
            ground.check_key(key)
            if not is_active(ground.tables[Side.TARGET].item(key), Side.TARGET, complete=True):
                raise Broken(f"{key.decode()} was left behind: {ground.tables[Side.TARGET].item(key)}")
        for transaction_id in book.acknowledged:
            if ground.applied[transaction_id] != 1:
                raise Broken(f"acknowledged, and lost: {transaction_id.hex()}")
        for transaction_id in book.refused:
            if ground.applied[transaction_id]:
                raise Broken(f"refused, and applied: {transaction_id.hex()}")
        self._check_feed()
        ground.check_strays()
        # An accident at the very end leaves its letter to the operator; nothing else may leave one.
        waiting = [each for each in ground.store.letters.values() if not each.settled and each.code != STRAY]
        if waiting:
            raise Broken(f"{len(waiting)} letters are left: {waiting[0]}")

    def _check_feed(self) -> None:
        told = {(each.key, each.version, each.index): each for each in self.ground.aws.told}
        mine = [each for each in told.values() if each.key in self.ground.truth]
        ids = Counter(each.event.transaction_id for each in mine)
        if missing := self.ground.to_tell - ids:
            raise Broken(f"the feed never told of {[each.hex() for each in missing]}")
        if extra := ids - self.ground.to_tell:
            raise Broken(f"the feed told of what never was, or twice: {[each.hex() for each in extra]}")
        for key in self.ground.keys:
            chain = sorted((each for each in mine if each.key == key), key=lambda each: each.version)
            links = [each.previous for each in chain[1:]]
            if links != [each.version for each in chain[:-1]]:
                raise Broken(f"a gap in the feed of {key.decode()}: {chain}")


def _raise(error: Broken) -> None:
    raise error


def _expovariate(mean: float, rolled: float) -> float:
    return -mean * math.log(1 - rolled)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        structlog.reset_defaults()
        logging.disable(disabled)


def play(script: Script, code: Code = REAL) -> Played:
    """Play a script to its end, or to the first promise that is broken."""
    random.seed(f"jitter {script.seed}")
    loop = VirtualLoop()
    collects = gc.isenabled()
    gc.disable()  # a play is short, and a fifth of its time would go into looking for garbage
    with _quietly():
        try:
            return _played(script, code, loop)
        finally:
            _close(loop)
            if collects:
                gc.enable()
                gc.collect(0)  # what a play leaves is young


def _played(script: Script, code: Code, loop: VirtualLoop) -> Played:
    stage = Stage(script, code, loop)
    network, broken = stage.network, ""
    playing = loop.create_task(stage.play())
    network.on_broken = playing.cancel
    try:
        loop.run_until_complete(playing)
        if network.broken is None:
            network.watched(stage.check_end)
    except asyncio.CancelledError:
        pass
    except AssertionError as error:
        broken = str(error)
    stage.over = True
    if network.broken is not None:
        broken = str(network.broken)
    return Played(
        script,
        broken,
        stage.story,
        network.happened,
        network.faults,
        network.calls,
        sum(stage.ground.applied.values()),
        loop.time(),
    )


def _close(loop: VirtualLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        with contextlib.suppress(BaseException):
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    loop.close()
