"""Every planted difference is found, on its keys alone, by each way of seeing; another spelling is found by none.

Each mode looks once at a world in which everything is planted at once, on two keys each, among keys that are equal.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import pytest

from crossfade.adapters.clock import SYSTEM
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade_verifier.offline.comparing import compare_exports
from engagement_migration import MAPPING
from export_files import write_both
from heard_world import Heard
from planted_kinds import DIFFERENT, EQUAL, KINDS, Planted, filled
from verifier_world import BOUND_S, World, wallet

EACH: Final = 2
"""Keys on which each is planted."""

BESIDE: Final = 40
"""Keys that stay equal."""


def by_sweep(owner: Side, plant: Callable[[World], None], wallets: int) -> set[Key]:
    """Return the keys that a pass over both tables finds."""
    world = filled(wallets, owner)
    plant(world)
    found = asyncio.run(world.sweep())
    return {key for keys in found.keys.values() for key in keys}


def by_offline(owner: Side, plant: Callable[[World], None], wallets: int) -> set[Key]:
    """Return the keys that two exports of one moment differ in."""
    world = filled(wallets, owner)
    plant(world)
    with TemporaryDirectory() as folder:
        exports, out = write_both(Path(folder), world), Path(folder) / "differences.jsonl"
        compare_exports(MAPPING, *exports.values(), clock=SYSTEM, folder=Path(folder) / "work", out=out)
        return {Key(json.loads(line)["key"].encode()) for line in out.read_text().splitlines()}


def by_continuous(owner: Side, plant: Callable[[World], None], wallets: int) -> set[Key]:
    """Return the keys that are named by listening to both streams, whose records come shuffled, a fifth of them twice.

    A key without an owner is standby on both sides to it, as in a handover: it is named by its age.
    """
    world, dice = filled(wallets, owner), random.Random(wallets)
    heard = Heard(world)
    before = len(world.changes)
    plant(world)
    changes = world.changes[before:]
    changes += [change for change in changes if dice.random() < 0.2]
    dice.shuffle(changes)

    async def listen() -> None:
        for side, change in changes:
            heard.mode.hear(side, change)
        await heard.goes_on(4 * BOUND_S)

    asyncio.run(listen())
    overdue = world.handovers.oldest(wallets, world.clock.now)
    return {key for keys in heard.found.values() for key in keys} | {key for key, age_s in overdue if age_s > BOUND_S}


MODES: Final = {"sweep": by_sweep, "continuous": by_continuous, "offline": by_offline}


class Looked(NamedTuple):
    """What a mode found in a world in which everything was planted.

    Attributes:
        planted: keys by what was planted on them.
        beside: keys that stayed equal.
        found: keys that the mode called.
    """

    planted: dict[str, set[Key]]
    beside: set[Key]
    found: set[Key]


def plants_of(owner: Side) -> list[Planted]:
    return [each for each in (*DIFFERENT, *EQUAL) if each.needs in (None, owner)]


def look(mode: str, owner: Side) -> Looked:
    plants = plants_of(owner)
    planted = {
        str(each): {wallet(number) for number in range(EACH * at, EACH * (at + 1))} for at, each in enumerate(plants)
    }
    wallets = EACH * len(plants) + BESIDE

    def plant(world: World) -> None:
        for each in plants:
            for key in sorted(planted[str(each)]):
                each.harm(world, key)

    return Looked(
        planted, {wallet(number) for number in range(EACH * len(plants), wallets)}, MODES[mode](owner, plant, wallets)
    )


@pytest.fixture(scope="module")
def looked() -> Callable[[str, Side], Looked]:
    """Each mode looks once at the world of each owner."""
    done: dict[tuple[str, Side], Looked] = {}

    def once(mode: str, owner: Side) -> Looked:
        if (mode, owner) not in done:
            done[mode, owner] = look(mode, owner)
        return done[mode, owner]

    return once


@pytest.mark.parametrize("owner", Side, ids=lambda side: f"{side.value} owns")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
def test_each_planted_difference_of_a_kind_is_found(
    mode: str, kind: str, owner: Side, looked: Callable[[str, Side], Looked]
) -> None:
    seen = looked(mode, owner)
    wanted = [each for each in plants_of(owner) if each.kind == kind]
    assert wanted
    unseen = {str(each) for each in wanted if each in DIFFERENT and not seen.planted[str(each)] <= seen.found}
    assert not unseen


@pytest.mark.parametrize("owner", Side, ids=lambda side: f"{side.value} owns")
@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_found_where_nothing_differs(mode: str, owner: Side, looked: Callable[[str, Side], Looked]) -> None:
    seen = looked(mode, owner)
    assert not seen.beside & seen.found
    called = {str(each) for each in EQUAL if str(each) in seen.planted and seen.planted[str(each)] & seen.found}
    assert not called


def test_there_are_kinds_enough_and_each_comes_on_either_side() -> None:
    assert len(KINDS) >= 16
    for side in Side:
        assert {each.kind for each in plants_of(side)} >= set(KINDS)
