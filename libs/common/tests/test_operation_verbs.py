"""What a domain's verbs may be (ADR 0023): checked at the start, each refusal with the attribute it is about."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given

from crossfade.adapters.batch_text import BatchText
from crossfade.adapters.owner_requests import render
from crossfade.core.mapping.rules import Compute, Keep, Rename, RuleMapping, Table, key_prefixes
from crossfade.core.protocol.keyed.operation import Verb, build_operation, check_verb
from crossfade.core.protocol.keyed.writes import Operate
from crossfade.core.values.errors import ConfigError
from crossfade.core.values.shape import Side
from operation_cases import MAPPING, verbs
from ownership_cases import KEY, SEED, ulid

DIGITS_38 = 12345678901234567890123456789012345678
SHAPE = MAPPING.shape(Side.SOURCE)


@given(verbs())
def test_a_verb_of_kept_and_renamed_attributes_holds_for_both_tables(verb: Verb) -> None:
    for side in Side:
        check_verb(verb, MAPPING.shape(side))


@pytest.mark.parametrize(
    "verb",
    [
        Verb("twice", adds=("on_hand", "on_hand")),
        Verb("add and set", adds=("on_hand",), sets=("on_hand",)),
        Verb("set and remove", sets=("label",), removes=("label",)),
        Verb("add and remove", adds=("on_hand",), removes=("on_hand",)),
    ],
    ids=lambda verb: verb.name,
)
def test_a_verb_that_changes_an_attribute_in_two_ways_is_refused(verb: Verb) -> None:
    with pytest.raises(ConfigError, match=f"'{verb.name}' changes an attribute in two ways: (on_hand|label)"):
        check_verb(verb, SHAPE)


@pytest.mark.parametrize(
    "more",
    [{"adds": ("on_hand",)}, {"sets": ("label",)}, {"removes": ("label",)}, {"creates": True}],
    ids=lambda more: next(iter(more)),
)
def test_a_verb_that_deletes_can_neither_change_nor_create(more: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="'gone' deletes, so it can neither create a row nor change what is in it"):
        check_verb(Verb("gone", deletes=True)._replace(**more), SHAPE)


def test_a_verb_that_deletes_may_have_bounds() -> None:
    check_verb(Verb("gone", at_most=("on_hand",), deletes=True), SHAPE)


@pytest.mark.parametrize("field", ["adds", "at_least", "at_most", "sets", "removes"])
def test_an_attribute_that_no_rule_keeps_or_renames_is_refused_by_name(field: str) -> None:
    changed: dict[str, Any] = {field: ("colour",)}
    with pytest.raises(ConfigError, match=r"changes colour, which 'bins' doesn't have: .*Keep or Rename"):
        check_verb(Verb("paint")._replace(**changed), SHAPE)


def test_an_attribute_goes_by_the_source_tables_name_on_both_sides() -> None:
    for side in Side:
        check_verb(Verb("in", adds=("on_hand",)), MAPPING.shape(side))
        with pytest.raises(ConfigError, match="available"):
            check_verb(Verb("in", adds=("available",)), MAPPING.shape(Side.SOURCE))


def test_a_computed_attribute_is_not_there_under_one_name_in_both_tables() -> None:
    computed = RuleMapping(
        "computed",
        source=Table("old", key=("pk",)),
        target=Table("young", key=("pk",)),
        belongs=key_prefixes("A#"),
        rules=(Compute(("born",), ("born_ms",), lambda found: found, lambda found: found), Keep("kept")),
    )
    check_verb(Verb("set", sets=("born",)), computed.shape(Side.SOURCE))
    with pytest.raises(ConfigError, match="changes born, which 'young' doesn't have"):
        check_verb(Verb("set", sets=("born",)), computed.shape(Side.TARGET))


def test_an_open_mapping_has_each_attribute() -> None:
    mapping = RuleMapping(
        "open",
        source=Table("old", key=("pk",)),
        target=Table("young", key=("pk",)),
        belongs=key_prefixes("A#"),
        rules=(Rename(source="a", target="b"),),
        is_open=True,
    )
    for side in Side:
        check_verb(Verb("set", sets=("anything",)), mapping.shape(side))


@pytest.mark.parametrize("amount", [-DIGITS_38, Decimal(f"-{DIGITS_38 // 1000}.125")])
def test_an_amount_is_taken_with_all_of_its_digits_alone_and_in_a_batch(amount: int | Decimal) -> None:
    taken = build_operation(KEY, Verb("take", adds=("on_hand",)), ulid(1), SEED, amounts=(amount,))
    write = Operate(KEY, taken, 32)
    wanted = b'{"N":"%b"}' % str(amount).removeprefix("-").encode()
    batched = BatchText(SHAPE).render(write)
    assert batched is not None
    assert wanted in batched
    assert wanted in render(write, SHAPE).body
