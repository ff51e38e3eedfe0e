"""Whether a table can take an item: sizes to the byte, expressions as rendered, key and index key values."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from crossfade.adapters.owner_requests import render
from crossfade.adapters.update_expression import Standing
from crossfade.core.mapping.rules import Keep, RuleMapping, Table
from crossfade.core.protocol.keyed.fit import MAX_EXPRESSION_BYTES, RESERVE_BYTES, needs_put, unfit, unfit_transfer
from crossfade.core.protocol.keyed.item import Item, Role, build_image
from crossfade.core.protocol.keyed.perform import perform
from crossfade.core.protocol.keyed.replacing import activation
from crossfade.core.protocol.keyed.writes import Activate
from crossfade.core.protocol.limits import MAX_ITEM_BYTES, item_size, value_size
from crossfade.core.protocol.writing import Applied, Transfer
from crossfade.core.values import image as wire
from crossfade.core.values.errors import ConfigError, PoisonRecord
from crossfade.core.values.keys import key_image, key_of_strings
from crossfade.core.values.shape import IndexKey, Side, TableShape
from engagement_migration import MAPPING
from ownership_cases import KEY, SEED, items, number, stamped

L, N = Side.SOURCE, Side.TARGET
CLOSED = {side: MAPPING.shape(side) for side in Side}
OPEN = {side: shape._replace(attributes=None) for side, shape in CLOSED.items()}


def wide(count: int) -> Item:
    """A sealed item of so many number attributes h0000, h0001, …"""
    content = tuple((f"h{n:04}", number(n)) for n in range(count))
    return stamped(N, Role.STANDBY, 4)._replace(content=content)


def long(size_bytes: int, shape: TableShape, name: str = "note") -> Item:
    """A sealed item that has exactly this size once it is active in a table."""
    bare = stamped(shape.side, Role.STANDBY, 4)

    def padded(length: int) -> Item:
        return bare._replace(content=tuple(sorted([*bare.content, (name, b'{"S":"%b"}' % (b"x" * length))])))

    def size(item: Item) -> int:
        answer = perform(Activate(KEY, item, complete=shape.side is L), None, shape)
        assert isinstance(answer, Applied)
        return item_size(build_image(answer.item, shape, key_image(KEY, shape.key)))

    return padded(size_bytes - size(padded(0)))


# What a number costs on the service, to the byte (dynamodb-conformance, tests/tier3/limits/numberByteSize.test.ts).
@pytest.mark.parametrize(
    ("value", "size_bytes"),
    [
        ({"N": "0"}, 1), ({"N": "1"}, 2), ({"N": "-1"}, 3), ({"N": "100"}, 2), ({"N": "1E125"}, 2),
        ({"N": "123456"}, 4), ({"N": "3.14159"}, 5), ({"N": "0.001"}, 2), ({"N": "007.50"}, 3), ({"N": "1000"}, 2),
        ({"N": "98765432109876543210987654321098765431"}, 20), ({"S": ""}, 0), ({"S": "äß"}, 4), ({"S": "a\nb"}, 3),
        ({"B": "AAEC"}, 3), ({"BOOL": False}, 1), ({"NULL": True}, 1), ({"SS": ["ab", "ü"]}, 4),
        ({"NS": ["1", "-20"]}, 5), ({"BS": ["AAEC", "AA=="]}, 4), ({"L": []}, 3), ({"M": {}}, 3),
        ({"L": [{"S": "ab"}, {"N": "7"}]}, 3 + 1 + 2 + 1 + 2),
        ({"M": {"ä": {"S": "b"}, "deep": {"L": [{"BOOL": True}]}}}, 3 + (1 + 2 + 1) + (1 + 4 + (3 + 1 + 1))),
    ],
)  # fmt: skip
def test_a_value_has_the_size_that_the_service_counts(value: dict[str, Any], size_bytes: int) -> None:
    assert value_size(json.dumps(value).encode()) == size_bytes
    assert value_size(json.dumps(value, ensure_ascii=False).encode()) == size_bytes


def test_an_item_is_its_names_and_its_values() -> None:
    assert item_size({"pk": wire.of_string("USER#7"), "größe": wire.of_number(12)}) == 2 + 6 + 7 + 2


@pytest.mark.parametrize(
    "raw", [b"12", b"{}", b'{"X":1}', b'{"N":"abc"}', b'{"B":"?"}', b'{"S":1}', b'{"S":"a","N":"1"}']
)
def test_what_is_no_value_has_no_size(raw: bytes) -> None:
    with pytest.raises(PoisonRecord):
        value_size(raw)


def test_an_item_at_the_limit_fits_and_one_byte_more_does_not() -> None:
    shape = CLOSED[N]
    most = MAX_ITEM_BYTES - RESERVE_BYTES
    assert unfit(KEY, long(most, shape), shape) == ""
    said = unfit(KEY, long(most + 1, shape), shape)
    assert f"{most + 1} bytes" in said
    assert shape.table in said


def test_unmapped_attributes_that_stand_there_count() -> None:
    shape = CLOSED[L]
    item = long(MAX_ITEM_BYTES - 1000, shape)
    standing = stamped(L, Role.STANDBY, 2)._replace(content=(("pin", b'{"S":"%b"}' % (b"x" * 1000)),))
    assert unfit(KEY, item, shape) == ""
    assert "bytes" in unfit(KEY, item, shape, standing=standing)


def test_a_row_of_300_attributes_fits_an_open_shape_and_not_the_shared_table_of_a_closed_one() -> None:
    names = tuple(f"h{n:04}" for n in range(500))
    assert unfit(KEY, wide(500), OPEN[N]) == unfit(KEY, wide(500), OPEN[L]) == ""
    assert unfit(KEY, wide(500), CLOSED[N]._replace(attributes=names)) == ""
    said = unfit(KEY, wide(500), CLOSED[L]._replace(attributes=names))
    assert str(MAX_EXPRESSION_BYTES) in said
    assert "shared" in said


@settings(deadline=None)
@given(items(N), items(N), st.sampled_from([*CLOSED.values(), *OPEN.values()]))
def test_the_expression_that_is_counted_is_the_one_that_is_sent(
    sealed: Item | None, standing: Item | None, shape: TableShape
) -> None:
    item = (sealed or Item())._replace(version=SEED, generation=4, role=Role.STANDBY)
    names = tuple(name for name, _ in standing.content) if standing else ()
    sent = json.loads(render(Activate(KEY, item), shape, Standing(None, names)).body)
    counted = activation(item, shape, names)
    assert sent["UpdateExpression"] == counted.expression()
    assert counted.names().items() <= sent["ExpressionAttributeNames"].items()
    assert {f":{n}" for n in range(len(counted.sets))} <= sent["ExpressionAttributeValues"].keys()


def test_the_border_is_the_byte() -> None:
    shape = OPEN[N]
    longest = max(n for n in range(300, 600) if not needs_put(activation(wide(n), shape)))
    assert len(activation(wide(longest), shape).expression()) <= MAX_EXPRESSION_BYTES
    assert len(activation(wide(longest + 1), shape).expression()) > MAX_EXPRESSION_BYTES


def test_an_update_is_charged_for_each_clause_so_a_large_item_goes_as_a_put() -> None:
    item = long(MAX_ITEM_BYTES - RESERVE_BYTES, CLOSED[N])
    assert "charged" in needs_put(activation(item, CLOSED[N]))
    assert unfit(KEY, item, CLOSED[N]) == ""
    assert "charged" in unfit(KEY, long(MAX_ITEM_BYTES - RESERVE_BYTES, CLOSED[L]), CLOSED[L])


@pytest.mark.parametrize(
    ("value", "because"),
    [(b'{"S":""}', "empty"), (b'{"N":"1"}', "has to be S; it is N"), (b'{"S":"%b"}' % (b"x" * 2049), "2049 bytes")],
)
def test_an_index_key_has_its_type_and_is_neither_empty_nor_too_long(value: bytes, because: str) -> None:
    shape = CLOSED[N]._replace(index_keys=(IndexKey("tier", "S"),))
    plain = stamped(N, Role.STANDBY, 4)
    item = plain._replace(content=tuple(sorted({**dict(plain.content), "tier": value}.items())))
    assert because in unfit(KEY, item, shape)
    assert "'tier'" in unfit(KEY, item, shape)
    assert unfit(KEY, item, CLOSED[N]) == ""
    without = item._replace(content=tuple(pair for pair in item.content if pair[0] != "tier"))
    assert unfit(KEY, without, shape) == ""


def test_a_sort_key_of_an_index_is_half_as_long() -> None:
    value = b'{"S":"%b"}' % (b"x" * 1025)
    plain = stamped(N, Role.STANDBY, 4)
    item = plain._replace(content=tuple(sorted({**dict(plain.content), "tier": value}.items())))
    assert unfit(KEY, item, CLOSED[N]._replace(index_keys=(IndexKey("tier", "S"),))) == ""
    assert "1025 bytes" in unfit(KEY, item, CLOSED[N]._replace(index_keys=(IndexKey("tier", "S", sorts=True),)))


@pytest.mark.parametrize(
    ("key", "because"),
    [
        (key_of_strings("", "s"), "'pk' of"),
        (key_of_strings("p" * 2049, "s"), "2049 bytes; DynamoDB allows 2048"),
        (key_of_strings("p", "s" * 1025), "1025 bytes; DynamoDB allows 1024"),
    ],
)
def test_a_key_is_neither_empty_nor_too_long(key: Any, because: str) -> None:
    assert because in unfit(key, stamped(N, Role.STANDBY, 4), CLOSED[N])
    assert unfit(key_of_strings("p" * 2048, "s" * 1024), stamped(N, Role.STANDBY, 4), CLOSED[N]) == ""


def test_a_transfer_is_asked_the_same() -> None:
    shape = CLOSED[N]._replace(index_keys=(IndexKey("tier", "S"),))
    fine = Transfer(KEY, SEED, {"points": wire.of_number(5), "tier": wire.of_string("gold")})
    assert unfit_transfer(fine, shape) == ""
    assert "'tier'" in unfit_transfer(replace(fine, image=fine.image | {"tier": wire.of_string("")}), shape)
    large = replace(fine, image=fine.image | {"note": Raw(b'{"S":"%b"}' % (b"x" * MAX_ITEM_BYTES))})
    assert "bytes" in unfit_transfer(large, shape)
    many: dict[str, Raw] = {f"h{n:04}": wire.of_number(n) for n in range(500)}
    assert unfit_transfer(replace(fine, image=many), OPEN[N], standing=stamped(N, Role.STANDBY, 2)) == ""


def test_the_mapping_declares_index_keys_with_a_type() -> None:
    def mapping(kind: str) -> RuleMapping:
        return RuleMapping(
            "m",
            source=Table("old", ("pk",)),
            target=Table("target", ("pk",), index_keys=(IndexKey("email", kind),)),
            rules=[Keep("points"), Keep("email")],
            belongs=lambda _key: True,
        )

    assert mapping("S").shape(N).index_keys == (IndexKey("email", "S"),)
    assert mapping("S").with_tables(source="a", target="b").shape(N).index_keys == (IndexKey("email", "S"),)
    assert mapping("S").shape(L).index_keys == ()
    with pytest.raises(ConfigError, match="'email'"):
        mapping("BOOL")
