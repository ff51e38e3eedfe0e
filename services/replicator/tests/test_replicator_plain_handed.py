"""Keys that the verifier hands over after a flip: what differs is a person's to decide, with both rows."""

from __future__ import annotations

import pytest

from crossfade.contracts.letter import HINT, DeadLetter
from crossfade.core.protocol.plain.map import version_at
from crossfade.core.values.shape import Direction
from crossfade_replicator.plain.letters import rows_in
from plain_bench import PlainBench
from plain_records import FLIPPED, HELD_US, KEY, S, row
from replicator_bench import FORWARD

LATER_US = HELD_US + 60 * S


def hint(consumer: str = "forward") -> DeadLetter:
    return DeadLetter(consumer, f"{HINT}:2-1", KEY, None, "missed", HINT, b"{}", "", 1, table="orders")


async def test_without_a_record_nothing_is_copied_and_both_rows_are_kept() -> None:
    """The flip missed the source's 5, or the record of the target's own 4 will never come: the rows don't tell."""
    bench = PlainBench(FLIPPED)
    bench.source.put(row(5))
    bench.target.put(row(4))
    await bench.letters.park(hint())
    await bench.members[FORWARD].beat()
    assert await bench.handed[FORWARD].look() == 1
    assert bench.target.images[KEY] == row(4)
    assert await bench.codes() == ["late"]
    (kept,) = await bench.letters.all()
    assert set(rows_in(kept)) == {"orders", "orders-next"}


async def test_what_reverse_brings_while_it_is_waited_for_needs_nobody() -> None:
    bench = PlainBench(FLIPPED)
    bench.source.put(row(5))
    bench.target.put(row(4))
    bench.streams[FORWARD].waited.append(lambda: bench.source.put(row(4, mv=version_at(LATER_US))))
    await bench.letters.park(hint())
    await bench.members[FORWARD].beat()
    assert await bench.handed[FORWARD].look() == 1
    assert await bench.codes() == []


async def test_what_the_application_has_written_since_stays() -> None:
    bench = PlainBench(FLIPPED)
    bench.source.put(row(6, mv=version_at(LATER_US)))
    bench.target.put(row(7))
    await bench.letters.park(hint())
    await bench.members[FORWARD].beat()
    assert await bench.handed[FORWARD].look() == 1
    assert bench.target.images[KEY] == row(7)
    assert await bench.codes() == []


@pytest.mark.parametrize("direction", Direction, ids=lambda each: each.value)
async def test_letters_of_another_consumer_are_left_to_it(direction: Direction) -> None:
    bench = PlainBench(FLIPPED)
    other = Direction.REVERSE if direction is FORWARD else FORWARD
    await bench.letters.park(hint(other.value))
    await bench.members[direction].beat()
    assert await bench.handed[direction].look() == 0
    assert await bench.codes() == [HINT]
