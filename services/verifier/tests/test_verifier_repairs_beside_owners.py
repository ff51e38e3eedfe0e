"""Owners write, keys move, copies come late and twice, verifiers are killed: a repair destroys nothing newer."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from crossfade.core.parity.classes import Difference
from crossfade.core.protocol.keyed.item import Item, generation_of, is_active, version_of
from crossfade.core.values.image import number
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from repair_bench import Line, RepairBench
from verifier_world import wallet

FAULTS = (Difference.STUCK, Difference.DIVERGED, Difference.MISSING, Difference.AHEAD, Difference.EXTRA)
KEYS = [wallet(each) for each in range(len(FAULTS) + 1)]
OWNED = [wallet(each) for each, fault in enumerate((*FAULTS, None)) if fault is not Difference.EXTRA]
ACTS = ("write", "copy", "old copy", "hand over", "stray", "nothing", "nothing")

AMOUNT = {Side.SOURCE: "balance", Side.TARGET: "points"}
WRITES = ("transfer", "perform")

acts = st.lists(st.tuples(st.sampled_from(ACTS), st.integers(0, len(OWNED) - 1)), min_size=10, max_size=120)


class Watched(Line):
    """A verifier's line on which others act between the calls, and each of its writes is judged."""

    def __init__(self, bench: Bench, happens: list[tuple[str, int]], *, dies_at: int | None = None) -> None:
        super().__init__(dies_at=dies_at, arrives=True)
        self._bench, self._happens = bench, happens

    async def call(self, name: str, method: Any, arguments: Any, named: Any) -> Any:
        if self._happens and not self.dead.is_set():
            act(self._bench, *self._happens.pop())
        return await super().call(name, self._judged(method) if name in WRITES else method, arguments, named)

    def _judged(self, method: Any) -> Any:
        async def written(*arguments: Any, **named: Any) -> Any:
            before = rows(self._bench)
            answer = await method(*arguments, **named)
            try:
                judge(before, rows(self._bench))
            except AssertionError as error:
                self._bench.broken.append(f"{arguments}: {error}")
            return answer

        return written


def rows(bench: Bench) -> dict[tuple[Key, Side], Item | None]:
    return {(key, side): bench.world.item(side, key) for key in KEYS for side in Side}


def judge(before: dict[tuple[Key, Side], Item | None], after: dict[tuple[Key, Side], Item | None]) -> None:
    """What one write of a repair may do: lift an owner, and bring a standby up to its owner."""
    for place, was in before.items():
        now, (_, side) = after[place], place
        if now == was:
            continue
        assert now is not None, "a repair removes no row"
        if was is not None:
            assert (now.role, generation_of(now)) == (was.role, generation_of(was)), "that is the handover's affair"
        if is_active(was, side) and was is not None:
            assert now == was._replace(version=now.version), "an owner's content is its clients'"
            assert version_of(now) > version_of(was)
        else:
            assert version_of(now) >= version_of(was), "nothing older overwrites anything newer"


def act(bench: Bench, what: str, which: int) -> None:
    world, key = bench.world, OWNED[which]
    owner = world.owner(key)
    if owner is None:
        return
    match what:
        case "write":
            if world.earn(key, 1):
                bench.expected[key] += 1
        case "copy":
            world.copy(key)
        case "old copy":
            mine = [change for side, change in world.changes if side is owner and change.key == key]
            world.transfer(owner, mine[len(mine) // 2])
        case "hand over":
            items = [world.item(side, key) for side in Side]
            standby = world.item(owner.other, key)
            if version_of(standby) <= version_of(world.item(owner, key)):
                world.hand_over(key, max(map(generation_of, items)) // 2 * 2 + 2)
        case "stray":
            if world.item(owner.other, key) is not None:
                world.put(owner.other, key, **{AMOUNT[owner.other]: -1})


class Bench(RepairBench):
    def __init__(self) -> None:
        super().__init__(len(KEYS), per_s=2)
        for each, fault in enumerate(FAULTS):
            self.world.plant(fault, wallet(each))
        self.broken: list[str] = []
        self.expected = {key: points(self.world.item(Side.SOURCE, key)) for key in OWNED}


def points(item: Item | None) -> int:
    assert item is not None
    return number(next(Raw(raw) for name, raw in item.content if name in AMOUNT.values()))


@given(happens=acts, kills=st.lists(st.integers(5, 60), max_size=3))
def test_nothing_newer_is_destroyed_and_all_is_right_in_the_end(
    happens: list[tuple[str, int]], kills: list[int]
) -> None:
    asyncio.run(played(happens, kills))


async def played(happens: list[tuple[str, int]], kills: list[int]) -> None:
    bench = Bench()
    repair = await bench.planned(KEYS)
    await bench.desk.execute(repair, who="ann")
    left = list(happens)
    for dies_at in kills:
        line = Watched(bench, left, dies_at=dies_at)
        await bench.over(repair, bench.verifier(line), until=line.dead)
    record = await bench.over(repair, *(bench.verifier(Watched(bench, left)) for _ in range(2)))
    assert record.state == "done"
    assert sum(record.outcomes.values()) == len(KEYS)
    await asyncio.sleep(0)
    for key in OWNED:
        bench.world.activate(key)
        bench.world.copy(key)
    again = await bench.planned(KEYS)
    await bench.desk.execute(again, who="ann")
    await bench.over(again, bench.verifier(Watched(bench, [])))
    for key in OWNED:
        bench.world.copy(key)  # what was lifted comes down the stream
        owner = bench.world.owner(key)
        assert owner is not None
        assert points(bench.world.item(owner, key)) == bench.expected[key]
    assert (await bench.world.sweep()).clean
    assert bench.broken == []
