"""One contract of an operation, whatever the domain: each engine changes a row, or refuses, as `perform` says."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from crossfade.core.mapping.rules import RuleMapping
from crossfade.core.protocol.keyed.item import Role
from crossfade.core.protocol.keyed.operation import Content, Verb, build_operation
from crossfade.core.protocol.keyed.writes import Operate
from crossfade.core.protocol.writing import Applied, Refused
from crossfade.core.values.canonical import canonical_value
from crossfade.core.values.shape import Side
from operation_cases import MAPPING, contents, operation_writes
from owned_benches import OpenBench, check
from ownership_cases import KEY, SEED, items, number, stamped, tombstone, ulid
from property_examples import examples

SIDES = pytest.mark.parametrize("side", list(Side))
FORMS = pytest.mark.parametrize("together", [False, True], ids=["alone", "in a batch"])


def canonical(content: Content) -> dict[str, bytes]:
    return {name: canonical_value(raw) for name, raw in content}


@pytest.fixture
def mapping() -> RuleMapping:
    return MAPPING


@SIDES
@FORMS
@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
async def test_any_operation_means_on_the_engine_what_perform_says(
    open_bench: OpenBench, side: Side, together: bool, data: st.DataObject
) -> None:
    pairs = data.draw(st.lists(st.tuples(items(side, contents(side)), operation_writes()), min_size=1, max_size=30))
    await check(open_bench(side), pairs, together=together)


LEND = Verb(
    "lend", adds=("on_hand", "lent"), at_least=("on_hand",), at_most=("lent",), sets=("label",), removes=("tags",)
)


@SIDES
@FORMS
async def test_two_numbers_a_set_and_a_remove_happen_together_or_not_at_all(
    open_bench: OpenBench, side: Side, together: bool
) -> None:
    own, quarter = MAPPING.shape(side).own, Decimal("0.25")
    row = {"on_hand": number("0.25"), "lent": number(10**20), "label": b'{"S":"old"}', "tags": b'{"SS":["a"]}'}

    def with_(**changed: bytes | None) -> tuple[tuple[str, bytes], ...]:
        return tuple(sorted((own(name), raw) for name, raw in (row | changed).items() if raw is not None))

    op = build_operation(
        KEY,
        LEND,
        ulid(1),
        SEED,
        amounts=(-quarter, quarter),
        least=(quarter,),
        most=(10**20,),
        values=(b'{"S":"new"}',),
    )
    active = stamped(side, Role.ACTIVE, 2)
    befores = [
        active._replace(content=with_()),
        active._replace(content=with_(on_hand=number("0.249999999999"))),  # below its lower limit
        active._replace(content=with_(on_hand=None)),  # counts as the zero item's 0
        active._replace(content=with_(lent=number("100000000000000000000.5"))),  # above its upper limit
        active._replace(content=with_(lent=None)),  # counts as the zero item's 2.5
        active._replace(content=with_(label=None, tags=None)),
        tombstone(Role.ACTIVE, 2),
        None,
    ]
    answers = await check(open_bench(side), [(each, Operate(KEY, op, 32)) for each in befores], together=together)
    assert [type(each) for each in answers] == [Applied, Refused, Refused, Refused, Applied, Applied, Refused, Refused]
    after = with_(on_hand=number(0), lent=number("100000000000000000000.25"), label=b'{"S":"new"}', tags=None)
    assert isinstance(answers[0], Applied)
    assert canonical(answers[0].item.content) == canonical(after)


@SIDES
@FORMS
@pytest.mark.parametrize("creates", [False, True])
async def test_only_a_verb_that_creates_makes_or_revives_a_row_from_the_zero_item(
    open_bench: OpenBench, side: Side, together: bool, creates: bool
) -> None:
    own = MAPPING.shape(side).own
    op = build_operation(KEY, Verb("put", adds=("on_hand",), creates=creates), ulid(1), SEED, amounts=(Decimal("1.5"),))
    befores = [None, tombstone(Role.ACTIVE, 2)]
    write = Operate(KEY, op, 32, generation=4)
    # A row that isn't there is active in the source table only, unless the migration is complete.
    answers = await check(
        open_bench(side), [(each, replace(write, complete=side is Side.TARGET)) for each in befores], together=together
    )
    for answer in answers:
        assert isinstance(answer, Applied) is creates
        if isinstance(answer, Applied):
            made = ((own("on_hand"), number("1.5")), (own("lent"), number("2.5")))
            assert canonical(answer.item.content) == canonical(made)


@SIDES
@FORMS
async def test_a_row_that_is_not_there_has_the_zero_items_numbers_in_a_bound(
    open_bench: OpenBench, side: Side, together: bool
) -> None:
    """2.5 are lent from the beginning, so a row can't be made where at most 2 may be."""
    few, enough = Verb("few", at_most=("lent",), creates=True), Verb("enough", at_least=("lent",), creates=True)
    ops = [
        build_operation(KEY, few, ulid(1), SEED, most=(2,)),
        build_operation(KEY, few, ulid(1), SEED, most=(Decimal("2.5"),)),
        build_operation(KEY, enough, ulid(1), SEED, least=(3,)),
    ]
    for before in (None, tombstone(Role.ACTIVE, 2)):
        pairs = [(before, Operate(KEY, op, 32, complete=side is Side.TARGET, generation=4)) for op in ops]
        answers = await check(open_bench(side), pairs, together=together)
        assert [type(each) for each in answers] == [Refused, Applied, Refused]
