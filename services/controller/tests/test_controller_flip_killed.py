"""The controller is killed at every step of a flip, and at every effect within; writes go on whenever they may."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from crossfade.core.migration.phases import Phase
from crossfade.core.protocol.plain.map import State
from flip_world import FlipTown, Killed, done, run, settled


class Assassin:
    """Kills at the nth effect, and at some after that."""

    def __init__(self, at: int, then: tuple[int, ...] = ()) -> None:
        self.left = [at, *then]
        self.effects: list[str] = []

    async def __call__(self, _process: int, name: str) -> None:
        self.effects.append(name)
        if not self.left:
            return
        self.left[0] -= 1
        if self.left[0] < 0:
            self.left.pop(0)
            raise Killed(name)


def traffic(town: FlipTown, seed: int) -> Callable[[], None]:
    """An application that writes whenever it may."""
    numbers = random.Random(seed)

    def once() -> None:
        number = numbers.randrange(12)
        if numbers.random() < 0.25:
            town.delete(number)
        else:
            town.write(number, f"s{numbers.randrange(1000)}")

    return once


async def flipped(town: FlipTown, verb: str, seed: int) -> None:
    """Ask for a flip until it is done, under traffic; a coordinator that dies leaves nobody held."""
    writes = traffic(town, seed)
    for _ in range(12):
        number = await town.ask(verb)
        outcome = await settled(town, number, between=writes)
        town.check_open()
        if outcome["outcome"] == "done":
            return
        assert outcome["outcome"] == "given_up", outcome
        town.check()
    raise AssertionError("given up again and again")


async def flips_when_killed(at: int, then: tuple[int, ...] = (), **settings: Any) -> list[str]:
    """Flip there and back with kills in between; return the effects."""
    town, numbers = FlipTown(**settings), random.Random(at)
    await done(town, "start")
    town.loses = lambda _key: numbers.random() < 0.05
    town.effect = assassin = Assassin(at, then)
    await flipped(town, "cutover", at)
    town.check()
    await town.live(25)
    await flipped(town, "rollback", at + 1)
    town.check()
    assert town.map is not None
    assert town.map.state is State.OPEN
    ctx, _ = await run(town, lambda: True)
    assert ctx.state.phase is Phase.BOTH_WAYS
    return assassin.effects


@pytest.mark.parametrize("guard", [False, True])
async def test_a_kill_anywhere_in_a_flip_loses_nothing_and_leaves_nobody_held(guard: bool) -> None:
    effects = await flips_when_killed(10_000, guard=guard)
    for at in range(0, len(effects), 7):
        await flips_when_killed(at, guard=guard)
