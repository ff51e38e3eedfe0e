"""`plan` on the command line: what it checks, and what blocks a start."""

import pytest
from msgspec import Raw

from controller_world import Town, run, settled
from crossfade.core.migration.capacity import window_meaning
from crossfade.core.migration.phases import Phase
from crossfade.core.values.image import of_number, of_string
from crossfade.core.values.keys import key_of_strings
from crossfade.core.values.shape import IndexKey, Side
from crossfade_controller.plan_text import plan_text
from crossfade_controller.planning import check_plan


async def test_a_plan_on_good_tables_is_possible_and_says_what_its_figures_stand_on() -> None:
    town = Town()
    plan = await check_plan((await town.start())[0].world, writes_per_s=5000)
    assert plan.blocking == []
    assert plan.sample.ours == 10
    assert plan.sample.staying == 3
    bases = ("list price", "AWS limit", "per core", "from the sampled rows", "DynamoDB's own count")
    assert [each.name for each in plan.estimates if not any(basis in each.basis for basis in bases)] == []
    text = plan_text(plan)
    assert "list price" in text
    assert "at most 16.7 operations a second" in text
    assert "USER#cf-canary" in text


async def test_a_row_that_does_not_come_back_the_same_blocks_the_plan() -> None:
    town = Town()
    odd = town.tables[Side.SOURCE].images[key_of_strings("USER#w0", "POINTS#chan")]
    town.tables[Side.SOURCE].put({**odd, "surprise": of_string("x")})
    plan = await check_plan((await town.start())[0].world)
    assert [each.name for each in plan.blocking] == ["round_trip"]
    assert "surprise" in plan.blocking[0].because


async def test_a_row_that_the_target_table_would_refuse_is_named_with_its_cause_and_the_others_are_not() -> None:
    town = Town()
    source = town.tables[Side.SOURCE]
    key = key_of_strings("USER#w0", "POINTS#chan")
    source.put({**source.images[key], "preferences": Raw(b'{"M":{"note":{"S":"%b"}}}' % (b"x" * 409_500))})
    plan = await check_plan((await town.start())[0].world)
    assert [each.name for each in plan.blocking] == ["fits"]
    assert plan.sample.unfit_count == 1
    [named] = plan.sample.unfit
    assert key.decode() in named
    assert "DynamoDB allows 409600" in named
    assert named in plan.blocking[0].because
    assert "1 of 10 sampled rows" in plan_text(plan)
    assert plan.as_json()["sample"]["unfit"] == [named]


async def test_a_row_that_was_left_out_needs_not_fit() -> None:
    town = Town()
    source = town.tables[Side.SOURCE]
    key = key_of_strings("USER#w0", "POINTS#chan")
    source.put({**source.images[key], "preferences": Raw(b'{"M":{"note":{"S":"%b"}}}' % (b"x" * 409_500))})
    refused = await town.ask("start", exclude=[])
    await run(town, lambda: town.outcome(refused) is not None)
    outcome = town.outcome(refused)
    assert outcome is not None
    assert "--exclude" in outcome["because"]
    await town.ask("start", exclude=[key.decode()])
    ctx, driver = await town.start()
    for _ in range(200):
        await driver.tick()
        town.now_s += 1
        if ctx.state.phase is not Phase.PLANNED:
            break
    assert ctx.state.phase is Phase.CAPTURING


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (IndexKey("tier", "S"), "tier (S, partition key)"),
        (IndexKey("balance", "N", sorts=True), "balance (N, sort key)"),
    ],
)
async def test_an_index_key_that_the_mapping_does_not_declare_blocks_the_plan_and_says_the_declaration(
    found: IndexKey, says: str
) -> None:
    town = Town()
    town.aws.index_keys["wallet"] = (found, IndexKey("currency", "S"), IndexKey("sk", "S"))
    plan = await check_plan((await town.start())[0].world)
    assert [each.name for each in plan.blocking] == ["source_indexes"]
    because = plan.blocking[0].because
    assert says in because
    assert f'IndexKey("{found.name}"' in because
    assert "currency" not in because, "nobody but the payments system writes it"


async def test_start_is_refused_when_the_plan_does_not_hold() -> None:
    town = Town(bucket="")
    number = await town.ask("start", exclude=[])
    await run(town, lambda: town.outcome(number) is not None)
    outcome = town.outcome(number)
    assert outcome is not None
    assert outcome["outcome"] == "refused"
    assert "CROSSFADE_BUCKET" in outcome["because"]
    assert town.aws.calls == []


async def test_rows_of_an_earlier_migration_lift_the_counter_of_generations() -> None:
    town = Town()
    key = key_of_strings("USER#w0", "POINTS#chan")
    town.tables[Side.SOURCE].put({**town.tables[Side.SOURCE].images[key], "cf_gen": of_number(41)})
    ctx, _ = await settled(town, "start", exclude=[])
    assert ctx.state.counter >= 41
    await settled(town, "ramp", share=10_000)
    await settled(town, "cutover")
    counters = [int(each.body["counter"]) for each in town.entries("generation")]
    assert 42 in counters, "an odd one belongs to its give-back (ADR 0014): it is rounded up"
    assert all(counter % 2 == 0 for counter in counters)
    assert town.owners()[Side.SOURCE] == 0


def test_what_the_window_means_for_one_key() -> None:
    meaning = window_meaning(400, window_s=60, soft=32, most=1000)
    assert round(meaning.calls_per_s, 1) == 16.7
    assert (meaning.units_idle, meaning.units_soft, meaning.units_full) == (1, 1, 17)
