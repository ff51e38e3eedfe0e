"""An attempt that was given up: whoever drove it changes the map no more."""

import pytest

from crossfade.core.protocol.plain.map import (
    OwnerMap,
    State,
    drained_from,
    first_map,
    flipped_from,
    sealed_from,
    taken_back_from,
)
from crossfade.core.values.shape import Side

OPEN = first_map(1_000_000_000_000_000)
HELD_US = OPEN.interval.since_us + 60_000_000


@pytest.mark.parametrize("found", [OPEN, drained_from(OPEN), sealed_from(drained_from(OPEN))])
def test_the_slow_swap_of_a_coordinator_that_was_replaced_fails(found: OwnerMap) -> None:
    """Its swap names the map that it saw; that one must never stand there again."""
    taken = taken_back_from(found)
    assert taken.owner is Side.SOURCE
    assert taken.epoch > found.epoch
    slow = {State.OPEN: drained_from, State.DRAINING: sealed_from}.get(found.state)
    landed = slow(found) if slow else flipped_from(found, held_us=HELD_US, other_held_us=HELD_US)
    assert taken != found, "the swap would find the map that it saw"
    assert taken.epoch >= landed.epoch


def test_appliers_go_on_while_an_attempt_is_given_up() -> None:
    assert taken_back_from(sealed_from(drained_from(OPEN))).state is State.DRAINING
    assert taken_back_from(OPEN).state is State.OPEN
