"""A coordinator that was replaced goes on, and its requests come late: at every effect of its flip, at any of its
successor's."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import Any

import pytest
from test_controller_flip_killed import traffic

from controller_world import Killed
from crossfade.core.protocol.plain.map import State
from crossfade.core.values.errors import CrossfadeError, StoreRefused
from crossfade.core.values.shape import Side
from flip_world import FlipTown, done, start_again

SIGNED = ("put", "purge", "guard on", "guard off", "tombstones off the list")
"""Effects that DynamoDB takes as long as their signature is young."""

SEED = 4
"""Of traffic that leaves a row to copy and a tombstone to purge."""


class Stopped:
    """Stops the first controller before its nth effect, and lets it go on at an effect of the second one's."""

    def __init__(self, town: FlipTown, at: int, until: str) -> None:
        self.town, self.left, self.until = town, at, until
        self.is_stopped, self.goes_on = asyncio.Event(), asyncio.Event()
        self.first = town.starts + 1
        self.where = ""

    async def __call__(self, process: int, name: str) -> None:
        if name.startswith(("before", "after")):
            return  # the journal refuses a coordinator that lost its lease
        if process == self.first:
            self.left -= 1
            if self.left == -1:
                self.where, since_s = name, self.town.now_s
                self.is_stopped.set()
                await self.goes_on.wait()
                if name in SIGNED and self.town.now_s - since_s > self.town.settings.signature_s:
                    raise StoreRefused("the signature is too old", reason="InvalidSignatureException")
        elif self.is_stopped.is_set() and not self.goes_on.is_set() and name == self.until:
            self.goes_on.set()
            for _ in range(20):  # the late requests land right here
                await asyncio.sleep(0)


async def replaced(at: int, until: str, **settings: Any) -> str:
    """Flip; the coordinator is stopped, another one takes over and flips there and back, and the first one goes on."""
    town = FlipTown(**settings)
    await done(town, "start")
    stopped = Stopped(town, at, until)
    town.effect = stopped
    numbers = random.Random(SEED)
    town.loses = lambda _key: numbers.random() < 0.15
    writes = traffic(town, SEED)
    number = await town.ask("cutover")
    _, driver = await start_again(town)
    ticking: asyncio.Task[None] | None = None
    for _ in range(400):
        if stopped.is_stopped.is_set() or town.outcome(number) is not None:
            break
        await town.live()
        writes()
        ticking = asyncio.create_task(driver.tick())
        stop = asyncio.create_task(stopped.is_stopped.wait())
        await asyncio.wait({ticking, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
    if not stopped.is_stopped.is_set():
        return ""
    _, driver = await start_again(town)
    for wanted, verb in ((Side.TARGET, "cutover"), (Side.SOURCE, "rollback"), (Side.TARGET, "cutover")):
        for _ in range(400):
            await town.live()
            writes()
            await driver.tick()
            pending = list(driver._ctx.state.pending)
            if town.map is not None and town.map.owner is wanted and town.map.state is State.OPEN and not pending:
                break
            if not pending:
                town.check_open()
                await town.ask(verb)
        else:
            raise AssertionError(f"{stopped.where}: {driver.waiting_for}")
        town.check()
        town.check_open()
        await town.live(25)
    stopped.goes_on.set()
    assert ticking is not None
    with suppress(CrossfadeError, Killed):
        await ticking
    town.check()
    town.check_open()
    return stopped.where


@pytest.mark.parametrize("guard", [False, True])
@pytest.mark.parametrize(
    "until",
    [
        pytest.param("swap to draining", marks=pytest.mark.slow),
        "swap to sealed",
        "release ended",
        pytest.param("swapped to open", marks=pytest.mark.slow),
    ],
)
async def test_the_late_requests_of_a_coordinator_that_was_replaced_do_no_harm(until: str, guard: bool) -> None:
    where = list[str]()
    while "" not in where:  # until a flip has no more effects
        where.append(await replaced(len(where), until, guard=guard))
    assert {"hold begins", "put", "purge", "release begins", "swap to sealed", "swap to open"} <= set(where)
