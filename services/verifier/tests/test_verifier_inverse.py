"""What the core maps forward, the verifier takes back by what is declared, and finds equal; and nothing else."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from attribute_values import digits, encoded, values
from crossfade.adapters.memory.tables import MemoryTable
from crossfade.core.mapping.rules import Compute, Constant, Rename, RuleMapping, Table
from crossfade.core.mapping.snapshot import Fate, LineMapper
from crossfade.core.values import image as wire
from crossfade.core.values.errors import ConfigError
from crossfade.core.values.image import Image, of_number
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade_verifier.both import BothTables
from crossfade_verifier.reading.judging import OwnRows
from crossfade_verifier.reading.pages import Reading
from plain_protocol import Plain
from reading_pairs import compared


def cents(source: Image) -> Image:
    return {"cents": of_number(wire.number(source["euros"]) * 100)}


def euros(target: Image) -> Image:
    return {"euros": of_number(wire.number(target["cents"]) // 100)}


OTHER_RULES = (
    Rename(source="bal", target="points"),
    Constant(Side.SOURCE, "kind", Raw(b'{"S":"P"}')),
    Constant(Side.TARGET, "schema", of_number(2)),
    Compute(source=("euros",), target=("cents",), forward=cents, reverse=euros),
)
SOURCE_TABLE, TARGET_TABLE = Table("old", key=("pk", "sk"), ttl="expires"), Table("young", key=("viewer", "at"))


def other_mapping(*, is_open: bool) -> RuleMapping:
    def belongs(key: Key) -> bool:
        return key.startswith(b'[{"S":"USER#')

    return RuleMapping(
        "other", source=SOURCE_TABLE, target=TARGET_TABLE, rules=OTHER_RULES, belongs=belongs, is_open=is_open
    )


@given(
    balance=digits,
    key_number=digits,
    amount=st.none() | st.integers(-(10**6), 10**6),
    expires=st.none() | st.integers(1, 2**33),
    extra=st.none() | values,
    is_open=st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_what_the_core_maps_forward_the_inverse_finds_equal_under_other_keys_and_constants_of_both_sides(
    balance: str, key_number: str, amount: int | None, expires: int | None, extra: Any, is_open: bool
) -> None:
    mapping = other_mapping(is_open=is_open)
    row = {"pk": {"S": "USER#7"}, "sk": {"N": key_number}, "bal": {"N": balance}, "kind": {"S": "P"}}
    row |= {} if amount is None else {"euros": {"N": str(amount)}}
    row |= {} if expires is None else {"expires": {"N": str(expires)}}
    row |= {} if extra is None or not is_open else {"extra": extra}
    mapped = LineMapper(mapping).map_line(encoded({"Item": row}))
    assert mapped.fate is Fate.MAPPED
    copy = msgspec.json.decode(mapped.line)["Item"]
    reading = Reading(mapping.declared)
    page = reading.page(Side.SOURCE, encoded({"Items": [row], "ScannedCount": 1}))
    asks = reading.asks(Side.TARGET, [key for key, _ in page.rows])
    assert [msgspec.json.decode(each) for each in asks] == [{"viewer": copy["viewer"], "at": copy["at"]}]
    answer = encoded({"Responses": {"young": [copy]}, "UnprocessedKeys": {}})
    found = compared(reading, page, answer)
    assert (len(found.proven), found.left) == (1, [])
    for name, wrong in (
        ("schema", {"N": "3"}),
        ("points", {"S": "x"}),
        ("bal", {"N": balance}),
        ("cf_ttl", {"N": "7"}),
    ):
        answer = encoded({"Responses": {"young": [copy | {name: wrong}]}, "UnprocessedKeys": {}})
        [(_, one, other)] = compared(reading, page, answer).left
        assert one is not None
        assert other is not None
        assert not OwnRows().is_same_state(one, other)


def test_a_mapping_of_another_protocol_is_refused_since_its_rows_would_be_read_wrongly() -> None:
    plain: Any = Plain(Side.SOURCE)
    mapping = RuleMapping(
        "plain", source=SOURCE_TABLE, target=TARGET_TABLE, rules=(), belongs=lambda _: True, protocol=plain
    )
    tables: dict[Side, Any] = {side: MemoryTable(mapping.shape(side)) for side in Side}
    with pytest.raises(ConfigError, match="its protocol and the verifier's reading differ in"):
        BothTables(mapping, tables[Side.SOURCE], tables[Side.TARGET])
