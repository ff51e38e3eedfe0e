"""Every planted difference is found, on its keys alone, by each way of seeing; another spelling is found by none.

Each mode looks once at a world in which everything is planted at once, on two keys each, among keys that are equal:
under the keyed protocol, and under the plain one.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import pytest

import plain_kinds
from crossfade.adapters.clock import SYSTEM
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade_verifier.offline.comparing import compare_exports
from export_files import write_both
from heard_world import Heard
from plain_world import PlainWorld
from planted_kinds import DIFFERENT, EQUAL, Planted, filled
from verifier_world import BOUND_S, World, wallet

EACH: Final = 2
"""Keys on which each is planted."""

BESIDE: Final = 40
"""Keys that stay equal."""


class Kinds(NamedTuple):
    """What is planted under a protocol.

    Attributes:
        different: what must be found.
        equal: what must not.
        filled: returns a world of so many rows, and whose they are.
    """

    different: Sequence[Planted]
    equal: Sequence[Planted]
    filled: Callable[[int, Side], World]

    @property
    def names(self) -> list[str]:
        return sorted({each.kind for each in self.different})


PROTOCOLS: Final = {
    "keyed": Kinds(DIFFERENT, EQUAL, filled),
    "plain": Kinds(plain_kinds.DIFFERENT, plain_kinds.EQUAL, plain_kinds.plain_filled),
}


def by_sweep(world: World, plant: Callable[[World], None], wallets: int) -> set[Key]:
    """Return the keys that a pass over both tables finds."""
    plant(world)
    found = asyncio.run(world.sweep())
    return {key for keys in found.keys.values() for key in keys}


def by_offline(world: World, plant: Callable[[World], None], wallets: int) -> set[Key]:
    """Return the keys that two exports of one moment differ in."""
    plant(world)
    with TemporaryDirectory() as folder:
        exports, out = write_both(Path(folder), world), Path(folder) / "differences.jsonl"
        complete = isinstance(world, PlainWorld) and world.owner() is Side.TARGET
        work = Path(folder) / "work"
        compare_exports(world.mapping, *exports.values(), clock=SYSTEM, folder=work, out=out, complete=complete)
        return {Key(json.loads(line)["key"].encode()) for line in out.read_text().splitlines()}


def by_continuous(world: World, plant: Callable[[World], None], wallets: int) -> set[Key]:
    """Return the keys that are named by listening to both streams, whose records come shuffled, a fifth of them twice.

    A key without an owner is standby on both sides to it, as in a handover: it is named by its age.
    """
    dice = random.Random(wallets)
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
RUNS: Final = [(mode, protocol) for mode in MODES for protocol in PROTOCOLS]


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


def plants_of(protocol: str, owner: Side) -> list[Planted]:
    kinds = PROTOCOLS[protocol]
    return [each for each in (*kinds.different, *kinds.equal) if each.needs in (None, owner) or protocol == "plain"]


def look(protocol: str, mode: str, owner: Side) -> Looked:
    plants = plants_of(protocol, owner)
    planted = {
        str(each): {wallet(number) for number in range(EACH * at, EACH * (at + 1))} for at, each in enumerate(plants)
    }
    wallets = EACH * len(plants) + BESIDE

    def plant(world: World) -> None:
        for each in plants:
            for key in sorted(planted[str(each)]):
                each.harm(world, key)

    world = PROTOCOLS[protocol].filled(wallets, owner)
    beside = {wallet(number) for number in range(EACH * len(plants), wallets)}
    return Looked(planted, beside, MODES[mode](world, plant, wallets))


@pytest.fixture(scope="module")
def looked() -> Callable[[str, str, Side], Looked]:
    """Each mode looks once at the world of each protocol and owner."""
    done: dict[tuple[str, str, Side], Looked] = {}

    def once(protocol: str, mode: str, owner: Side) -> Looked:
        if (protocol, mode, owner) not in done:
            done[protocol, mode, owner] = look(protocol, mode, owner)
        return done[protocol, mode, owner]

    return once


@pytest.mark.parametrize("owner", Side, ids=lambda side: f"{side.value} owns")
@pytest.mark.parametrize(
    ("mode", "protocol", "kind"), [(*each, kind) for each in RUNS for kind in PROTOCOLS[each[1]].names]
)
def test_each_planted_difference_of_a_kind_is_found(
    mode: str, protocol: str, kind: str, owner: Side, looked: Callable[[str, str, Side], Looked]
) -> None:
    seen, different = looked(protocol, mode, owner), PROTOCOLS[protocol].different
    wanted = [each for each in plants_of(protocol, owner) if each.kind == kind]
    assert wanted
    unseen = {str(each) for each in wanted if each in different and not seen.planted[str(each)] <= seen.found}
    assert not unseen


@pytest.mark.parametrize("owner", Side, ids=lambda side: f"{side.value} owns")
@pytest.mark.parametrize(("mode", "protocol"), RUNS)
def test_nothing_is_found_where_nothing_differs(
    mode: str, protocol: str, owner: Side, looked: Callable[[str, str, Side], Looked]
) -> None:
    seen = looked(protocol, mode, owner)
    assert not seen.beside & seen.found
    equal = (str(each) for each in PROTOCOLS[protocol].equal)
    assert not {each for each in equal if each in seen.planted and seen.planted[each] & seen.found}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_there_are_kinds_enough_and_each_comes_on_either_side(protocol: str) -> None:
    kinds = PROTOCOLS[protocol].names
    assert len(kinds) >= 16
    for side in Side:
        assert {each.kind for each in plants_of(protocol, side)} >= set(kinds)
