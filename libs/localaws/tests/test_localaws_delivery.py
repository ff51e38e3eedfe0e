"""The way from a table to its stream: what is delivered, when, and how often."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localaws.delivery import SHUFFLE_HOLD_S, Delivery, Faults, Record

STREAM = "arn:aws:kinesis:us-east-1:000000000000:stream/cdc"


class Way:
    """A delivery with what came out of it, on a clock of its own."""

    def __init__(self, **faults: float) -> None:
        self.came: list[int] = []
        self.open = True
        self.delivery = Delivery(self._put)
        self.delivery.set_faults(dict(faults))
        self.now_s = 0.0

    def _put(self, _stream_arn: str, _partition_key: str, payload: bytes) -> bool:
        if self.open:
            self.came.append(int(payload))
        return self.open

    def write(self, *numbers: int, every_s: float = 0.0, table: str = "wallet") -> None:
        for number in numbers:
            self.now_s += every_s
            self.delivery.take(Record(table, STREAM, "key", b"%d" % number, number), self.now_s)

    def wait(self, seconds: float) -> bool:
        self.now_s += seconds
        return self.delivery.release_due(self.now_s)

    def counters(self) -> dict[str, int]:
        counters: dict[str, int] = self.delivery.report()["streams"]["cdc"]
        return counters


def test_without_faults_each_record_arrives_at_once_and_once() -> None:
    way = Way()
    way.write(*range(5))
    assert way.came == list(range(5))
    assert way.counters()["pending"] == way.counters()["shuffled"] == way.counters()["duplicated"] == 0


@given(
    st.floats(0, 1),
    st.integers(0, 30),
    st.integers(0, 500),
    st.integers(0, 5000),
    st.integers(0, 9),
    st.integers(1, 60),
)
def test_whatever_the_faults_nothing_is_lost_and_only_duplicates_come_twice(
    duplicate: float, window: int, delay_ms: int, after_ms: int, seed: int, count: int
) -> None:
    way = Way(duplicate=duplicate, shuffle_window=window, delay_ms=delay_ms, duplicate_after_ms=after_ms, seed=seed)
    way.write(*range(count), every_s=0.01)
    way.delivery.set_faults({"duplicate": 0, "shuffle_window": 0, "delay_ms": 0})
    assert set(way.came) == set(range(count))
    assert len(way.came) == count + way.counters()["duplicated"] == way.counters()["delivered"]
    assert way.counters()["pending"] == 0


def test_a_window_sends_records_out_of_order_and_says_so() -> None:
    way = Way(shuffle_window=10, seed=7)
    way.write(*range(100))
    assert len(way.came) == 90
    assert way.came != sorted(way.came)
    assert way.counters()["shuffled"] > 0


def test_a_window_that_no_traffic_fills_is_emptied_after_a_while() -> None:
    way = Way(shuffle_window=10)
    way.write(1)
    assert way.wait(SHUFFLE_HOLD_S / 2)
    assert not way.came
    assert not way.wait(SHUFFLE_HOLD_S / 2)
    assert way.came == [1]


def test_a_delayed_record_comes_within_the_delay() -> None:
    way = Way(delay_ms=500)
    way.write(*range(20))
    assert len(way.came) < 20
    assert not way.wait(0.5)
    assert sorted(way.came) == list(range(20))


def test_a_duplicate_comes_long_after_the_first_delivery() -> None:
    way = Way(duplicate=1, duplicate_after_ms=60_000, seed=3)
    way.write(*range(50))
    assert way.came == list(range(50))
    way.wait(30)
    assert 0 < len(way.came) - 50 < 50
    assert not way.wait(30)
    assert sorted(way.came) == sorted([*range(50)] * 2)


def test_the_same_seed_makes_the_same_run() -> None:
    runs = []
    for _ in range(2):
        way = Way(duplicate=0.3, shuffle_window=5, seed=11)
        way.write(*range(50))
        way.wait(60)
        runs.append(way.came)
    assert runs[0] == runs[1]


def test_no_faults_any_more_flushes_what_waits() -> None:
    way = Way(shuffle_window=10, delay_ms=60_000, duplicate=1)
    way.write(1, 2)
    assert not way.came
    way.delivery.set_faults({"shuffle_window": 0, "delay_ms": 0, "duplicate": 0})
    assert sorted(way.came) == [1, 1, 2, 2]
    way.write(3)
    assert way.came[-1] == 3


def test_only_first_deliveries_count_as_unreplicated() -> None:
    way = Way(duplicate=1, duplicate_after_ms=60_000)
    way.write(1)
    assert way.delivery.oldest_waiting_us() == {}
    way.delivery.set_faults({"shuffle_window": 5})
    way.write(7, 8, table="wallet")
    way.write(9, table="other")
    assert way.delivery.oldest_waiting_us() == {"wallet": 7, "other": 9}


def test_faults_of_one_stream_leave_the_others_alone() -> None:
    way = Way()
    way.write(1)
    other = Record("t", STREAM.replace("cdc", "other"), "key", b"2", 2)
    way.delivery.set_faults({"shuffle_window": 5}, stream="cdc")
    way.delivery.take(other, 0)
    way.write(3)
    assert way.came == [1, 2]
    assert way.counters()["pending"] == 1


def test_records_for_a_stream_that_is_gone_are_counted_as_refused() -> None:
    way = Way()
    way.open = False
    way.write(1)
    assert (way.counters()["emitted"], way.counters()["delivered"], way.counters()["refused"]) == (1, 0, 1)


def test_a_table_counts_its_records_and_knows_its_last_commit() -> None:
    way = Way(shuffle_window=50)
    way.write(5, 9)
    assert way.delivery.report()["tables"] == {"wallet": {"records": 2, "last_committed_us": 9}}


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"duplicate": 1.5}, "duplicate"),
        ({"duplicate": "often"}, "duplicate"),
        ({"shuffle_window": -1}, "shuffle_window"),
        ({"delay_ms": 0.5}, "delay_ms"),
        ({"delay_ms": True}, "delay_ms"),
        ({"loss": 0.1}, "loss"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(settings: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Faults().changed(settings)
