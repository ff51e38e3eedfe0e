"""Dead letters of a plain migration, redriven (ADR 0044)."""

from __future__ import annotations

from crossfade.contracts.letter import STRAY, UNRECORDED
from crossfade.core.protocol.plain.map import version_at
from crossfade.core.values.image import of_string
from crossfade.core.values.shape import Direction, Side
from crossfade.ports.control import DeadLetters
from crossfade_replicator.plain.building import Parts
from crossfade_replicator.plain.redrive import PlainRedrive
from plain_bench import PlainBench
from plain_records import AT_US, FLIPPED, HELD_US, KEY, S, payload, row, told


def redrive(bench: PlainBench, *, execute: bool = True) -> PlainRedrive:
    def make(direction: Direction, letters: DeadLetters) -> Parts:
        return bench.beside("redrive", letters).parts[direction]

    return PlainRedrive(bench.mapping, bench.letters, make, bench.store.owner_map, execute=execute)


async def refused() -> PlainBench:
    """A copy that met a row with a fence that can't be read."""
    bench = PlainBench()
    bench.target.put(row(3) | {"cf_mv": of_string("high")})
    await bench.forward(told(5))
    assert await bench.codes() == ["unversioned"]
    return bench


async def test_what_can_be_applied_by_now_is_and_its_letter_goes() -> None:
    bench = await refused()
    bench.target.delete(KEY)
    (redriven,) = await redrive(bench).run()
    assert redriven.settled
    assert bench.target.images[KEY] == row(5, mv=version_at(AT_US))
    assert await bench.codes() == []
    assert bench.store.members.keys() == {"forward"}, "the tool was a member, and has left"


async def test_what_still_can_not_stays_with_the_reason() -> None:
    bench = await refused()
    (redriven,) = await redrive(bench).run()
    assert not redriven.settled
    assert "fence" in redriven.reason
    assert await bench.codes() == ["unversioned"]


async def test_a_dry_run_decides_and_writes_nothing() -> None:
    bench = await refused()
    bench.target.delete(KEY)
    (redriven,) = await redrive(bench, execute=False).run()
    assert (redriven.settled, redriven.counts) == (True, {"transfer": 1})
    assert KEY not in bench.target.images
    assert await bench.codes() == ["unversioned"]


async def test_a_record_of_an_interval_that_has_ended_meanwhile_is_looked_into_and_not_applied() -> None:
    bench = await refused()
    bench.target.delete(KEY)
    bench.source.put(row(5))
    bench.target.put(row(7))
    bench.store.owner_map = FLIPPED
    bench.source.images[KEY] = row(7, mv=version_at(HELD_US + 60 * S))
    await redrive(bench).run()
    assert bench.target.images[KEY] == row(7)


async def test_a_letter_whose_row_cannot_be_read_keeps_no_other_from_being_answered() -> None:
    bench = PlainBench(FLIPPED)
    bench.source.put(row(3))
    at_us = HELD_US + 60 * S
    await bench.reverse(told(5, 4, side=Side.TARGET, at_us=at_us + 4 * S))
    (good,) = await bench.letters.all()
    await bench.letters.park(good.replace(sequence="stray:broken", payload=b"{"))
    await bench.answered[Direction.REVERSE].look()
    await bench.reverse(told(4, 3, side=Side.TARGET, at_us=at_us))
    assert [each.sequence for each in await bench.letters.all()] == ["stray:broken"]


async def test_what_shows_rows_and_not_a_change_is_left_to_people() -> None:
    bench = PlainBench(FLIPPED)
    bench.source.put(row(99))
    await bench.reverse(told(5, 4, side=Side.TARGET, at_us=HELD_US + 60 * S))
    await bench.forward(payload(row(98), row(99), at_us=HELD_US + 61 * S))
    assert await bench.codes() == [STRAY, UNRECORDED]
    assert [each.settled for each in await redrive(bench).run()] == [False, False]
    assert await bench.codes() == [STRAY, UNRECORDED]
