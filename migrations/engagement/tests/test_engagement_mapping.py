"""The engagement migration's own mapping, on its sample rows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossfade.core.mapping.rules import prove_round_trip
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.image import Image, number, of_number, of_string
from crossfade.core.values.keys import encode_key
from crossfade.core.values.shape import Direction, Side
from engagement_migration import MAPPING
from engagement_migration.samples import NOT_OURS, WALLETS, legacy_wallet


@pytest.mark.parametrize("row", WALLETS)
def test_each_sample_wallet_belongs_and_comes_back_unchanged(row: Image) -> None:
    assert MAPPING.belongs(encode_key(row, ("pk", "sk")))
    assert prove_round_trip(MAPPING, Direction.FORWARD, row) == []


@pytest.mark.parametrize("row", NOT_OURS)
def test_no_row_of_the_payments_system_belongs(row: Image) -> None:
    assert not MAPPING.belongs(encode_key(row, ("pk", "sk")))


def test_a_full_wallet_maps_attribute_by_attribute() -> None:
    row = legacy_wallet(
        "7", "c", 12, created_at="1970-01-01T00:00:01.500Z", tier=of_string("gold"), expires_at=of_number(9)
    )
    assert MAPPING.carry(Direction.FORWARD, row) == {
        "points": of_number(12),
        "tier": of_string("gold"),
        "created_ms": of_number(1500),
        "cf_ttl": of_number(9),
    }


@pytest.mark.parametrize(
    "text", ["2021-03-04T05:06:07Z", "2021-03-04T05:06:07.089+00:00", "2021-02-30T00:00:00.000Z", ""]
)
def test_a_creation_time_that_would_come_back_changed_is_refused(text: str) -> None:
    with pytest.raises(PoisonRecord, match="created_at"):
        MAPPING.carry(Direction.FORWARD, legacy_wallet("7", "c", 1, created_at=text))


@given(st.integers(min_value=-62_135_596_800_000, max_value=253_402_300_799_999))
def test_every_millisecond_of_the_calendar_survives_the_way_there_and_back(created_ms: int) -> None:
    source = MAPPING.carry(Direction.REVERSE, {"points": of_number(0), "created_ms": of_number(created_ms)})
    assert number(MAPPING.carry(Direction.FORWARD, source)["created_ms"]) == created_ms


def test_a_row_of_another_wallet_type_is_never_taken_for_an_engagement_wallet() -> None:
    with pytest.raises(PoisonRecord, match="wallet_type"):
        MAPPING.carry(Direction.FORWARD, legacy_wallet("7", "c", 1, wallet_type=of_string("PAID")))


def test_zero_items_are_an_empty_wallet_on_either_side() -> None:
    assert dict(MAPPING.shape(Side.SOURCE).zero) == {"balance": b'{"N":"0"}', "wallet_type": b'{"S":"ENGAGEMENT"}'}
    assert dict(MAPPING.shape(Side.TARGET).zero) == {"points": b'{"N":"0"}'}
