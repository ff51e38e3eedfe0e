"""What is followed costs bounded memory: bytes a key, versions of a hot key, and keys of a list."""

from __future__ import annotations

import asyncio
import base64
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from msgspec import Raw

from crossfade.core.parity.classes import Difference, Pair
from crossfade.core.protocol.row import Row
from crossfade.core.replication.change import Change, ChangeKind
from crossfade.core.values.image import Image, of_number
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade.runtime.pace import Pace
from crossfade_verifier.both import BothTables
from crossfade_verifier.followlist import FollowList
from engagement_migration import MAPPING
from verifier_world import HookedTable, World, wallet

RATE = 60
SKEW = int(4.5 * RATE)
"""Versions that one stream is behind the other."""

BYTES_A_KEY = 2048
BYTES_A_HOT_KEY = 1_000_000


class Outcomes:
    """What became of each key."""

    def __init__(self) -> None:
        self.found: dict[Key, Difference] = {}

    def called(self, key: Key, found: Difference, _pair: Pair, *, verified_by: Row | None) -> None:
        assert key not in self.found
        self.found[key] = found


def listed(world: World, *, most: int = 1000, **more: Any) -> tuple[FollowList, Outcomes, BothTables]:
    both, outcomes = BothTables(MAPPING, world.reading[Side.SOURCE], world.reading[Side.TARGET]), Outcomes()
    pace = Pace(1e9, now_s=world.clock.monotonic, sleep=world.clock.sleep)
    followed = FollowList(
        both,
        outcomes,
        pace,
        world.handovers,
        bound_s=10.0,
        limit_s=60.0,
        every_s=1.0,
        rows=both.rows(),
        clock=world.clock,
        at_most_us=world.clock.wall_us,
        most=most,
        **more,
    )
    return followed, outcomes, both


@contextmanager
def counted() -> Iterator[list[int]]:
    """Count the bytes that are held at the end and were not at the beginning."""
    found: list[int] = []
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        yield found
        found.append(tracemalloc.get_traced_memory()[0] - before)
    finally:
        tracemalloc.stop()


async def test_a_followed_key_costs_less_than_its_row() -> None:
    world, keys = World(200), [wallet(number) for number in range(200)]
    for key in keys:
        world.earn(key, 1)
    followed, _, both = listed(world)
    with counted() as found:
        rows = {side: await both.read(side, keys) for side in Side}
        for key in keys:
            followed.add(key, Pair(rows[Side.SOURCE][key], rows[Side.TARGET][key]))
        del rows
    assert len(followed) == 200
    assert found[0] / 200 < BYTES_A_KEY


def at_version(image: Image, version: int) -> Image:
    """A version of a row that holds 1,000 transaction ids, each of its own."""
    ids = (base64.b64encode((version * 1000 + number).to_bytes(16, "big")).decode() for number in range(1000))
    return image | {"cf_mv": of_number(version), "cf_recent": Raw(b'{"BS":["%b"]}' % '","'.join(ids).encode())}


async def test_a_hot_key_with_1000_ids_is_verified_behind_its_skew_and_costs_bounded_memory() -> None:
    world, key = World(1), wallet(0)
    world.earn(key, 1)
    followed, outcomes, both = listed(world)
    rows = {side: await both.read(side, [key]) for side in Side}
    first = rows[Side.SOURCE][key].version or 0
    world.copy(key)
    images = {side: dict(world.tables[side].images[key]) for side in Side}

    def hear(side: Side, version: int) -> None:
        made = at_version(images[side], version)
        followed.hear(side, Change("t", ChangeKind.MODIFY, key, world.clock.wall_us(), True, made, None, False))

    with counted() as found:
        followed.add(key, Pair(rows[Side.SOURCE][key], rows[Side.TARGET][key]))
        for version in range(first + 1, first + 1 + SKEW):
            hear(Side.SOURCE, version)
    assert found[0] < BYTES_A_HOT_KEY
    assert not outcomes.found
    hear(Side.TARGET, first + 1)
    assert outcomes.found == {key: Difference.EQUAL}


async def test_a_full_list_holds_the_scan_until_its_keys_are_called() -> None:
    world = World(40)
    for number in range(40):
        world.plant(Difference.DIVERGED, wallet(number))
    most = 0

    def watch() -> None:
        nonlocal most
        most = max(most, len(world.followed))
        held.append(world.followed.held_since_s is not None)

    held: list[bool] = []
    world.clock.on_sleep = watch
    found = await world.sweep(most=5)
    assert found.book.by_class == {Difference.DIVERGED: 40}
    assert any(held)
    assert 5 <= most <= 5 + 2 * 3, "as many as its segments had read when it was full"


async def test_keys_that_nothing_calls_are_given_up_while_they_fill_the_list() -> None:
    world = World(20)
    for number in range(20):
        world.seal(wallet(number), 2)
    found = await asyncio.wait_for(world.sweep(most=4, limit_s=15.0), 30)
    assert found.book.by_class == {Difference.IN_HANDOVER: 20}
    assert found.left_out == 20


async def test_a_key_that_the_streams_have_verified_is_not_read_but_not_before_its_bound() -> None:
    world, key, asked = World(1), wallet(0), []
    world.earn(key, 1)

    def proven(key: Key, version: int) -> bool:
        asked.append((key, version))
        return True

    reads = 0

    def read() -> None:
        nonlocal reads
        reads += 1

    world.reading = {side: HookedTable(world.tables[side], read) for side in Side}
    followed, outcomes, both = listed(world, proven=proven)
    rows = {side: await both.read(side, [key]) for side in Side}
    reads = 0
    followed.add(key, Pair(rows[Side.SOURCE][key], rows[Side.TARGET][key]))
    await followed.look()
    assert (asked, outcomes.found) == ([], {})
    await world.clock.sleep(10.0)
    await followed.look()
    assert asked == [(key, rows[Side.SOURCE][key].version)]
    assert (reads, outcomes.found) == (0, {key: Difference.EQUAL})


async def test_a_suspected_key_whose_owner_was_mistaken_is_read_again_at_once() -> None:
    world, key = World(1), wallet(0)
    world.plant(Difference.DIVERGED, key)
    followed, outcomes, _ = listed(world)
    followed.suspect(key, 0, world.clock.now - 10.0, Side.TARGET)
    await followed.look()
    await followed.look()
    assert outcomes.found == {key: Difference.DIVERGED}
