"""What `plan` looks at: rows from all over the table, for a bounded number of read units; and the verifier itself."""

from collections.abc import Sequence
from typing import Any

import pytest

from controller_world import Town, raw_scan
from crossfade.core.migration.capacity import Load, estimate
from crossfade.core.migration.evidence import Parity
from crossfade.core.migration.gates import GateResult
from crossfade.core.values.image import of_string, string
from crossfade.core.values.shape import Side
from crossfade_controller.plan_text import plan_text
from crossfade_controller.planning import check_plan
from crossfade_controller.sampling import sample


def check(checks: Sequence[GateResult], name: str) -> GateResult:
    return next(each for each in checks if each.name == name)


def only_strays(town: Town, rows: int) -> None:
    table = town.tables[Side.SOURCE]
    table.images.clear()
    for number in range(rows):
        table.put({"pk": of_string(f"WALLET#{number}"), "sk": of_string("BALANCE#x")})


async def test_a_verifier_that_nobody_runs_blocks_the_plan_and_is_named() -> None:
    town = Town()
    town.parity = Parity(detail="http://127.0.0.1:1/parity: connection refused")
    plan = await check_plan((await town.start())[0].world)
    assert [each.name for each in plan.blocking] == ["verifier"]
    because = plan.blocking[0].because
    assert "http://127.0.0.1:1" in because
    assert "connection refused" in because
    assert "Start the verifier" in because


async def test_a_sample_comes_from_all_over_the_key_space() -> None:
    town = Town(wallets=2_000)
    scan = raw_scan(town.tables[Side.SOURCE])
    asked: list[int] = []

    async def counted(**asking: Any) -> Any:
        asked.append(asking["segment"])
        return await scan(**asking)

    found = await sample(counted, rows=320, units=10_000)
    assert set(asked) == set(range(32)), "each segment gave its share before any gave more"
    assert len(found.found) == 320
    assert not found.whole


async def test_a_sample_stops_at_its_read_units_whatever_the_rows_weigh() -> None:
    town = Town(wallets=0)
    table = town.tables[Side.SOURCE]
    for number in range(300):
        table.put({"pk": of_string(f"USER#{number}"), "sk": of_string("POINTS#c"), "x": of_string("x" * 80_000)})
    found = await sample(raw_scan(table), rows=300, units=200)
    assert 200 <= found.units <= 200 + 128
    assert found.read < 300
    assert not found.whole


async def test_a_sample_of_a_small_table_is_the_whole_table() -> None:
    town = Town(wallets=50)
    table = town.tables[Side.SOURCE]
    found = await sample(raw_scan(table), rows=2_000, units=2_000)
    assert found.whole
    assert sorted(string(each["pk"]) for each in found.found) == sorted(
        string(each["pk"]) for each in table.images.values()
    )


async def test_rows_of_ours_are_found_behind_more_rows_of_others_than_a_sample_holds() -> None:
    town = Town(plan_sample=50)
    ours = dict(town.tables[Side.SOURCE].images)
    only_strays(town, 5_000)
    town.tables[Side.SOURCE].images.update(ours)
    plan = await check_plan((await town.start())[0].world)
    assert plan.sample.ours == 10
    assert plan.sample.read == 5_013
    assert plan.blocking == []


async def test_a_shared_table_whose_sample_has_none_of_ours_is_not_refused_and_says_what_is_unproven() -> None:
    town = Town(plan_units=20)
    only_strays(town, 20_000)
    plan = await check_plan((await town.start())[0].world)
    assert plan.blocking == []
    because = check(plan.checks, "round_trip").because
    assert because.startswith("unproven: none of the ")
    assert f"{plan.sample.read} of about 20000 rows" in because
    assert plan.sample.read < 20_000
    assert plan.as_json()["sample"]["table"] == 20_000


async def test_a_table_that_was_read_whole_and_has_none_of_ours_is_refused_with_the_cure() -> None:
    town = Town()
    only_strays(town, 100)
    plan = await check_plan((await town.start())[0].world)
    assert [each.name for each in plan.blocking] == ["round_trip"]
    assert "all 100 rows were looked at" in plan.blocking[0].because
    assert "`belongs`" in plan.blocking[0].because


async def test_a_plan_says_how_many_rows_of_how_many_it_looked_at() -> None:
    town = Town(wallets=400, plan_sample=100)
    plan = await check_plan((await town.start())[0].world)
    assert f"{plan.sample.read} of about 407 rows were looked at" in plan_text(plan)
    assert plan.sample.ours == 100


@pytest.mark.parametrize(
    ("given", "says"), [(None, "1,000 writes/s, a default"), (5_000.0, "5,000 writes/s, as given")]
)
def test_a_figure_that_stands_on_a_default_says_so_and_none_is_called_measured(given: float | None, says: str) -> None:
    figures = {each.name: each for each in estimate(Load(1_000, 400, 400_000, given))}
    assert says in figures["write units a second, both tables"].basis
    assert says in figures["shards of each change stream"].basis
    assert "measured here" not in " ".join(each.basis for each in figures.values())
