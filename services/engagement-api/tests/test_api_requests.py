"""Every field is checked and the refusal names it; ids are ULIDs, and none comes from the future."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from crossfade.core.protocol.events import Event, decode_events
from crossfade.core.protocol.keyed.operation import Operation
from crossfade.core.values import image as wire
from crossfade.gen.engagement.v1 import engagement_service_pb2 as pb
from crossfade.runtime.statuses import InvalidArgument
from engagement_api.keys import wallet_key, wallet_of
from engagement_api.operations import EARN, Kind
from engagement_api.refusals import TransactionFromFuture
from engagement_api.requests import MAX_AMOUNT, MAX_BATCH, check_batch, read_amount, read_operation, read_wallet
from engagement_api.ulids import decode_ulid, encode_ulid

NOW_US = 1_790_000_000_000_000
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def ulid_at(ms: int, tail: int = 7) -> str:
    return encode_ulid(((ms << 80) | tail).to_bytes(16, "big"))


def earn(**fields: object) -> pb.EarnPointsRequest:
    usual = {
        "user": "7",
        "channel": "chan-3",
        "amount": 5,
        "reason": "watched",
        "transaction_id": ulid_at(NOW_US // 1000),
    }
    return pb.EarnPointsRequest(**(usual | fields))  # type: ignore[arg-type] # fields of a test


def read(request: pb.EarnPointsRequest, kind: Kind = Kind.EARN) -> Operation:
    return read_operation(request, kind, request.amount, now_us=NOW_US, traceparent=TRACE)


def test_a_request_becomes_an_operation_with_its_event() -> None:
    operation = read(earn())
    assert operation.key == wallet_key("7", "chan-3")
    assert (operation.verb, operation.amounts, operation.seed) == (EARN, (5,), NOW_US << 10)
    [event] = decode_events(wire.of_list([Raw(operation.events[0])]))
    assert event == Event("earn", 5, "watched", operation.transaction_id, TRACE)


def test_the_event_of_a_spend_counts_down() -> None:
    [event] = decode_events(wire.of_list([Raw(read(earn(), Kind.SPEND).events[0])]))
    assert (event.kind, event.delta) == ("spend", -5)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("user", ""),
        ("user", "x" * 129),
        ("user", "é" * 65),
        ("user", "a#b"),
        ("user", "line\nbreak"),
        ("channel", ""),
        ("channel", "x" * 129),
        ("channel", "\x00"),
        ("user", "\x7f"),
        ("user", "next\x85line"),
        ("channel", "\x80"),
        ("channel", "\x9b31m"),
        ("reason", "x" * 257),
        ("reason", "\x1b[31m"),
        ("reason", "\x9b31m"),
        ("transaction_id", ""),
        ("transaction_id", "0" * 25),
        ("transaction_id", "0" * 27),
        ("transaction_id", "8" + "0" * 25),
        ("transaction_id", "0" * 25 + "U"),
        ("transaction_id", "0" * 24 + "_1"),
        ("transaction_id", " " + "0" * 25),
        ("transaction_id", "0" * 25 + "\u017f"),  # 'ſ', a capital of which is S
        ("transaction_id", "0" * 24 + "ß"),  # whose capitals are SS
        ("transaction_id", "\uff10" + "0" * 25),  # a full-width 0
    ],
)
def test_a_wrong_field_is_refused_by_its_name(field: str, value: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        read(earn(**{field: value}))
    assert refused.value.field == field


@pytest.mark.parametrize("amount", [0, -1, MAX_AMOUNT + 1])
def test_an_amount_out_of_range_is_refused(amount: int) -> None:
    with pytest.raises(InvalidArgument) as refused:
        read_amount(amount)
    assert refused.value.field == "amount"


def test_the_bounds_themselves_are_taken() -> None:
    assert read_amount(1) == 1
    assert read_amount(MAX_AMOUNT) == MAX_AMOUNT
    assert read(earn(user="x" * 128, channel="é" * 64, reason="x" * 256)).key == wallet_key("x" * 128, "é" * 64)
    check_batch(MAX_BATCH, "operations")


@pytest.mark.parametrize("length", [0, MAX_BATCH + 1])
def test_a_batch_out_of_bounds_is_refused(length: int) -> None:
    with pytest.raises(InvalidArgument, match="operations must have 1 to 500 elements"):
        check_batch(length, "operations")


def test_section_4_an_id_more_than_5_s_ahead_is_refused_and_one_just_within_is_taken() -> None:
    ahead = earn(transaction_id=ulid_at(NOW_US // 1000 + 6_500))
    with pytest.raises(TransactionFromFuture) as refused:
        read(ahead)
    assert refused.value.retry_after_s == 1.5
    assert read(earn(transaction_id=ulid_at(NOW_US // 1000 + 5_000)))


@given(st.binary(min_size=16, max_size=16))
def test_a_ulid_comes_back_from_its_text_in_either_case(value: bytes) -> None:
    text = encode_ulid(value)
    assert len(text) == 26
    assert decode_ulid(text) == decode_ulid(text.lower()) == value


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_ulids_order_as_their_texts(one: bytes, other: bytes) -> None:
    assert (one < other) == (encode_ulid(one) < encode_ulid(other))


@given(st.text(max_size=40))
def test_any_text_is_a_ulid_or_is_not_and_never_an_error(text: str) -> None:
    value = decode_ulid(text)
    assert value is None or (text.isascii() and encode_ulid(value) == text.upper())


def test_no_control_character_of_unicode_passes_in_a_name_or_a_reason() -> None:
    controls = [chr(each) for each in range(0x110000) if unicodedata.category(chr(each)) == "Cc"]
    assert len(controls) == 65
    for control in controls:
        for field in ("user", "channel", "reason"):
            with pytest.raises(InvalidArgument, match=field):
                read(earn(**{field: f"a{control}b"}))


def test_a_known_ulid_decodes_to_its_bytes() -> None:
    # The example of github.com/ulid/spec: 01ARZ3NDEKTSV4RRFFQ69G5FAV
    assert decode_ulid("01ARZ3NDEKTSV4RRFFQ69G5FAV") == bytes.fromhex("01563e3ab5d3d6764c61efb99302bd5b")


def test_a_wallet_is_named_by_user_and_channel_and_told_from_its_key() -> None:
    assert read_wallet(pb.Wallet(user="zoë", channel="日本")) == wallet_key("zoë", "日本")
    assert wallet_of(wallet_key("zoë", 'a"b')) == ("zoë", 'a"b')
