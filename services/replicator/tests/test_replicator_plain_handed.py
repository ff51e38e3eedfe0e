"""Keys that the verifier hands over after a flip: settled as a late record's, and no letter is left of them."""

from __future__ import annotations

import pytest

from crossfade.contracts.letter import HINT, DeadLetter
from crossfade.core.protocol.plain.map import version_at
from crossfade.core.values.shape import Direction
from plain_bench import PlainBench
from plain_records import BEGAN_US, FLIPPED, HELD_US, KEY, S, row
from replicator_bench import FORWARD

AT_US = BEGAN_US + 10 * S
LATER_US = HELD_US + 60 * S


def hint(consumer: str = "forward") -> DeadLetter:
    return DeadLetter(consumer, f"{HINT}:2-1", KEY, None, "missed", HINT, b"{}", "", 1, table="orders")


async def test_what_the_flip_missed_comes_to_the_owner_and_the_letter_goes() -> None:
    bench = PlainBench(FLIPPED)
    bench.source.put(row(5))
    bench.target.put(row(4, mv=version_at(AT_US)))
    await bench.letters.park(hint())
    await bench.members[FORWARD].beat()
    assert await bench.handed[FORWARD].look() == 1
    assert bench.target.images[KEY] == row(5)
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


async def test_a_key_that_was_changed_meanwhile_is_left_to_a_person_with_both_rows() -> None:
    bench = PlainBench(FLIPPED)
    bench.source.put(row(5))
    bench.target.put(row(4))

    def changed_and_back() -> None:
        bench.target.put(row(9))
        bench.target.put(row(4))

    bench.now_us = LATER_US
    bench.streams[FORWARD].waited.append(changed_and_back)
    await bench.letters.park(hint())
    await bench.members[FORWARD].beat()
    await bench.handed[FORWARD].look()
    assert await bench.codes() == ["late"]


@pytest.mark.parametrize("direction", Direction, ids=lambda each: each.value)
async def test_letters_of_another_consumer_are_left_to_it(direction: Direction) -> None:
    bench = PlainBench(FLIPPED)
    other = Direction.REVERSE if direction is FORWARD else FORWARD
    await bench.letters.park(hint(other.value))
    await bench.members[direction].beat()
    assert await bench.handed[direction].look() == 0
    assert await bench.codes() == [HINT]
