"""A snapshot whose keys change: nothing is merged, whoever wrote the row that stands there."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from crossfade.adapters.memory.admin import MemoryAws
from crossfade.core.mapping.indexes import target_indexes
from crossfade.core.mapping.keying import KeyRule, prefixed, split
from crossfade.core.mapping.loading import Landing, landing
from crossfade.core.mapping.rules import RuleMapping, Table
from crossfade.core.mapping.snapshot import Fate, LineMapper
from crossfade.core.protocol.plain.protocol import PLAIN
from crossfade.core.values import image as wire
from crossfade.core.values.errors import ConfigError, SnapshotBroken
from crossfade.core.values.image import Image
from crossfade.core.values.shape import Index, IndexKey
from crossfade.ports.admin import TableFacts
from crossfade_controller.mapping_run import key_of


def mapping(rule: KeyRule, source: tuple[str, ...], target: tuple[str, ...]) -> RuleMapping:
    return RuleMapping(
        "m",
        source=Table("old", key=source),
        target=Table("new", key=target),
        belongs=lambda _key: True,
        rules=(),
        is_open=True,
        protocol=PLAIN,
        keys=rule,
    )


def lowered(image: Image) -> Image:
    return {"pk": wire.of_string(wire.string(image["pk"]).lower())}


KEPT = mapping(KeyRule(lowered, kept=("old_pk",)), ("pk",), ("pk",))
SPLIT = mapping(split("pk", ("tenant", "id"), "#"), ("pk",), ("tenant", "id"))


def facts(*key: tuple[str, str]) -> TableFacts:
    return TableFacts("old", "arn", "ACTIVE", key, 0, 0, None, recoverable=True)


def test_a_row_of_another_source_key_is_in_the_way_even_if_its_fence_is_higher() -> None:
    ours: Image = {"pk": wire.of_string("a"), "old_pk": wire.of_string("A"), "total": wire.of_number(1)}
    theirs: Image = {**ours, "old_pk": wire.of_string("a"), "cf_mv": wire.of_number(10**18)}
    assert landing(KEPT, ours, theirs) is Landing.OTHER
    assert landing(KEPT, ours, {**ours, "cf_mv": wire.of_number(10**18)}) is Landing.NEWER


def test_a_row_whose_new_key_belongs_to_another_migration_s_rows_is_not_moved() -> None:
    rule = prefixed(("pk",), ("pk",), "EU#")._replace(owns=lambda key: key.startswith(b'[{"S":"EU#shop'))
    mapper = LineMapper(mapping(rule, ("pk",), ("pk",)))
    fine = mapper.map_line(b'{"Item":{"pk":{"S":"shop-1"}}}')
    assert fine.line == b'{"Item":{"pk":{"S":"EU#shop-1"}}}'
    strange = mapper.map_line(b'{"Item":{"pk":{"S":"user-1"}}}')
    assert strange.fate is Fate.UNMAPPABLE
    assert "its key in the target belongs to other rows than the mapping's" in strange.reason


async def test_an_imported_table_s_key_has_the_types_of_the_rows_that_were_mapped() -> None:
    aws = MemoryAws({}, set())
    line = LineMapper(SPLIT).map_lines([b'{"Item":{"pk":{"S":"acme#7"}}}']).text
    aws.objects["in/0.json.gz"] = gzip.compress(line)
    assert await key_of(aws, "in/", SPLIT, facts(("pk", "S"))) == [("tenant", "S"), ("id", "S")]
    with pytest.raises(SnapshotBroken, match="no row under"):
        await key_of(aws, "elsewhere/", SPLIT, facts(("pk", "S")))


async def test_keys_that_keep_their_values_keep_their_types() -> None:
    same = RuleMapping(
        "m",
        source=Table("old", key=("pk", "n")),
        target=Table("new", key=("a", "b")),
        rules=(),
        belongs=lambda _k: True,
    )
    assert await key_of(MemoryAws({}, set()), "", same, facts(("pk", "S"), ("n", "N"))) == [("a", "S"), ("b", "N")]


async def test_no_import_is_begun_that_could_merge_two_rows_unseen() -> None:
    with pytest.raises(ConfigError, match="CROSSFADE_LOAD=write, which lists such rows"):
        await key_of(MemoryAws({}, set()), "", KEPT, facts(("pk", "S")))


def test_an_index_on_a_key_that_changes_is_left_out_unless_the_target_keeps_its_value() -> None:
    by_key: list[Any] = [Index("by-key", (IndexKey("state", "S"), IndexKey("pk", "S", sorts=True)))]
    assert target_indexes(SPLIT, by_key).made == ()
    assert target_indexes(KEPT, by_key).made[0].key == (IndexKey("state", "S"), IndexKey("old_pk", "S", sorts=True))
