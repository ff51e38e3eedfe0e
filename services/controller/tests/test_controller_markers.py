"""Moments as commit times: a marker's own record says when the table took it."""

from __future__ import annotations

import pytest

from controller_world import Town, settled
from crossfade.adapters.memory.admin import SHARD
from crossfade.core.protocol.keyed.item import MV
from crossfade.core.replication.change import decode_change
from crossfade.core.values.errors import StoreUnavailable
from crossfade.core.values.image import number
from crossfade.core.values.keys import key_of_strings
from crossfade.core.values.shape import Side
from crossfade.ports.streams import Fetched, StreamShard
from crossfade_controller.context import Context
from engagement_migration import MAPPING
from engagement_migration.samples import legacy_wallet

CANARY = key_of_strings("USER#cf-canary", "POINTS#cf-canary")


async def begun(town: Town) -> Context:
    """A controller whose source table sends its changes, and nothing more has happened."""
    for stream in ("wallet-changes", "engagement-changes"):
        await town.aws.create_stream(stream, shards=1)
    await town.aws.enable_destination("wallet", "stream/wallet-changes")
    ctx, _ = await town.start()
    return ctx


@pytest.mark.parametrize("ahead_s", [-600.0, -40.0, 1.5, 600.0])
async def test_a_moment_is_the_commit_time_of_its_own_record_whatever_our_clock_says(ahead_s: float) -> None:
    town = Town()
    ctx = await begun(town)
    before_us = town.now_us()
    town.ahead_s = ahead_s
    moment_us = await ctx.markers.moment(Side.SOURCE)
    assert before_us <= moment_us <= town.now_us()
    assert abs(ctx.world.clock.wall_us() - moment_us) > 1_000_000


async def test_writes_before_a_moment_are_committed_before_it_and_later_ones_after() -> None:
    town = Town()
    ctx = await begun(town)
    town.tables[Side.SOURCE].put(legacy_wallet("early", "chan", 1))
    town.now_s += 0.001
    moment_us = await ctx.markers.moment(Side.SOURCE)
    town.now_s += 0.001
    town.tables[Side.SOURCE].put(legacy_wallet("late", "chan", 1))
    shape = MAPPING.shape(Side.SOURCE)
    changes = [decode_change(payload, shape.key) for payload in town.tables[Side.SOURCE].changes]
    committed = {each.key: each.committed_us for each in changes}
    early, late = key_of_strings("USER#early", "POINTS#chan"), key_of_strings("USER#late", "POINTS#chan")
    assert committed[early] < moment_us < committed[late]


async def test_each_side_tells_its_own_moment_and_no_consumer_objects_to_the_markers() -> None:
    town = Town()
    ctx, driver = await settled(town, "start", exclude=[])
    await settled(town, "ramp", share=100)  # the canary is on the target table by now
    letters, balances = len(town.store.letters), town.balances(Side.SOURCE)
    for side in Side:
        before_us = town.now_us()
        assert before_us <= await ctx.markers.moment(side) <= town.now_us()
    for _ in range(20):
        await town.live()
        await driver.tick()
    assert len(town.store.letters) == letters
    assert town.balances(Side.SOURCE) == town.balances(Side.TARGET) == balances
    assert town.owners()[Side.TARGET] >= 1


async def test_a_marker_that_does_not_come_says_what_it_is_waiting_for_and_is_taken_up_again() -> None:
    town = Town()
    ctx = await begun(town)
    await ctx.markers.moment(Side.SOURCE)
    table = town.tables[Side.SOURCE]
    held: list[bytes] = []
    send = town.aws.record
    table._on_change = held.append  # the table's stream falls behind
    town.now_s += 1
    written_us = town.now_us()
    with pytest.raises(StoreUnavailable, match=r"wallet-changes.*written to wallet 10 s ago.*AgeOfOldestUnreplicated"):
        await ctx.markers.moment(Side.SOURCE, purpose="the proof")
    writes = len(table.changes)
    for payload in held:
        send("wallet", payload)
    assert await ctx.markers.moment(Side.SOURCE, purpose="the proof") == written_us
    assert len(table.changes) == writes, "the marker of the first call was waited for, none was added"


async def test_a_marker_is_found_in_the_shard_that_a_resharding_made() -> None:
    town = Town()
    ctx = await begun(town)
    aws, closed = town.aws, False
    shards, fetch, begin = aws.list_shards, aws.get_records, aws.shard_iterator
    tip: list[int] = []

    async def split(stream: str) -> list[StreamShard]:
        found = await shards(stream)
        return [*found, StreamShard("child", (found[0].shard_id,))] if closed else found

    async def read(iterator: str, limit: int = 1000) -> Fetched:
        nonlocal closed
        if iterator.startswith("child:"):
            return await fetch(iterator.removeprefix("child:"), limit)
        if tip:
            closed = True  # all that was there is read: the parent ends, its child holds what came since
            return Fetched([], None, 0)
        tip.append(int(iterator.rpartition(":")[2]))
        return Fetched([], iterator, 0)

    async def position(stream: str, shard_id: str, **at: object) -> str:
        if shard_id == "child":
            return f"child:{stream}:{SHARD}:{tip[0]}"
        return await begin(stream, shard_id, **at)  # type: ignore[arg-type]  # passed on as it came

    aws.list_shards, aws.get_records, aws.shard_iterator = split, read, position  # type: ignore[method-assign]
    before_us = town.now_us()
    assert await ctx.markers.moment(Side.SOURCE) >= before_us
    assert closed


async def test_an_old_duplicate_of_the_canary_is_no_marker() -> None:
    town = Town()
    ctx = await begun(town)
    await ctx.markers.moment(Side.SOURCE)
    old = town.tables[Side.SOURCE].changes[-1]
    town.now_s += 60
    perform = town.tables[Side.SOURCE].perform

    async def with_duplicate(write: object, **more: object) -> object:
        town.aws.record("wallet", old)  # delivered once more, ahead of the marker
        return await perform(write, **more)  # type: ignore[arg-type]  # passed on as it came

    town.tables[Side.SOURCE].perform = with_duplicate  # type: ignore[method-assign, assignment]
    assert await ctx.markers.moment(Side.SOURCE) == town.now_us()


async def test_a_canary_that_never_was_is_made_once_and_owned_by_the_source_table() -> None:
    town = Town()
    ctx = await begun(town)
    first = await ctx.markers.moment(Side.SOURCE)
    image = town.tables[Side.SOURCE].images[CANARY]
    assert await ctx.markers.moment(Side.SOURCE) >= first
    assert number(town.tables[Side.SOURCE].images[CANARY][MV]) == number(image[MV]) + 1
    item = town.tables[Side.SOURCE].item(CANARY)
    assert item is not None
    assert item.deleted
    assert town.owners()[Side.SOURCE] == 11
