"""GET /keys/{key}: one key, now, with what it means and what to do."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import pytest

from crossfade.core.parity.classes import Difference, Pair
from crossfade.core.parity.meaning import ABSENT, CURE, MEANS, MOVING, cure_of
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade_verifier import spot
from crossfade_verifier.heard import Heard, Record
from verifier_service import Running, running
from verifier_world import World, wallet

KEY = wallet(2)


def path_of(key: Key | str, query: str = "") -> str:
    return f"/keys/{quote(key if isinstance(key, str) else key.decode(), safe='')}{query}"


async def look(service: Running, key: Key | str = KEY) -> dict[str, Any]:
    answer = await service.get(path_of(key))
    assert answer.status_code == 200, answer.body
    body: dict[str, Any] = answer.json()
    return body


def attribute(body: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [each for each in body["attributes"] if each["name"] == name]
    return dict(found)


@pytest.mark.parametrize("key", [KEY, "USER#2/POINTS#c"], ids=["encoded", "short"])
async def test_a_key_that_is_equal_shows_both_rows_side_by_side(key: Key | str) -> None:
    async with running() as service:
        body = await look(service, key)
    assert (body["class"], body["means"], body["cure"]) == ("equal", MEANS[Difference.EQUAL], CURE[Difference.EQUAL])
    assert (body["key"], body["short"], body["owner"]) == (KEY.decode(), "USER#2/POINTS#c", "source")
    assert body["settled"]
    assert body["behind_s"] is None
    assert body["source"]["version"] == body["target"]["version"] != None  # noqa: E711
    assert (body["source"]["role"], body["target"]["role"]) == ("A", "S")
    assert body["differs"] == []
    balance = attribute(body, "balance")
    assert balance["target_name"] == "points"
    assert balance["source"] == balance["target"]
    assert balance["source"].keys() == {"type", "length", "mark"}
    assert (balance["source"]["type"], balance["source"]["length"]) == ("N", 1)
    assert not balance["differs"]
    constant = attribute(body, "wallet_type")  # the target table has none
    assert constant["source"]["type"] == "S"
    assert (constant["target"], constant["differs"]) == (None, False)


async def test_the_attributes_that_differ_are_marked_and_the_sentence_says_what_to_do() -> None:
    world = World(4)
    world.plant(Difference.DIVERGED, KEY)
    async with Running(world)() as service:
        await service.until(lambda body: body["differences"]["diverged"]["count"])
        body = await look(service)
    assert body["class"] == "diverged"
    assert (body["means"], body["cure"]) == (MEANS[Difference.DIVERGED], cure_of(Difference.DIVERGED, KEY))
    assert f"crossfade repair plan --key '{KEY.decode()}'" in body["cure"]
    assert body["differs"] == ["balance"]
    assert [each["name"] for each in body["attributes"] if each["differs"]] == ["balance"]
    (called,) = body["called"]
    assert (called["class"], called["called_by"]) == ("diverged", "sweep")


@pytest.mark.parametrize(
    "fault",
    [
        Difference.STUCK,
        Difference.DIVERGED,
        Difference.MISSING,
        Difference.EXTRA,
        Difference.AHEAD,
        Difference.UNREADABLE,
        Difference.TWO_OWNERS,
        Difference.IN_HANDOVER,
    ],
)
async def test_each_class_is_named_and_explained(fault: Difference) -> None:
    world = World(4)
    world.plant(fault, KEY)
    async with Running(world, continuous=False, in_flight_bound_s=0.01)() as service:
        body = await look(service)
        while body["class"] == "in_flight":  # until the bound has passed since it was looked at first
            assert body["behind_s"] <= 0.01  # as rounded
            body = await look(service)
    assert (body["class"], body["means"], body["cure"]) == (fault.value, MEANS[fault], cure_of(fault, KEY))


async def test_a_difference_younger_than_the_bound_is_in_flight_and_asking_again_calls_it_after_the_bound() -> None:
    world = World(4)
    world.plant(Difference.STUCK, KEY)
    async with Running(world, continuous=False, in_flight_bound_s=3600.0)() as service:
        first, again = await look(service), await look(service)
    assert first["class"] == again["class"] == "in_flight"
    assert first["behind_s"] == 0 <= again["behind_s"]
    assert first["called"] == []


async def test_a_record_of_the_owners_version_dates_the_difference() -> None:
    world = World(4)
    async with Running(world, continuous=False, in_flight_bound_s=0.05)() as service:
        world.plant(Difference.STUCK, KEY)
        side, change = world.changes[-1]
        service.heard.hear(side, change)
        await asyncio.sleep(0.1)  # for longer than the bound
        body = await look(service)  # the first
        newest = body["streams"]["source"]["changes"][0]
    assert body["class"] == "stuck"
    assert newest["version"] == body["source"]["version"]
    assert (newest["kind"], newest["committed_us"]) == ("MODIFY", str(change.committed_us))
    assert body["behind_s"] >= 0.05


async def test_what_a_mode_has_called_is_called_at_once() -> None:
    world = World(4)
    world.plant(Difference.MISSING, KEY)
    async with Running(world)() as service:
        await service.until(lambda body: body["differences"]["missing"]["count"])
        service.settings.__dict__["in_flight_bound_s"] = 3600.0  # nothing but the call makes it late now
        body = await look(service)
    assert body["class"] == "missing"
    assert body["target"] is None


async def test_a_key_that_neither_table_has_is_equal_and_said_to_be_nowhere() -> None:
    async with running() as service:
        body = await look(service, wallet(99))
    assert (body["class"], body["means"]) == ("equal", ABSENT)
    assert (body["source"], body["target"], body["owner"], body["attributes"]) == (None, None, None, [])


async def test_a_key_of_the_target_table_is_read_owner_first_and_last() -> None:
    world = World(4)
    world.hand_over(KEY, 2)
    world.copy(KEY)
    async with Running(world)() as service:
        body = await look(service)
    assert (body["owner"], body["class"]) == ("target", "equal")
    assert (body["source"]["role"], body["target"]["role"]) == ("S", "A")


async def test_the_last_change_records_of_both_streams_are_shown_newest_first_and_from_when_on() -> None:
    world = World(1)
    async with Running(world, continuous=False)() as service:
        await service.until(lambda body: body["lags"]["source"]["stream_read_s"] is not None)
        for _ in range(3):
            world.earn(wallet(0), 1)
            world.copy(wallet(0))
        for side, change in world.changes[-6:]:
            service.heard.hear(side, change)
        body = await look(service, wallet(0))
    for side in Side:
        stream = body["streams"][side.value]
        assert stream["reading"]
        assert stream["since_s"] >= 0
        versions = [int(each["version"]) for each in stream["changes"]]
        assert versions == sorted(versions, reverse=True)
        assert len(versions) == 3
        assert [each["role"] for each in stream["changes"]] == ["A" if side is Side.SOURCE else "S"] * 3


async def test_a_stream_that_is_not_read_says_why() -> None:
    async with Running(World(1), reads_streams=False)() as service:
        stream = (await look(service, wallet(0)))["streams"]["source"]
    assert (stream["reading"], stream["since_s"], stream["why"]) == (False, None, "not started")


@pytest.mark.parametrize("moves", [1, 1000])
async def test_a_key_whose_owner_changes_between_the_reads_is_read_again_a_few_times(
    moves: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(4)
    table, reads = world.tables[Side.SOURCE], 0
    read = table.read_answers

    async def moving(keys: Sequence[bytes]) -> Sequence[bytes]:
        nonlocal reads
        answers = await read(keys)
        reads += 1
        if reads <= moves:
            world.put(Side.SOURCE, KEY, cf_gen=2 * reads)
        return answers

    monkeypatch.setattr(table, "read_answers", moving)
    async with Running(world, continuous=False, ask_every_s=3600.0)() as service:
        body = await look(service)
    if moves == 1:
        assert body["settled"]
        assert body["source"]["generation"] == "2"
    else:
        assert (body["settled"], body["class"], body["means"]) == (False, "in_flight", MOVING)
        assert body["cure"] == "look again"
        assert reads < 20


async def test_a_key_that_is_held_out_is_so_at_once_and_says_why() -> None:
    world = World(4)
    world.earn(KEY, 1)  # which the other table doesn't take
    world.put(Side.SOURCE, KEY, cf_gen=1, cf_role="A")
    async with Running(world, continuous=False)() as service:
        body = await look(service)
    assert (body["class"], body["means"]) == ("held_out", MEANS[Difference.HELD_OUT])
    assert (body["source"]["held_out"], body["target"]["held_out"]) == (True, False)
    assert body["cause"]


async def test_rows_are_compared_in_another_thread_which_touches_nothing_that_streams_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here, compared, remembered = threading.get_ident(), set[int](), set[int]()
    differs, of = spot._differing, Heard.of

    def differing(pair: Pair, *, by_map: bool) -> list[str]:
        compared.add(threading.get_ident())
        return differs(pair, by_map=by_map)

    def records(heard: Heard, key: Key, side: Side) -> list[Record]:
        remembered.add(threading.get_ident())
        return of(heard, key, side)

    monkeypatch.setattr(spot, "_differing", differing)
    monkeypatch.setattr(Heard, "of", records)
    world = World(4)
    world.plant(Difference.STUCK, KEY)
    async with Running(world, continuous=False)() as service:
        await look(service)
    assert compared
    assert here not in compared
    assert remembered == {here}


SECRET = "4711.815"


@pytest.mark.parametrize(
    ("side", "changed"),
    [
        (Side.TARGET, {"points": SECRET}),
        (Side.SOURCE, {"surprise": SECRET}),
        (Side.SOURCE, {"wallet_type": SECRET}),
        (Side.TARGET, {"wallet_type": SECRET}),
        (Side.SOURCE, {"cf_floor": SECRET}),
        (Side.SOURCE, {"cf_events": SECRET}),
    ],
    ids=str,
)
async def test_no_answer_shows_a_value_of_a_row(side: Side, changed: dict[str, object]) -> None:
    world = World(4)
    world.put(side, KEY, **changed)
    async with Running(world)() as service:
        await service.until(lambda body: body["last_pass"])
        for path in ("/parity", "/parity/differences", "/parity/buckets", path_of(KEY)):
            answer = (await service.get(path)).body.decode()
            assert SECRET not in answer, f"{path}: {answer}"
        assert json.loads(answer)["masked"]
