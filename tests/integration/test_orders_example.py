"""The orders example without any migration: an application in plain boto3, its book, its maintenance switch."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import boto3
import pytest
from orders import rows as of
from orders.book import Book, books_of, compare, rows_of
from orders.rows import Ask, Key, Row, key_of
from orders.switch import DONE, HELD, IN_FLIGHT, REFUSED, Held, Switch

from localaws import Endpoints
from repository import ROOT

PATIENCE_S = 120
NOW_S = 1_800_000_000.0


def switch_of(folder: Path) -> Switch:
    switch = Switch(folder)
    switch.create("orders")
    return switch


def applied(book: Book, ask: Ask, attempts: int = 1) -> None:
    book.ended(book.asked(ask), "applied", attempts)


def rows_in(book: Book) -> dict[Key, Row]:
    return {key: row for key, row in book.rows.items() if row is not None}


@pytest.fixture
def book(tmp_path: Path) -> Book:
    """A book of a few orders, one of them cancelled."""
    made = Book(tmp_path / "north.book.jsonl")
    profile = of.new_profile("CUSTOMER#north-000", 0)
    for ask in of.put_all([profile, *(of.new_order("CUSTOMER#north-000", each, Random(each)) for each in range(4))]):
        applied(made, ask)
    applied(made, of.cancel(made.rows["CUSTOMER#north-000", "ORDER#00003"] or {}))
    return made


def test_a_book_read_again_says_the_same(book: Book, tmp_path: Path) -> None:
    again = Book(tmp_path / "north.book.jsonl")
    assert again.rows == book.rows
    assert again.counts == book.counts == Counter({"fill": 1, "cancel": 1})
    assert isinstance(rows_in(again)["CUSTOMER#north-000", "ORDER#00001"]["signature"], bytes)


def test_the_comparison_finds_what_is_lost_risen_or_different(book: Book) -> None:
    rows = rows_in(book)
    assert compare(rows, [book], NOW_S).is_none
    kept, cancelled = ("CUSTOMER#north-000", "ORDER#00001"), ("CUSTOMER#north-000", "ORDER#00003")
    lost = compare({key: row for key, row in rows.items() if key != kept}, [book], NOW_S)
    assert [len(each) for each in (lost.lost, lost.risen, lost.different)] == [1, 0, 0]
    risen = compare(rows | {cancelled: rows[kept]}, [book], NOW_S)
    assert [len(each) for each in (risen.lost, risen.risen, risen.different)] == [0, 1, 0]
    nobodys = compare(rows | {("CUSTOMER#x", "PROFILE"): rows[kept]}, [book], NOW_S)
    assert [len(each) for each in (nobodys.lost, nobodys.risen, nobodys.different)] == [0, 1, 0]
    changed = compare(rows | {kept: rows[kept] | {"rate": Decimal(1)}}, [book], NOW_S)
    assert [len(each) for each in (changed.lost, changed.risen, changed.different)] == [0, 0, 1]
    assert compare(rows | {kept: rows[kept] | {"cf_mv": Decimal(7)}}, [book], NOW_S).is_none, "not the application's"


def test_a_basket_that_expired_may_be_gone_and_may_not_have_changed(book: Book) -> None:
    basket = of.fill_basket("CUSTOMER#north-000", 8, NOW_S)
    applied(book, basket)
    rows, key = rows_in(book), ("CUSTOMER#north-000", "BASKET")
    without = {each: row for each, row in rows.items() if each != key}
    assert compare(without, [book], NOW_S).lost, "it lives on"
    later_s = NOW_S + of.BASKET_S
    assert compare(without, [book], later_s).is_none
    assert compare(rows, [book], later_s).is_none
    assert compare(rows | {key: rows[key] | {"items": []}}, [book], later_s).different


def test_what_had_no_answer_may_have_been_applied_or_not_and_nothing_else(book: Book) -> None:
    key = ("CUSTOMER#north-000", "ORDER#00001")
    order = rows_in(book)[key]
    paid = of.pay(order, b"receipt")
    book.asked(paid)
    rows = rows_in(book)
    assert compare(rows, [book], NOW_S).is_none
    assert compare(rows | {key: paid.after[key] or {}}, [book], NOW_S).is_none
    assert compare(rows | {key: order | {"status": "lost"}}, [book], NOW_S).different


def test_an_unconditional_request_sent_twice_may_come_late_a_conditional_one_may_not(book: Book) -> None:
    key = ("CUSTOMER#north-000", "ORDER#00001")
    order = rows_in(book)[key]
    there, back = of.flip_gift(order), of.flip_gift(order | {"is_gift": not order["is_gift"]})
    applied(book, there, attempts=2)
    applied(book, back)
    found = compare(rows_in(book) | {key: there.after[key] or {}}, [book], NOW_S)
    assert found.is_none
    assert found.loose == 1
    paid = of.pay(order, b"receipt")
    applied(book, paid, attempts=2)
    applied(book, of.deliver(paid.after[key] or {}))
    assert compare(rows_in(book) | {key: paid.after[key] or {}}, [book], NOW_S).different


def test_the_switch_gives_one_table_and_refuses_while_it_is_held(tmp_path: Path) -> None:
    switch = switch_of(tmp_path)
    with switch.writing() as table:
        assert table == "orders"
    assert switch.hold("orders", 2) == DONE
    with pytest.raises(Held), switch.writing():
        pass
    assert switch.read().table == "orders", "reads go on"
    assert switch.release("orders-next", 5) == DONE
    with switch.writing() as table:
        assert table == "orders-next"
    assert [each["what"] for each in switch.announced()] == ["hold", "release"]
    ((since_s, until_s),) = switch.stops()
    assert since_s <= until_s


def test_a_hold_is_none_while_a_write_is_in_flight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    switch = switch_of(tmp_path)
    monkeypatch.setenv("ORDERS_HOLD_S", "0.05")
    with switch.writing():
        assert switch.hold("orders", 2) == IN_FLIGHT
        with pytest.raises(Held), switch.writing():
            pass
    assert switch.hold("orders", 2) == DONE, "the same hold again"


def test_a_killed_writer_has_nothing_in_flight_any_more(tmp_path: Path) -> None:
    switch = switch_of(tmp_path)
    code = (
        f"from orders.switch import *; import time\nwith Switch(Path({str(tmp_path)!r})).writing():"
        " print('in', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], env=environment(tmp_path), stdout=subprocess.PIPE) as writer:
        assert writer.stdout
        assert writer.stdout.readline() == b"in\n"
        writer.kill()
    assert switch.hold("orders", 2) == DONE


@pytest.mark.parametrize(
    ("command", "table", "epoch"),
    [
        ("hold", "orders", 1),  # lower than the hold that stands
        ("release", "orders", 1),  # of a coordinator that was replaced
        ("hold", "orders-next", 3),  # not the table that the application uses
    ],
)
def test_a_hook_that_comes_late_is_refused_and_changes_nothing(
    tmp_path: Path, command: str, table: str, epoch: int
) -> None:
    switch = switch_of(tmp_path)
    assert switch.hold("orders", 2) == DONE
    before = switch.read()
    assert getattr(switch, command)(table, epoch) == REFUSED
    assert switch.read() == before


def test_a_hold_that_comes_after_its_own_release_is_refused(tmp_path: Path) -> None:
    switch = switch_of(tmp_path)
    assert switch.hold("orders", 2) == DONE
    assert switch.release("orders", 3) == DONE
    for epoch in (2, 3):
        assert switch.hold("orders", epoch) == REFUSED
    assert not switch.read().is_held


def test_a_command_line_tool_writes_through_the_switch(tmp_path: Path) -> None:
    switch = switch_of(tmp_path)
    echo = ["run", "--", "echo", "aws", "--table-name", "@table"]
    ran = orders("switch", *echo, folder=tmp_path)
    assert (ran.returncode, ran.stdout) == (0, "aws --table-name orders\n")
    switch.hold("orders", 2)
    assert orders("switch", *echo, folder=tmp_path).returncode == HELD


def test_a_command_line_tool_is_in_flight_until_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    switch = switch_of(tmp_path)
    monkeypatch.setenv("ORDERS_HOLD_S", "0.05")
    command = [sys.executable, "-m", "orders.switch", "run", "--", "sh", "-c", "echo in; read wait"]
    with subprocess.Popen(command, env=environment(tmp_path), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout
        assert writer.stdout.readline() == b"in\n"
        assert switch.hold("orders", 2) == IN_FLIGHT
        writer.communicate(b"\n")
    assert switch.hold("orders", 2) == DONE


def environment(folder: Path, endpoints: Endpoints | None = None) -> dict[str, str]:
    told = {"PYTHONPATH": str(ROOT / "examples"), "ORDERS_FOLDER": str(folder)}
    if endpoints is not None:
        told |= {
            "AWS_ENDPOINT_URL": endpoints.aws_endpoint,
            "AWS_DEFAULT_REGION": endpoints.region,
            "AWS_ACCESS_KEY_ID": endpoints.access_key_id,
            "AWS_SECRET_ACCESS_KEY": endpoints.secret_access_key,
        }
    return dict(os.environ) | told


def orders(module: str, *arguments: str, folder: Path, at: Endpoints | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"orders.{module}", *arguments]
    return subprocess.run(
        command, env=environment(folder, at), capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


@contextlib.contextmanager
def running(name: str, folder: Path, at: Endpoints) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "orders.app", name, "--customers", "6", "--per-second", "150"]
    with (folder / f"{name}.log").open("a") as out:
        process = subprocess.Popen(command, env=environment(folder, at), stdout=out)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def wait_for(folder: Path, name: str, *verbs: str, refused: bool = False) -> None:
    """Wait until a process has had something of each applied since now, or refused for maintenance."""
    path, until_s = folder / f"{name}.book.jsonl", time.monotonic() + PATIENCE_S
    before = Book(path).counts
    while True:
        counts = Book(path).counts - before
        if all(counts[verb] for verb in verbs) and (counts["held"] or not refused):
            return
        assert time.monotonic() < until_s, f"of {verbs} only {counts}: {Book(path).errors[:3]}"
        time.sleep(0.1)


@pytest.mark.embedded
def test_the_application_is_killed_and_held_and_its_book_equals_the_table(local_aws: Endpoints, tmp_path: Path) -> None:
    assert orders("fill", "6", folder=tmp_path, at=local_aws).returncode == 0
    verbs = ("place", "hand_over", "pay", "ship", "amend", "put_back", "flip_gift", "cancel", "fill_basket", "log")
    with running("north", tmp_path, local_aws) as north, running("south", tmp_path, local_aws) as south:
        wait_for(tmp_path, "north", *verbs, "deliver", "keep_basket")
        wait_for(tmp_path, "south", "place")
        south.kill()
        south.wait()
        with running("south", tmp_path, local_aws) as again:
            wait_for(tmp_path, "south", "place", "log")
            assert Switch(tmp_path).hold("orders", 2) == DONE
            wait_for(tmp_path, "north", refused=True)
            held = table_of(local_aws)
            assert compare(held, books_of(tmp_path), time.time()).is_none
            assert orders("book", "orders", folder=tmp_path, at=local_aws).returncode == 0
            assert Switch(tmp_path).release("orders", 3) == DONE
            wait_for(tmp_path, "south", "pay")
            for process in (north, again):
                process.send_signal(signal.SIGTERM)
            assert [process.wait(PATIENCE_S) for process in (north, again)] == [0, 0]
    books = books_of(tmp_path)
    assert not [error for book in books for error in book.errors]
    assert not [book.open for book in books if book.open]
    found = compare(table_of(local_aws), books, time.time())
    assert found.is_none, found
    assert all(found.compared.values()), found
    ((since_s, until_s),) = Switch(tmp_path).stops()
    assert all(at_s >= since_s and begun_s <= until_s for book in books for begun_s, at_s in book.held)
    assert orders("book", "orders", folder=tmp_path, at=local_aws).returncode == 0
    key = of.typed({"customer": "CUSTOMER#north-003", "entry": "PROFILE"})
    client(local_aws).delete_item(TableName="orders", Key=key)
    told = orders("book", "orders", folder=tmp_path, at=local_aws)
    assert told.returncode == 1, "a lost row is told"
    assert json.loads(told.stdout)["counts"] == {"lost": 1, "risen": 0, "different": 0}


def client(at: Endpoints) -> Any:
    return boto3.client("dynamodb", **at.client_arguments())


def table_of(at: Endpoints) -> dict[Key, Row]:
    return {key_of(row): row for row in rows_of(client(at), "orders")}
