"""No answer holds the event loop for long: what it costs doesn't grow with what was found (B4).

Work is counted, not timed: a report that walks over all called keys fails here on any machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, NoReturn

from crossfade.contracts.passes import PassRecord
from crossfade.core.parity.classes import Difference, Pair
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade_verifier import listing
from crossfade_verifier.findings import Findings, Limits, When
from crossfade_verifier.measures import observed
from crossfade_verifier.pass_views import Pass
from verifier_service import Running
from verifier_world import World, wallet

BUCKETS = 4096
CLASSES = (Difference.MISSING, Difference.STUCK)
RECORD = PassRecord(
    id="ended", tables=("s", "t"), scan_units=2, buckets=BUCKETS, created_us=1, asked=False, asked_by=""
).replace(state="done", began_us=1, ended_us=2)


class Unwalked(dict[Any, Any]):
    """Called keys that may be looked up and counted, and never walked over."""

    def _walked(self, *_: object) -> NoReturn:
        raise AssertionError("an answer walks over all called keys")

    __iter__ = keys = values = items = __reversed__ = copy = __or__ = _walked


def findings(service: Running, keys: Iterator[int], called: type[dict[Any, Any]] = dict) -> Findings:
    found = Findings(Limits(BUCKETS, 10, 100_000), service.both.rows())
    found.called_keys = {each: called() for each in CLASSES}
    for number in keys:
        each, key = CLASSES[number % 2], wallet(number)
        found.book.call(each)
        found.called_keys[each][key] = When(1, 2)
        samples = found.samples.setdefault(each, [])
        if len(samples) < 10:
            samples.append({"key": key.decode(), "owner": "source", "source": None, "target": None})
    return found


def found_by_passes(service: Running, called: type[dict[Any, Any]] = dict, keys: int = 300) -> None:
    """Have a pass that is done, and one of three units that runs and has called the same keys again."""
    ended = Pass(RECORD, found=findings(service, iter(range(keys)), called), started_s=1.0, ended_s=2.0)
    running = Pass(RECORD.replace(id="running", state="running", ended_us=0), started_s=3.0)
    running.theirs = {("scan", unit): findings(service, iter(range(unit, keys, 3)), called) for unit in range(3)}
    service.passes.last, service.passes.running = ended, running


async def test_neither_parity_nor_the_passes_nor_the_metrics_walk_over_the_called_keys() -> None:
    service = Running(World(1), buckets=BUCKETS)
    found_by_passes(service, Unwalked)
    body = await service.parity()
    assert (body["verdict"], body["differences"]["missing"]["count"]) == ("drift", 150)
    assert body["running_pass"]["differences"] == {"missing": 150, "stuck": 150}
    assert (await service.get("/passes")).status_code == 200
    assert len(list(observed(service.report, service.tails, {}))) > 10
    assert (await service.get("/parity/buckets?limit=1000")).status_code == 200


async def test_a_report_of_many_keys_is_as_short_as_one_of_a_few() -> None:
    few, many = Running(World(1), buckets=BUCKETS), Running(World(1), buckets=BUCKETS)
    found_by_passes(few, keys=60)
    found_by_passes(many, keys=6000)
    short, long = len((await few.get("/parity")).body), len((await many.get("/parity")).body)
    assert long - short < 500  # numbers have more digits, and nothing else is longer


async def test_the_digests_of_a_pass_are_added_up_once() -> None:
    service = Running(World(1), buckets=BUCKETS)
    found_by_passes(service)
    last = service.passes.last
    assert last is not None
    assert last.found is not None
    first = await service.parity()
    last.found.digests = {}  # whoever adds them up again fails
    again = await service.parity()
    assert (first["sides"], first["buckets"]) == (again["sides"], again["buckets"])


async def test_the_continuous_mode_takes_the_keys_of_a_pass_in_once() -> None:
    service = Running(World(1), buckets=BUCKETS)
    found_by_passes(service)
    last = service.passes.last
    assert last is not None
    assert last.found is not None
    first = service.passes.swept()
    last.found.called_keys = {Difference.STUCK: Unwalked()}
    assert service.passes.swept() == first
    assert first is not None
    assert first.keys == {wallet(number) for number in range(300)}


async def test_keys_that_several_units_and_passes_called_are_listed_once_as_the_running_pass_has_them() -> None:
    service = Running(World(1), buckets=BUCKETS)
    found_by_passes(service)
    listed, after = list[dict[str, Any]](), ""
    while after is not None:
        body = (await service.get(f"/parity/differences?limit=70{after and '&after=' + after}")).json()
        listed += body["differences"]
        after = body["next"] and body["next"].replace("#", "%23").replace("+", "%2B")
    keys = {
        each: sorted(wallet(number).decode() for number in range(place, 300, 2)) for place, each in enumerate(CLASSES)
    }
    order = [Difference.STUCK, Difference.MISSING]
    assert [(each["class"], each["key"]) for each in listed] == [
        (each.value, key) for each in order for key in keys[each]
    ]
    assert {each["pass_id"] for each in listed} == {"running"}
    assert {(each["first_seen_us"], each["last_seen_us"]) for each in listed} == {("1", "2")}
    assert body["counts"] == {"stuck": 150, "missing": 150}


async def test_many_keys_are_sorted_in_slices_between_which_others_run(monkeypatch: Any) -> None:
    monkeypatch.setattr(listing, "AT_ONCE", 20)
    service = Running(World(1), buckets=BUCKETS)
    found_by_passes(service)
    turns, answer = 0, asyncio.ensure_future(service.get("/parity/differences?limit=5"))
    while not answer.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > 300 / 20  # the keys of the pass that is done alone
    first, again = (await answer).json(), (await service.get("/parity/differences?limit=5")).json()
    assert first == again


async def test_a_key_that_is_found_equal_while_others_are_sorted_is_left_out(monkeypatch: Any) -> None:
    monkeypatch.setattr(listing, "AT_ONCE", 20)
    service = Running(World(1), buckets=BUCKETS)
    found_by_passes(service)
    heard, key = service.continuous.differing, wallet(10_000)
    heard.call(key, Difference.STUCK, Pair(None, None), Side.SOURCE, 1.0, 1)
    answer = asyncio.ensure_future(service.get("/parity/differences?class=stuck&limit=1000"))
    await asyncio.sleep(0)
    assert not answer.done()
    heard.clear(key)
    listed = (await answer).json()
    assert listed["next"] is None
    assert [each["key"] for each in listed["differences"]] == sorted(
        wallet(number).decode() for number in range(1, 300, 2)
    )


async def test_one_key_is_looked_up_without_a_walk() -> None:
    service = Running(World(4), buckets=BUCKETS)
    found_by_passes(service, Unwalked)
    body = (await service.get(f"/keys/{'USER%232%2FPOINTS%23c'}")).json()
    assert Key(body["key"].encode()) == wallet(2)
    assert [(each["class"], each["pass_id"]) for each in body["called"]] == [("missing", "running")]
