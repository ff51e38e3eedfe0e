"""Plays a seed: cutover, rollback, cutover, complete, under traffic and faults; after each flip the book is checked."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property, partial
from typing import Any, Final, NamedTuple

from controller_world import Killed
from crossfade.contracts.letter import HOLD_BROKEN
from crossfade.core.migration.phases import Phase
from crossfade.core.protocol.plain.map import State
from crossfade.core.values.errors import CrossfadeError, StoreRefused
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Direction, Side
from crossfade_controller.hooks import TOO_LONG
from flip_world import key_of, start_again
from simulation.flips.script import Fault, faults_of
from simulation.flips.town import EXPIRES, ROWS, RunTown

SIGNED: Final = ("put", "purge", "guard on", "guard off", "tombstones off the list")
ALIKE, ABA, AGAIN, TWICE, LONELY, ARRIVES, NEVER, IGNORES = range(ROWS, ROWS + 8)
"""Orders that records are kept back of, and the two that a late write and a broken hold change."""

VERBS: Final = {Side.SOURCE: "cutover", Side.TARGET: "rollback"}
TICKS: Final = 700


class Played(NamedTuple):
    """What became of a seed."""

    seed: int
    hit: tuple[Fault, ...]
    flips: int
    kept_back: int
    parked: tuple[str, ...]
    broken: str


class Play:
    """One run."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.numbers = random.Random(seed * 7919 + 1)
        self.guard = seed % 3 == 0
        self.town = RunTown(seed, guard=self.guard, hold_at_most_s=60.0)
        self.town.effect = self._effect
        self.pending: list[Fault] = []
        self.hit: list[Fault] = []
        self.kept_back = 0
        self.parked: list[str] = []
        self.suspects: set[Key] = set()
        self.ignored: set[Key] = set()
        self.flips = 0
        self._kills_next = self._stops_next = False
        self._turn = ""
        self._was: Image | None = None
        self._goes_on = asyncio.Event()
        self._is_stopped = asyncio.Event()
        self._resumes_in = 0
        self._ghosts: list[asyncio.Task[None]] = []

    # Where faults hit.

    async def _effect(self, process: int, name: str) -> None:
        if process != self.town.starts:
            return  # a coordinator that was replaced; its journal refuses it
        if self._resumes_in:
            self._resumes_in -= 1
            if not self._resumes_in:
                await self._let_go_on()
        if name == "after step":
            await self._after(self.town.steps()[-1])
        elif not name.startswith(("before", "after")):
            if self._kills_next:
                self._kills_next = False
                raise Killed(name)
            if self._stops_next:
                self._stops_next = False
                await self._stop(name)

    async def _after(self, step: str) -> None:
        if step == "draining":
            self._keep_back()
        for each in [each for each in self.pending if each.step == step]:
            self.pending.remove(each)
            self.hit.append(each)
            if each.name == "controller killed":
                raise Killed(step)
            if each.name == "controller stopped, replaced, goes on":
                await self._stop(step)
            else:
                done = await self._strike(each.name)
                if not done:
                    self.hit.remove(each)
                    self.pending.append(each)

    async def _stop(self, name: str) -> None:
        """Be stopped for longer than the lease, while a replacement drives; then go on with what was under way."""
        since_s = self.town.now_s
        self._resumes_in = self.numbers.randrange(1, 30)
        self._goes_on = asyncio.Event()
        self._is_stopped.set()
        await self._goes_on.wait()
        if name in SIGNED and self.town.now_s - since_s > self.town.settings.signature_s:
            raise StoreRefused("the signature is too old", reason="InvalidSignatureException")

    async def _let_go_on(self) -> None:
        self._resumes_in = 0
        self._goes_on.set()
        for _ in range(20):  # its late requests land right here
            await asyncio.sleep(0)

    async def _strike(self, name: str) -> bool:
        """Do it; say whether it could be done here."""
        town, killed, stopped = self.town, " worker killed", " worker stopped for longer than its lease"
        if name.endswith(killed):
            await town.workers[Direction(name.removesuffix(killed))].kill()
        elif name.endswith(stopped):
            town.workers[Direction(name.removesuffix(stopped))].stopped_until_s = town.now_s + 4.0
        elif name.endswith("TTL deletes"):
            return town.expire(owner=name.startswith("the owner"))
        else:
            self._strikes[name]()
        return True

    @cached_property
    def _strikes(self) -> dict[str, Callable[[], None]]:
        town = self.town
        return {
            "controller killed at its next request": partial(setattr, self, "_kills_next", True),
            "controller stopped at its next request, replaced, request comes late": partial(
                setattr, self, "_stops_next", True
            ),
            "verifier killed": lambda: setattr(town, "verifier_until_s", town.now_s + 20.0),
            "records twice": lambda: town.again(town.history[-8:]),
            "records shuffled": self._shuffle,
            "records of earlier intervals again": lambda: town.again(town.some_of(town.history, 12)),
            "records from before the export again": lambda: town.again(town.some_of(town.before_export, 8)),
            "a late record comes": self._bring,
            "a record never comes": self._lose_a_record,
            "throttling": lambda: setattr(town, "throttled_until_s", town.now_s + 4.0),
            "clocks go four minutes wrong": town.turn_clocks,
            "a writer ignores the hold": self._ignore_the_hold,
            "the hold command fails": partial(town.hook_exit.append, 3),
            "the hold command hangs": partial(town.hook_exit.append, TOO_LONG),
            "the release command fails": partial(town.hook_exit.extend, (4, 4)),
            "equal commit times": self._write_at_once,
        }

    def _bring(self) -> None:
        self.kept_back += self.town.bring()

    def _shuffle(self) -> None:
        self.town.again(self.town.some_of(self.town.history[-12:], 12))
        self.town.delay_s = 2.0

    def _lose_a_record(self) -> None:
        town = self.town
        assert town.map is not None
        self.suspects.add(key_of(NEVER))
        town.loses_next.add(key_of(NEVER))
        assert town.set(NEVER, f"never {len(self.hit)}")

    def _keep_back(self) -> None:
        """Write what no record tells of until after the release: as an application does right before the hold."""
        town, turn = self.town, f"{self.flips}.{len(self.hit)}.{len(self.town.steps())}"
        keys = {key_of(each) for each in (ALIKE, ABA, AGAIN, LONELY)}
        if town.kept or town.writes_to is None or not town._may_write():
            return
        self._was = town.told[key_of(ABA)]
        town.set(TWICE, f"twice {turn}")
        town.kept.append(town.last_arrival())
        town.keeps |= keys
        town.set(ALIKE, f"alike {turn}")
        town.set(ABA, f"b {turn}")
        town.set(AGAIN, None)
        town.set(AGAIN, f"again {turn}")
        town.set(LONELY, f"lonely {turn}")
        town.keeps -= keys
        self.suspects |= keys | {key_of(TWICE)}
        self._turn = turn

    def _write_after_release(self) -> None:
        town = self.town
        town.set(ALIKE, f"alike {self._turn}")
        town.set(ABA, f"c {self._turn}")
        town.set(ABA, town.status_of(self._was))

    def _ignore_the_hold(self) -> None:
        """A writer writes to the table that owned before the flip; a guard that stands there refuses it."""
        town = self.town
        side = self.origin
        self.suspects.add(key_of(IGNORES))
        self.ignored.add(key_of(IGNORES))
        town.ignore(side, IGNORES, f"ignored {len(self.hit)}")

    def _write_at_once(self) -> None:
        town = self.town
        town.same_moment_us = town.now_us() + 1
        town.set(ARRIVES, "one")
        town.set(ARRIVES, f"two {len(self.hit)}")
        town.same_moment_us = 0
        self.suspects.add(key_of(ARRIVES))

    # The run.

    async def _tick(self) -> None:
        town = self.town
        if town.process is None:
            await start_again(town)
        assert town.process is not None
        ticking = asyncio.create_task(town.process[1].tick())
        stop = asyncio.create_task(self._is_stopped.wait())
        await asyncio.wait({ticking, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if self._is_stopped.is_set():
            self._is_stopped.clear()
            self._ghosts.append(ticking)
            await start_again(town)
            return
        try:
            ticking.result()
        except Killed:
            await start_again(town)

    async def _until(self, holds: Callable[[], bool], what: str, *, traffic: bool = True) -> None:
        for _ in range(TICKS):
            if holds():
                return
            await self.town.live()
            if traffic:
                self.town.traffic()
            await self._tick()
        assert self.town.process is not None
        raise AssertionError(f"{what}: {self.town.process[1].waiting_for}")

    async def _ask(self, verb: str, **arguments: Any) -> str:
        number = await self.town.ask(verb, **arguments)
        while True:
            await self._until(lambda: self.town.outcome(number) is not None or self._waits_for_a_letter(), verb)
            outcome = self.town.outcome(number)
            if outcome is not None:
                break
            await self._settle()
        return str(outcome["outcome"]) + ("" if outcome["outcome"] == "done" else f": {outcome['because']}")

    def _waits_for_a_letter(self) -> bool:
        """Say whether a letter that no hold found keeps a command waiting."""
        process = self.town.process
        return self.town.state is State.OPEN and process is not None and "dead_letters" in process[1].waiting_for

    async def flip(self, faults: list[Fault]) -> None:
        """Flip until it is done, whatever hits it, and compare the book."""
        town = self.town
        assert town.map is not None
        self.origin = town.map.owner
        self.pending += faults
        for _ in range(12):
            outcome = await self._ask(VERBS[self.origin])
            self._check_open()
            if outcome == "done":
                break
            assert outcome.startswith("given_up"), outcome
            await self._settle()
        else:
            raise AssertionError("given up again and again")
        self.flips += 1
        self._write_after_release()
        await town.live(1 + self.numbers.random() * 5)
        for _ in range(self.numbers.randrange(10)):
            await town.live()
            town.traffic()
            await self._tick()
        await self._settle()

    def _check_open(self) -> None:
        town = self.town
        town.check_open()
        assert all(state is not State.OPEN for _, state in town.errors), "the application was refused outside a stop"

    async def _settle(self) -> None:
        """Let all that was kept back come; then the owner has what the application was told, but for what is listed."""
        town = self.town
        town.delay_s = 0.0
        self.kept_back += town.bring()
        if self._resumes_in:
            await self._let_go_on()
        await self._until(self._is_at_rest, "all to be applied", traffic=False)
        await self._answer_letters()
        await self._until(self._is_at_rest, "the operator's writes to be applied", traffic=False)
        assert not town.differing()

    async def _answer_letters(self) -> None:
        """Compare the book, but for what is listed; then do what the operator does about each letter."""
        town = self.town
        letters = await town.letters.all()
        listed = {each.key for each in letters}
        wrong = {key: rows for key, rows in town.differing().items() if key not in listed}
        assert not wrong, f"the owner isn't what the book says: {wrong}"
        causeless = [(each.code, each.key) for each in letters if each.key not in self.suspects]
        assert not causeless, f"parked without a cause: {causeless}"
        broken = {each.key for each in letters if each.code == HOLD_BROKEN}
        assert broken <= self.ignored, f"no writer ignored the hold: {broken - self.ignored}"
        self.parked += [each.code for each in letters]
        for each in letters:  # the operator: what is missing is written, then the letter is discarded
            town.set_key(each.key)
            await town.letters.remove(each)

    def _is_at_rest(self) -> bool:
        town = self.town
        listed = {letter.key for letter in town.store.letters.values()}
        rows = [{k: v for k, v in town.contents(side).items() if k not in listed} for side in Side]
        are_idle = all(each.is_idle for each in town.workers.values())
        return are_idle and not town.on_their_way and rows[0] == rows[1] and not town.hints()

    async def run(self) -> None:
        town = self.town
        assert await self._ask("start") == "done"
        town.strays_since_us = town.now_us()
        await town.live(3)
        faults = faults_of(self.seed)
        assert town.map is not None
        while self.flips < 3 or faults or self.pending or town.map.owner is Side.SOURCE:
            some, faults = faults[:2], faults[2:]
            await self.flip(some)
            if town.told[key_of(EXPIRES)] is None:
                town.set(EXPIRES, f"due {self.flips}")
            assert self.flips < 12, f"not hit: {self.pending}"
            for _ in range(75):
                await town.live()
                town.traffic()
            await self._settle()
        assert await self._ask("complete", confirm="orders") == "done"
        assert town.process is not None
        assert town.process[0].state.phase is Phase.COMPLETE
        self._check_open()
        assert not town.differing()

    async def close(self) -> None:
        self._goes_on.set()
        for each in self._ghosts:
            with suppress(CrossfadeError, Killed):
                await each
        await self.town.close()


async def played(seed: int) -> Played:
    """Play a seed."""
    play = Play(seed)
    broken = ""
    try:
        await play.run()
    except (AssertionError, CrossfadeError) as error:
        broken = f"{type(error).__name__}: {error}"
    finally:
        await play.close()
    return Played(seed, tuple(play.hit), play.flips, play.kept_back, tuple(play.parked), broken)
