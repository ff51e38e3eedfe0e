"""The demo's checks, each shown to fail: a report whose checks can't fail proves nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from crossfade_demo.book import Acknowledged, Attempted, Book, Call, explains, total
from crossfade_demo.checks import check_balances, check_calls, check_feed, check_payments, rows_behind
from crossfade_demo.latency import Gap, latency, longest_gap
from crossfade_demo.pace import Pace
from crossfade_demo.payments import Payments
from crossfade_demo.store import SOURCE, TARGET, Row, plain
from crossfade_demo.ulid import ulid_hex

WALLET = ("u1", "c1")
KEY = '[{"S":"USER#u1"},{"S":"POINTS#c1"}]'
TXN_1, TXN_2 = "01JDCK3V9Q2W8E5R7T9Y1A3B5C", "01JDCK3V9Q2W8E5R7T9Y1A3B5D"


class FakeRecord:
    def __init__(self, data: bytes) -> None:
        self.data = data


class FakeStore:
    """Two tables and a feed, as lists."""

    def __init__(self, source: list[Row], target: list[Row], feed: list[dict[str, Any]] | None = None) -> None:
        self._tables = {SOURCE: source, TARGET: target}
        self._feed = [FakeRecord(json.dumps(each).encode()) for each in feed or []]

    async def scan(self, table: str) -> AsyncIterator[Row]:
        for row in self._tables[table]:
            yield row

    async def stream(self, name: str) -> list[FakeRecord]:
        return self._feed


def row(points: int, role: str = "A", **more: dict[str, Any]) -> Row:
    key = {"pk": {"S": "USER#u1"}, "sk": {"S": "POINTS#c1"}}
    return {**key, "points": {"N": str(points)}, "cf_role": {"S": role}, **more}


def book(*deltas: int, unknown: tuple[int, ...] = ()) -> Book:
    ids = [TXN_1, TXN_2]
    return Book(
        acknowledged=[Acknowledged(ids[at], WALLET, delta, 10 + at, 1.0) for at, delta in enumerate(deltas)],
        unknown=[Attempted(f"u{at}", WALLET, delta) for at, delta in enumerate(unknown)],
    )


def event(version: int, previous: int, txn: str, index: int = 0) -> dict[str, Any]:
    return {
        "key": KEY,
        "version": str(version),
        "index": index,
        "previous": str(previous),
        "transaction_id": ulid_hex(txn),
        "kind": "earn",
    }


async def outcome(store: FakeStore, the_book: Book) -> dict[str, bool]:
    tables: Any = store
    checks = await check_balances(tables, [the_book], {WALLET: 100})
    return {each.name: each.passed for each in checks}


async def test_balances_that_equal_the_books_pass() -> None:
    store = FakeStore([row(100, "S")], [row(107)])
    assert await outcome(store, book(3, 4)) == {"acknowledged_once": True, "all_keys_moved": True}


@pytest.mark.parametrize("balance", [103, 111, 100])
async def test_a_lost_or_doubled_operation_fails(balance: int) -> None:
    store = FakeStore([row(100, "S")], [row(balance)])
    assert not (await outcome(store, book(3, 4)))["acknowledged_once"]


async def test_an_unknown_operation_counts_once_or_not_at_all_never_twice() -> None:
    for balance, passes in ((103, True), (108, True), (113, False)):
        store = FakeStore([row(100, "S")], [row(balance)])
        assert (await outcome(store, book(3, unknown=(5,))))["acknowledged_once"] is passes


async def test_an_owner_left_in_the_old_table_fails() -> None:
    store = FakeStore([row(100)], [row(107)])
    assert not (await outcome(store, book(3, 4)))["all_keys_moved"]


async def test_a_standby_left_in_the_target_table_fails() -> None:
    store = FakeStore([row(100, "S")], [row(107, "S")])
    assert not (await outcome(store, book(3, 4)))["all_keys_moved"]


def old(balance: int, role: str | None, **more: dict[str, Any]) -> Row:
    found = {**row(0), "balance": {"N": str(balance)}, "cf_role": {"S": role or ""}, **more}
    return {name: value for name, value in found.items() if name != "points" and (role or name != "cf_role")}


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (old(107, None), None),  # never touched
        (old(107, "A"), row(100, "S")),
        (old(107, None), {**row(100, "S")}),
        (old(100, "S"), row(107, "A")),
        (old(107, "S", cf_gen={"N": "4"}), row(100, "S", cf_gen={"N": "2"})),  # between the tables
        (old(100, "S", cf_gen={"N": "2"}), row(107, "S", cf_gen={"N": "4"})),
    ],
)
async def test_a_migration_that_did_not_end_is_compared_by_the_owner_of_each_key(
    source: Row, target: Row | None
) -> None:
    store: Any = FakeStore([source], [target] if target else [])
    (good,) = await check_balances(store, [book(3, 4)], {WALLET: 100}, complete=False)
    assert good.passed, good.wrong
    for lost in (book(3), book(4)):
        (bad,) = await check_balances(store, [lost], {WALLET: 100}, complete=False)
        assert (bad.passed, bad.too_busy) == (False, False)


async def test_a_key_that_both_tables_own_fails() -> None:
    store: Any = FakeStore([old(107, "A")], [row(107, "A")])
    (bad,) = await check_balances(store, [book(3, 4)], {WALLET: 100}, complete=False)
    assert not bad.passed
    assert "active in both tables" in bad.wrong[0]


async def test_before_the_capture_there_is_no_feed_and_nothing_that_it_lacks() -> None:
    class NoStream(FakeStore):
        async def stream(self, name: str) -> list[FakeRecord]:
            raise LookupError(name)

    store: Any = NoStream([], [])
    assert (await check_feed(store, "events", [book(3, 4)], captured_s=float("inf"))).passed


@pytest.mark.parametrize(
    ("feed", "passes"),
    [
        ([event(10, 0, TXN_1), event(11, 10, TXN_2)], True),
        ([event(11, 10, TXN_2), event(10, 0, TXN_1), event(11, 10, TXN_2)], True),  # order by version, duplicates
        ([event(10, 0, TXN_1)], False),  # one is missing
        ([event(10, 0, TXN_1), event(11, 0, TXN_2)], False),  # the chain is broken
        ([event(10, 0, TXN_1), event(11, 10, TXN_2), event(12, 11, TXN_1)], False),  # repeated at another version
        ([event(10, 0, TXN_1), event(11, 10, TXN_2), event(12, 11, "01JDCK3V9Q2W8E5R7T9Y1A3B5E")], False),  # nobody's
    ],
)
async def test_the_feed_has_each_operation_once_and_in_order(feed: list[dict[str, Any]], passes: bool) -> None:
    store: Any = FakeStore([], [], feed)
    result = await check_feed(store, "events", [book(3, 4)], captured_s=0.0)
    assert result.passed is passes, result.wrong


@pytest.mark.parametrize(
    ("captured_s", "feed", "passes"),
    [
        (2.0, [], True),
        (2.0, [event(11, 10, TXN_2)], True),
        (0.5, [event(11, 10, TXN_2)], False),
        (2.0, [event(10, 0, TXN_1)], False),  # its wallet's later operation must be there
    ],
)
async def test_only_what_came_before_the_capture_may_lack_in_the_feed(
    captured_s: float, feed: list[dict[str, Any]], passes: bool
) -> None:
    store: Any = FakeStore([], [], feed)
    result = await check_feed(store, "events", [book(3, 4)], captured_s)
    assert result.passed is passes, result.wrong


@pytest.mark.parametrize(
    ("source", "target", "passes"),
    [
        ([{"cents": "7"}], [], True),
        ([{"cents": "8"}], [], False),
        ([{"cents": "7", "cf_role": "S"}], [], False),
        ([], [], False),
        ([{"cents": "7"}], [{"cents": "7"}], False),
    ],
)
async def test_payment_rows_stay_as_they_are(
    source: list[dict[str, str]], target: list[dict[str, str]], passes: bool
) -> None:
    def wallet_row(attributes: dict[str, str]) -> Row:
        key = {"pk": {"S": "USER#u1"}, "sk": {"S": "WALLET#EUR"}}
        return key | {name: {"S" if name == "cf_role" else "N": value} for name, value in attributes.items()}

    store: Any = FakeStore([wallet_row(each) for each in source], [wallet_row(each) for each in target])
    payments = Payments(store, [wallet_row({"cents": "7"})], seed=1)
    assert (await check_payments(payments)).passed is passes


def test_a_failed_call_or_a_long_gap_is_downtime() -> None:
    good, short = Book(calls=[Call(1.0, 0.1, True)]), Gap(0.9, 0.9, 1.0)
    assert check_calls([good], short, bound_s=1.0).passed
    assert check_calls([good], Gap(4.0, 0.9, 4.4), bound_s=1.0).passed  # on a machine four times as slow
    assert check_calls([book(*[1] * 2)], short, bound_s=1.0).passed
    for wrong in (
        check_calls([replace(book(1, 1), first_replays=1)], short, bound_s=1.0),
        check_calls([good], Gap(1.1, 1.1, 1.0), bound_s=1.0),
        check_calls([good], Gap(5.5, 1.1, 5.0), bound_s=1.0),
        check_calls([Book(wrong=["refused"])], short, bound_s=1.0),
        check_calls([Book(wrong=["refused"], late=["given up"])], short, bound_s=1.0),
    ):
        assert (wrong.passed, wrong.too_busy) == (False, False)
    for late in (
        check_calls([good], Gap(60.0, 12.0, 50.0), bound_s=1.0),
        check_calls([Book(late=["given up"])], short, bound_s=1.0),
    ):
        assert (late.passed, late.too_busy) == (False, True)


def test_the_longest_gap_counts_from_start_to_end_and_only_successes() -> None:
    calls = [Call(1.0, 0.1, True), Call(2.0, 0.1, False), Call(4.0, 0.1, True)]
    assert longest_gap(calls, 0.0, 4.5, Pace()) == Gap(3.0, 3.0, 1.0)
    assert longest_gap(calls, 0.0, 9.0, Pace()) == Gap(5.0, 5.0, 1.0)


def test_latency_is_of_the_calls_of_the_stretch() -> None:
    calls = [Call(at, at / 1000, True) for at in range(1, 101)]
    assert latency(calls, 1, 101) == (100, 50.0, 99.0, 100.0)
    assert latency(calls, 200, 300) == (0, 0.0, 0.0, 0.0)


def test_rows_behind_are_the_missing_and_the_older_ones() -> None:
    rows = {("a", "b"): row(1, cf_mv={"N": "9007199254740993"})}
    assert rows_behind(rows, {("a", "b"): 9007199254740993}) == {}
    assert rows_behind(rows, {("a", "b"): 9007199254740994, ("c", "d"): 1}).keys() == {("a", "b"), ("c", "d")}


def test_unknown_operations_explain_only_sums_of_themselves() -> None:
    assert [sum_ for sum_ in range(15) if explains(sum_, [5, 7])] == [0, 5, 7, 12]


def test_the_books_add_up() -> None:
    assert total([book(3, 4), book(-2)]) == {WALLET: 5}


def test_plain_values_compare_whatever_the_order_of_a_set() -> None:
    assert plain({"SS": ["b", "a"]}) == plain({"SS": ["a", "b"]})
    assert plain({"N": "1"}) != plain({"S": "1"})
