"""The standing of a process: starting, ready, stopping, stuck."""

from __future__ import annotations

from http import HTTPStatus

import pytest

from crossfade.runtime.health import READY, STOPPING, Health


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(monotonic=clock)


def test_a_process_that_starts_is_alive_but_not_ready(health: Health) -> None:
    assert health.healthz()[0] is HTTPStatus.OK
    assert health.readyz() == (HTTPStatus.SERVICE_UNAVAILABLE, {"state": "starting"})


def test_a_process_that_stops_is_alive_but_not_ready(health: Health) -> None:
    health.state = READY
    assert health.readyz() == (HTTPStatus.OK, {"state": "ready"})
    health.state = STOPPING
    assert health.readyz()[0] is HTTPStatus.SERVICE_UNAVAILABLE
    assert health.healthz()[0] is HTTPStatus.OK, "killing it now would cut its drain short"


def test_work_that_takes_too_long_is_named_and_calls_for_a_restart(health: Health, clock: Clock) -> None:
    with health.working("a batch of shard-1", longest_s=10), health.working("a batch of shard-2", longest_s=20):
        clock.now_s = 10.0
        assert health.healthz()[0] is HTTPStatus.OK
        clock.now_s = 10.1
        assert health.healthz() == (
            HTTPStatus.SERVICE_UNAVAILABLE,
            {"state": "starting", "stuck": ["a batch of shard-1"]},
        )
    assert health.healthz()[0] is HTTPStatus.OK


def test_work_that_fails_is_not_in_hand_any_more(health: Health, clock: Clock) -> None:
    with pytest.raises(ValueError, match="bad"), health.working("a batch", longest_s=1):
        raise ValueError("bad")
    clock.now_s = 100.0
    assert health.stuck() == []


def test_the_same_work_twice_is_two_works(health: Health, clock: Clock) -> None:
    with health.working("a batch", longest_s=5):
        with health.working("a batch", longest_s=50):
            pass
        clock.now_s = 6.0
        assert health.stuck() == ["a batch"]
