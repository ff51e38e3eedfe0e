"""The plain protocol behind the seam: what mapping, plan and snapshot ask of it."""

from __future__ import annotations

import pytest
from msgspec import Raw

from crossfade.core.mapping.rules import Keep, Rename, RuleMapping, Table, prove_round_trip
from crossfade.core.protocol.plain.fit import FENCE_BYTES, is_wide
from crossfade.core.protocol.plain.protocol import PLAIN
from crossfade.core.values.errors import ConfigError, PoisonRecord
from crossfade.core.values.image import Image
from crossfade.core.values.keys import key_of_strings
from crossfade.core.values.shape import Direction, Side

S, T = Side.SOURCE, Side.TARGET
OPEN = RuleMapping(
    "orders",
    source=Table("orders", ("pk", "sk"), ttl="expires"),
    target=Table("orders-new", ("pk", "sk")),
    rules=(),
    belongs=lambda _key: True,
    is_open=True,
    protocol=PLAIN,
)
CLOSED = RuleMapping(
    "closed",
    source=Table("orders", ("pk", "sk"), ttl="expires"),
    target=Table("orders-new", ("p", "s")),
    rules=(Keep("expires"), Rename("total", "amount")),
    belongs=lambda _key: True,
    protocol=PLAIN,
)


def image(**values: str) -> Image:
    return {name: Raw(value.encode()) for name, value in values.items()}


ROW = image(pk='{"S":"a"}', sk='{"S":"b"}', expires='{"N":"17"}', total='{"N":"5.50"}')


@pytest.mark.parametrize("mapping", [OPEN, CLOSED])
def test_a_ttl_attribute_is_content_as_any_other(mapping: RuleMapping) -> None:
    carried = mapping.carry(Direction.FORWARD, ROW)
    assert bytes(carried["expires"]) == b'{"N":"17"}'
    assert not any(name.startswith("cf_") for name in carried)
    assert not prove_round_trip(mapping, Direction.FORWARD, ROW)


@pytest.mark.parametrize("mapping", [OPEN, CLOSED])
def test_nothing_of_ours_in_an_owners_row_is_carried_nor_refused(mapping: RuleMapping) -> None:
    """An application may put back a row that it read when the table was the standby, or by another protocol."""
    ours = image(cf_mv='{"N":"17"}', cf_role='{"S":"A"}', cf_ttl='{"N":"1"}', cf_marker='{"S":"m"}')
    assert mapping.carry(Direction.FORWARD, ROW | ours) == mapping.carry(Direction.FORWARD, ROW)


def test_a_row_with_content_is_none_that_was_deleted() -> None:
    """An application that updates a row which it read as a tombstone leaves the mark in it."""
    marked = ROW | image(cf_deleted='{"BOOL":true}')
    assert OPEN.carry(Direction.FORWARD, marked) == OPEN.carry(Direction.FORWARD, ROW)
    bare = image(pk='{"S":"a"}', sk='{"S":"b"}', cf_deleted='{"BOOL":true}', cf_mv='{"N":"9"}')
    assert PLAIN.stands_for_nothing(bare, OPEN.shape(S))
    assert not PLAIN.stands_for_nothing(marked, OPEN.shape(S))


def test_an_imported_row_gets_nothing_and_a_tombstone_is_not_imported() -> None:
    mapped: Image = {}
    assert PLAIN.imported(ROW, mapped) == 0
    assert mapped == {}
    with pytest.raises(PoisonRecord, match="crossfade clean"):
        PLAIN.imported(ROW, image(cf_deleted='{"BOOL":true}'))


def test_what_only_the_map_can_tell_the_seam_refuses_by_name() -> None:
    with pytest.raises(ConfigError, match=r"compare\.copy"):
        _ = PLAIN.acts
    with pytest.raises(ConfigError, match="without the map"):
        PLAIN.condition(PLAIN.reader(OPEN.shape(S)).row(ROW), T)


def test_a_row_that_has_no_room_for_a_fence_is_wide() -> None:
    key = key_of_strings("a", "b")

    def of(size: int) -> Image:
        return {"v": Raw(b'{"S":"%b"}' % (b"x" * (size - len("pkaskbv"))))}

    shape = OPEN.shape(T)
    assert is_wide(key, of(409_600), shape)
    assert is_wide(key, of(409_600 - FENCE_BYTES + 1), shape)
    assert not is_wide(key, of(409_600 - FENCE_BYTES), shape)
    assert not is_wide(key, of(409_601), shape), "that one is refused"
    assert PLAIN.unfit_image(key, {"pk": ROW["pk"], "sk": ROW["sk"], **of(409_601)}, shape, encoded_bytes=10**6)
