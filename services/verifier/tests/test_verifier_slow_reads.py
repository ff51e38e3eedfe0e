"""Reads that take longer than the bound: a standby is late by when it was read, not by when its class is called."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from crossfade.adapters.memory.clock import MemoryClock
from crossfade.core.parity.classes import Difference, Pair
from crossfade.core.protocol.keyed.item import FIRST_STAMPED, Item, Role
from crossfade.core.protocol.keyed.protocol import KEYED
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade_verifier.both import BothTables
from crossfade_verifier.followlist import FollowList, Handovers
from engagement_migration import MAPPING
from verifier_world import wallet

KEY = wallet(1)
BOUND_S = 10.0
READ_S = 4.0


def image(version: int, role: Role) -> Item:
    content = (("points", b'{"N":"%d"}' % version),)
    return Item(version=FIRST_STAMPED + version, role=role, generation=2, content=content)


class SlowTables(BothTables, MemoryClock):
    """Both tables; each read takes a while, and the copy arrives once the first round of three is over."""

    def __init__(self) -> None:
        MemoryClock.__init__(self, 100_000_000)
        BothTables.__init__(self, MAPPING, cast("Any", None), cast("Any", None))
        self.reads = 0
        self.items = {Side.SOURCE: image(5, Role.ACTIVE), Side.TARGET: image(4, Role.STANDBY)}

    async def read(self, side: Side, keys: Sequence[Key]) -> dict[Key, Any]:
        found = dict.fromkeys(keys, self.items[side])
        self.pass_s(READ_S)
        self.reads += 1
        if self.reads == 3:
            self.items[Side.TARGET] = image(5, Role.STANDBY)
        return found


class Called:
    """What was called of which key; also the pace, which never waits."""

    def __init__(self) -> None:
        self.classes: list[Difference] = []

    def called(self, key: Key, found: Difference, pair: Pair, **_more: object) -> None:
        self.classes.append(found)

    async def take(self, count: int) -> None:
        return None


async def test_a_copy_within_the_bound_is_no_alarm_however_slow_the_reads_are() -> None:
    tables, said = SlowTables(), Called()
    heard: Any = said
    follows = FollowList(
        tables,
        heard,
        heard,
        Handovers(),
        bound_s=BOUND_S,
        limit_s=60.0,
        every_s=1.0,
        clock=tables,
        at_most_us=lambda: 0,
        rows=KEYED.rows(),
        most=1,
    )
    follows.add(KEY, Pair(tables.items[Side.SOURCE], tables.items[Side.TARGET]))
    scanned = asyncio.Event()
    scanned.set()
    await follows.settle(scanned)
    assert said.classes == [Difference.EQUAL]
