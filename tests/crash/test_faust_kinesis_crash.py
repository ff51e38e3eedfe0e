"""SIGKILL of a Faust worker in the middle of its work, under live writes: nothing lost, order kept."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from faust_kinesis_harness import World
from localaws.endpoints import Endpoints

pytestmark = pytest.mark.embedded


@pytest.fixture
def world(local_aws: Endpoints, tmp_path: Path) -> Iterator[World]:
    with World(local_aws, tmp_path, shards=2) as each:
        yield each


def test_killed_in_mid_batch_again_and_again_nothing_is_lost_and_order_holds(world: World) -> None:
    """The worker keeps its name, so it has its shards back without waiting for leases to expire."""
    worker = world.start(pause_s=0.01)
    for kill in (1, 2):
        world.write(60)
        world.wait_applied(kill * 80 - 47)  # neither the first nor the last of a batch of ten
        worker.kill()
        worker.wait()
        applied = len(world.applied())
        world.write(20)
        worker = world.start(pause_s=0.01)
        begun = time.monotonic()
        world.wait(lambda before=applied: len(world.applied()) > before, "work to go on")  # type: ignore[misc] # bound per round
        assert time.monotonic() - begun < 10
    world.wait_applied(world.written)
    world.check()
    repeated = len(world.applied()) - world.written
    assert repeated < 200  # what was in work or not yet stored, and no more


def test_two_workers_share_the_shards_through_a_split_and_one_takes_over_from_the_killed(world: World) -> None:
    world.write(50)
    first = world.start("w1", pause_s=0.01)
    world.start("w2", pause_s=0.01)
    world.wait_applied(50)
    world.wait(
        lambda: {lease.get("owner", {}).get("S") for lease in world.leases().values()} == {"w1", "w2"},
        "both to hold shards",
    )
    world.split()
    world.write(150)

    def both_apply() -> bool:
        world.write(10)  # one may have read all there was before the other had a shard
        return {each.worker for each in world.applied() if each.number >= 50} == {"w1", "w2"}

    world.wait(both_apply, "both to apply records after the split")
    first.kill()
    first.wait()
    world.write(50)
    world.wait_applied(world.written)
    world.check()
