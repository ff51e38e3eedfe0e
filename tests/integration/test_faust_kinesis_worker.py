"""A real Faust worker on the embedded AWS: how it ends, and how it goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from faust_kinesis_harness import World
from localaws.endpoints import Endpoints

pytestmark = pytest.mark.embedded


@pytest.fixture
def world(local_aws: Endpoints, tmp_path: Path) -> Iterator[World]:
    with World(local_aws, tmp_path, shards=3) as each:
        yield each


def test_rule_11_on_sigterm_the_running_batch_ends_and_what_waits_behind_it_is_not_taken_for_applied(
    world: World,
) -> None:
    """All shards are in one lane, so two batches wait behind the one in work."""
    world.write(90)
    first = world.start(pause_s=0.1, lanes=1)
    world.wait_applied(2)
    assert world.stop(first) == 0
    applied = len(world.applied())
    assert applied < 90
    assert applied % 10 == 0  # whole batches only
    assert all("owner" not in lease for lease in world.leases().values())
    second = world.start("w2")
    world.wait_applied(90)
    assert world.stop(second) == 0
    world.check(once=True)

    world.age_checkpoints()
    third = world.start("w3", retention_s=3600.0)
    assert third.wait(30) != 0  # what followed the checkpoints may have expired: no reason to go on in silence
    assert "CheckpointExpired" in world.logs()


def test_rule_11_an_exception_ends_the_worker_and_the_next_one_resumes_at_the_failed_batch(world: World) -> None:
    world.write(60)
    failing = world.start(poison="33")
    assert failing.wait(30) != 0
    assert 33 not in {each.number for each in world.applied()}
    world.start()
    world.wait_applied(60)
    world.check()
