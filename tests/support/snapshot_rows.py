"""Starts of a whole migration whose snapshot meets rows that can't be mapped."""

from __future__ import annotations

import gzip
import json
from typing import Any

from controller_world import Town, run
from crossfade.core.migration.phases import Phase
from crossfade.core.values.image import of_string
from crossfade.core.values.shape import Side
from crossfade_controller.context import Context
from crossfade_controller.driver import Driver
from engagement_api.keys import wallet_key


def key_of(user: str) -> str:
    return wallet_key(user, "chan").decode()


def spoil(town: Town, *users: str) -> None:
    """Give rows an attribute that the mapping doesn't know."""
    table = town.tables[Side.SOURCE]
    for user in users:
        table.put({**table.images[wallet_key(user, "chan")], "surprise": of_string("unknown to the mapping")})


def mend(town: Town, *users: str) -> None:
    table = town.tables[Side.SOURCE]
    for user in users:
        row = table.images[wallet_key(user, "chan")]
        table.put({name: value for name, value in row.items() if name != "surprise"})


async def stopped(town: Town, *users: str) -> tuple[int, Context, Driver]:
    """A start whose snapshot meets rows that can't be mapped: they came after the plan was checked."""
    start = await town.ask("start", exclude=[])
    await run(town, lambda: bool(town.entries("begun")) and town.entries("begun")[-1].body["step"] == "capture")
    spoil(town, *users)
    ctx, driver = await run(town, lambda: any(each.body["step"] == "map" for each in town.entries("begun")))
    for _ in range(3):
        await town.live()
        await driver.tick()
    return start, ctx, driver


def listed(town: Town, said: str) -> list[dict[str, str]]:
    name = said.partition("s3://exports/")[2].partition(". ")[0]
    return [json.loads(line) for line in gzip.decompress(town.aws.objects[name]).splitlines()]


def done(town: Town, step: str) -> list[dict[str, Any]]:
    return [dict(each.body) for each in town.entries("step") if each.body["step"] == step]


async def in_both_ways(town: Town) -> None:
    ctx, _ = await town.start()
    await run(town, lambda: bool(town.entries("phase")) and town.entries("phase")[-1].body["to"] == "BOTH_WAYS")
    assert ctx.state.phase is not Phase.ABORTED
