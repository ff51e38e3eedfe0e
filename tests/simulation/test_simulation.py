"""One seed plays a whole migration: a hundred small plays here, a thousand large ones by `make simulate` (ADR 0028)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from simulation.__main__ import kind_of, shrunk
from simulation.found import table
from simulation.loop import Stalled, VirtualLoop
from simulation.network import Network, Process
from simulation.planted import PLANTED
from simulation.play import play
from simulation.script import Faults, Script, script_of, small_script_of
from simulation.story import Story


def check(script: Script) -> None:
    played = play(script)
    assert not played.broken, f"{played.script}\n{played.story.told(100)}\n{played.broken}"
    assert played.operations, "nobody did anything"


@pytest.mark.parametrize("seed", range(100))
def test_a_seed_plays_a_small_migration_and_every_promise_is_kept(seed: int) -> None:
    check(small_script_of(seed))


@pytest.mark.deep
@pytest.mark.parametrize("seed", range(24))
def test_a_seed_plays_a_whole_migration_and_every_promise_is_kept(seed: int) -> None:
    check(script_of(seed))


def test_one_seed_is_one_story() -> None:
    script = replace(small_script_of(2), faults=replace(small_script_of(2).faults, kills_s=3.0))
    first, second = play(script), play(script)
    assert len(first.story.acts) > 100
    assert first.story.acts == second.story.acts


@pytest.mark.deep
def test_another_seed_is_another_story() -> None:
    script = script_of(2)
    assert play(script).story.acts != play(replace(script, seed=3)).story.acts


@pytest.mark.deep
def test_a_failing_seed_is_made_small() -> None:
    fault = "recent set not checked"
    script = script_of(table()[fault].whole or 0)
    whole, small = play(script, PLANTED[fault]), shrunk(script, PLANTED[fault], tries=100, say=lambda _said: None)
    assert whole.broken
    assert kind_of(small.broken) == kind_of(whole.broken), "another failure is no smaller one"
    assert len(small.script.asks) < len(whole.script.asks)
    assert small.script.keys + small.script.cold < whole.script.keys + whole.script.cold
    assert 3 * len(small.story.acts) <= len(whole.story.acts), "starts, phases and asks alone are some fifteen acts"


# What the play stands on.


class Store:
    def __init__(self) -> None:
        self.written: list[int] = []

    async def put(self, value: int) -> int:
        self.written.append(value)
        return value


def on_network(faults: Faults, act: Callable[[Process, Store], object]) -> tuple[Store, float]:
    loop, store = VirtualLoop(), Store()
    network = Network(loop, Story(loop.time), Script(1, faults=faults))
    try:
        act(Process(network, "pod-0.1", 0.0), store)
        loop.call_later(10, loop.stop)
        loop.run_forever()
        return store, loop.time()
    finally:
        loop.close()


def test_a_kill_ends_what_runs_in_the_order_in_which_it_began() -> None:
    """A set's order is by address: then one seed was another story in a process that had played others before."""
    ended: list[int] = []

    async def work(number: int) -> None:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            ended.append(number)
            raise

    def act(process: Process, _store: Store) -> None:
        for number in range(50):
            process.call(work(number))
        process.network.loop.call_later(1, process.kill)

    on_network(Faults(), act)
    assert ended == list(range(50))


def test_time_passes_at_once_and_only_when_nothing_is_left_to_do() -> None:
    store, took_s = on_network(Faults(), lambda pod, store: pod.spawn(pod.far(store).put(1)))
    assert store.written == [1]
    assert took_s == pytest.approx(10)


def test_a_request_that_was_sent_arrives_though_its_sender_is_killed() -> None:
    def act(pod: Process, store: Store) -> None:
        pod.spawn(pod.far(store).put(1))
        pod.network.loop.call_later(0.0001, pod.kill)

    assert on_network(Faults(), act)[0].written == [1]


def test_what_a_killed_process_left_behind_reaches_nothing() -> None:
    def act(pod: Process, store: Store) -> None:
        async def twice() -> None:
            await pod.far(store).put(1)
            await pod.far(store).put(2)

        pod.network.loop.create_task(twice())  # nobody's task: a kill doesn't cancel it
        pod.network.loop.call_later(0.0001, pod.kill)

    assert on_network(Faults(), act)[0].written == [1]


def test_a_lost_request_never_arrives_and_an_unanswered_one_does() -> None:
    assert on_network(Faults(lost=1.0), lambda pod, store: pod.spawn(pod.far(store).put(1)))[0].written == []
    assert on_network(Faults(unanswered=1.0), lambda pod, store: pod.spawn(pod.far(store).put(1)))[0].written == [1]


def test_a_play_in_which_everybody_waits_for_another_one_is_stalled() -> None:
    loop = VirtualLoop()
    try:
        with pytest.raises(Stalled):
            loop.run_until_complete(loop.create_future())
    finally:
        loop.close()
