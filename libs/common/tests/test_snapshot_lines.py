"""The quick way through a mapping says what the mapping says, or nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Raw

from crossfade.core.mapping.rules import Compute, Constant, Keep, Rename, RuleMapping, Table
from crossfade.core.mapping.snapshot import Fate, LineMapper, MappedLines
from crossfade.core.protocol.plain.protocol import PLAIN
from crossfade.core.values import image as wire
from crossfade.core.values.image import Image, decode_image, encode_image
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import IndexKey, Side
from engagement_migration import MAPPING


def _doubled(image: Image) -> Image:
    return {"twice": wire.of_number(2 * wire.number(image["once"]))}


def _halved(image: Image) -> Image:
    return {"once": wire.of_number(wire.number(image["twice"]) // 2)}


ORDER = wire.of_string("order")


def ours(key: Key) -> bool:
    return key.find(b"others") < 0


CLOSED = RuleMapping(
    "closed",
    source=Table("old", key=("pk", "sk"), ttl="expires"),
    target=Table("new", key=("hash%", "sort"), index_keys=(IndexKey("mail", "S"),)),
    belongs=ours,
    wholes=("size",),
    rules=(
        Keep("size"),
        Rename("e%mail", "mail"),
        Constant(Side.SOURCE, "kind", wire.of_string("order")),
        Constant(Side.TARGET, "version", wire.of_number(2)),
        Compute(("once",), ("twice",), _doubled, _halved),
    ),
)
IDENTITY = RuleMapping(
    "identity",
    source=Table("old", key=("pk", "sk")),
    target=Table("new", key=("pk", "sk"), index_keys=(IndexKey("mail", "S"),)),
    belongs=ours,
    rules=(),
    is_open=True,
    wholes=("size",),
)
OPEN = RuleMapping(
    "open",
    source=Table("old", key=("pk", "sk"), ttl="expires"),
    target=Table("new", key=("pk", "sk")),
    belongs=ours,
    rules=(Rename("e%mail", "mail"),),
    is_open=True,
)

PLAIN_CLOSED = RuleMapping(
    "plain closed",
    source=Table("old", key=("pk", "sk"), ttl="expires"),
    target=Table("new", key=("hash%", "sort")),
    belongs=ours,
    rules=(Keep("size"), Keep("expires"), Rename("e%mail", "mail"), Constant(Side.SOURCE, "kind", ORDER)),
    protocol=PLAIN,
)
PLAIN_IDENTITY = RuleMapping(
    "plain identity",
    source=Table("old", key=("pk", "sk"), ttl="expires"),
    target=Table("new", key=("pk", "sk")),
    belongs=ours,
    rules=(),
    is_open=True,
    protocol=PLAIN,
)
ALL = (CLOSED, IDENTITY, OPEN, PLAIN_CLOSED, PLAIN_IDENTITY)

strings = st.text(max_size=6).map(wire.of_string)
numbers = st.sampled_from(["1", "-7", "1e3", "2.50", str(2**70)]).map(lambda text: Raw(b'{"N":"%b"}' % text.encode()))
values = st.one_of(strings, numbers, st.just(wire.of_map({"cf_mv": wire.of_number(1)})))
keys = st.one_of(st.sampled_from(["a", "others", "é\u2028", '"']).map(wire.of_string), numbers)
NAMES = {
    **dict.fromkeys(("e%mail", "size", "once", "kind", "expires", "surprise", "mail", "twice"), values),
    "cf_mv": st.integers(0, 2**62).map(wire.of_number),
    "cf_role": st.sampled_from(["A", "S"]).map(wire.of_string),
    "cf_gen": st.integers(0, 9).map(wire.of_number),
    "cf_recent": st.just(wire.of_binary_set([b"0" * 16])),
    "cf_deleted": st.booleans().map(wire.of_boolean),
    "cf_ttl": numbers,
    "cf_unheard_of": numbers,
}
rows = st.fixed_dictionaries({"pk": keys, "sk": keys}, optional=NAMES)
whole_rows = rows.map(lambda row: {**row, "kind": wire.of_string("order")})


def told(found: MappedLines) -> Any:
    items = [decode_image(msgspec.json.decode(line, type=dict[str, Raw])["Item"]) for line in found.text.splitlines()]
    content = [{name: bytes(raw) for name, raw in item.items()} for item in items]
    return content, found[1:]


def by_the_mapping(mapper: LineMapper, lines: list[bytes]) -> MappedLines:
    outcomes = [mapper.map_line(line) for line in lines]
    mapped = [each for each in outcomes if each.fate is Fate.MAPPED]
    count = [each.fate for each in outcomes].count
    return MappedLines(
        b"".join(each.line + b"\n" for each in mapped),
        len(mapped),
        count(Fate.NOT_OURS),
        count(Fate.EXCLUDED),
        max((each.standing for each in outcomes), default=0),
        [each for each in outcomes if each.fate is Fate.UNMAPPABLE],
        [each for each in mapped if each.inexact],
    )


A = wire.of_string("a")


@pytest.mark.parametrize("mapping", ALL, ids=lambda each: each.name)
@given(found=st.lists(st.one_of(rows, whole_rows), max_size=12), spaced=st.booleans())
@example(found=[{"pk": A, "sk": wire.of_string('"')}], spaced=False)
@example(found=[{"pk": A, "sk": A, "mail": wire.of_string("")}], spaced=False)
@example(found=[{"pk": A, "sk": A, "cf_mv": wire.of_number(5), "cf_role": wire.of_string("S")}], spaced=False)
@example(found=[{"pk": A, "sk": A, "big": wire.of_string("x" * 420_000)}], spaced=False)
@example(found=[{"pk": A, "sk": A, "mail": wire.of_string("x" * 3000)}], spaced=False)
@example(found=[{"pk": A, "sk": A, "kind": wire.of_string("order"), "once": wire.of_string("no number")}], spaced=False)
@example(found=[{"pk": A, "sk": A, "kind": wire.of_string("order"), "size": wire.of_number(2**63)}], spaced=False)
def test_a_line_has_one_fate_whichever_way_it_goes(mapping: RuleMapping, found: list[Image], spaced: bool) -> None:
    lines = [b'{"Item":%b}' % encode_image(row) for row in found]
    if spaced:
        lines = [line.replace(b'":', b'": ', 1) for line in lines]
    mapper = LineMapper(mapping, frozenset({Key(b'[{"S":"a"},{"S":"\\""}]')}))
    assert told(mapper.map_lines(lines)) == told(by_the_mapping(mapper, lines))


def test_a_name_that_is_escaped_is_still_the_protocol_s() -> None:
    line = b'{"Item":{"pk":{"S":"a"},"sk":{"S":"b"},"\\u0063f_role":{"S":"S"}}}'
    found = LineMapper(IDENTITY).map_lines([line])
    assert "standby in the source table" in found.unmappable[0].reason


@pytest.mark.parametrize("mapping", [*ALL[:2], *ALL[3:], MAPPING], ids=lambda each: each.name)
def test_a_usual_line_goes_the_quick_way(mapping: RuleMapping) -> None:
    """Or the benchmark's figures are another machine's: the mapping itself is asked for none of these."""
    row = {"pk": wire.of_string("USER#1"), "sk": wire.of_string("POINTS#1")}
    if mapping is MAPPING:
        row |= {"balance": wire.of_number(3), "wallet_type": wire.of_string("ENGAGEMENT")}
        stamped = {"cf_mv": wire.of_number(2**60), "cf_role": wire.of_string("A"), "cf_gen": wire.of_number(4)}
    else:
        row |= {"size": wire.of_number(3), "kind": wire.of_string("order")}
        stamped = {}
    if mapping in ALL[3:]:
        row |= {"expires": wire.of_number(4_000_000_000)}
    mapper = LineMapper(mapping)

    def never(line: bytes) -> Any:
        raise AssertionError(line)

    mapper.map_line = never  # type: ignore[method-assign]
    lines = [b'{"Item":%b}' % encode_image(each) for each in (row, {**row, **stamped})]
    found = mapper.map_lines(lines)
    assert found.mapped == 2
    assert found.standing == (4 if stamped else 0)


def test_a_row_of_a_plain_migration_carries_nothing_of_crossfade_s_and_goes_as_it_is() -> None:
    line = b'{"Item":{"pk":{"S":"a"},"sk":{"S":"b"},"expires":{"N":"7"},"m":{"M":{"x":{"N":"1.0"}}}}}'
    assert LineMapper(PLAIN_IDENTITY).map_lines([line]).text == line + b"\n"
    earlier = b'{"Item":{"pk":{"S":"a"},"sk":{"S":"b"},"x":{"S":"y"},"cf_mv":{"N":"7"},"cf_role":{"S":"A"}}}'
    (mapped,) = LineMapper(PLAIN_IDENTITY).map_lines([earlier]).text.splitlines()
    assert msgspec.json.decode(mapped) == {"Item": {"pk": {"S": "a"}, "sk": {"S": "b"}, "x": {"S": "y"}}}


def test_an_index_of_the_target_that_only_the_table_knows_is_checked_too() -> None:
    line = b'{"Item":{"pk":{"S":"a"},"sk":{"S":"b"},"total":{"S":"12"}}}'
    mapper = LineMapper(IDENTITY, index_keys=(IndexKey("total", "N"),))
    (refused,) = mapper.map_lines([line]).unmappable
    assert "'total' is a key of an index of 'new' and has to be N; it is S" in refused.reason
    assert LineMapper(IDENTITY).map_lines([line]).mapped == 1
