"""A row that couldn't be mapped and was corrected is read again from the source by its key, without another export."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from controller_world import Town, run
from crossfade.core.migration.phases import Phase
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade_controller.cli import arguments_of, parser
from engagement_api.keys import wallet_key
from snapshot_rows import done, in_both_ways, key_of, listed, mend, spoil, stopped


def in_target(town: Town, *users: str) -> set[str]:
    images = town.tables[Side.TARGET].images
    return {user for user in users if Key(key_of(user).encode()) in images}


async def test_corrected_rows_are_read_by_key_and_the_start_goes_on_without_another_export() -> None:
    town = Town()
    await stopped(town, "w1", "w2", "w3")
    exports = town.aws.calls.count("export")
    mend(town, "w1", "w2", "w3")
    await town.ask("start", exclude=[], retake=True)
    await in_both_ways(town)
    assert town.aws.calls.count("export") == exports
    assert in_target(town, "w1", "w2", "w3") == {"w1", "w2", "w3"}
    mapped = done(town, "map")[-1]
    assert (mapped["unmappable"], mapped["mapped"]) == (0, done(town, "import")[-1]["imported"])


async def test_rows_that_are_still_wrong_are_listed_alone_and_can_be_taken_again_once_more() -> None:
    town = Town()
    await stopped(town, "w1", "w2", "w3")
    mend(town, "w2")
    number = await town.ask("start", exclude=[], retake=True)
    _, driver = await run(town, lambda: bool(done(town, "retake")))
    await driver.tick()
    assert driver.waiting_for.startswith("2 rows can't be mapped: ")
    assert {each["key"] for each in listed(town, driver.waiting_for)} == {key_of("w1"), key_of("w3")}
    mend(town, "w1", "w3")
    spoil(town, "w2")
    await town.ask("start", exclude=[], retake=True)
    _, driver = await run(town, lambda: len(done(town, "retake")) == 2)
    await driver.tick()
    assert {each["key"] for each in listed(town, driver.waiting_for)} == {key_of("w2")}, "each time it is read as it is"
    mend(town, "w2")
    await town.ask("start", exclude=[], retake=True)
    await in_both_ways(town)
    assert in_target(town, "w1", "w2", "w3") == {"w1", "w2", "w3"}
    assert town.outcome(number) is not None


async def test_a_row_that_was_deleted_instead_is_not_there_and_holds_up_nothing() -> None:
    town = Town()
    await stopped(town, "w1", "w2")
    mend(town, "w1")
    town.tables[Side.SOURCE].delete(wallet_key("w2", "chan"))
    await town.ask("start", exclude=[], retake=True)
    await in_both_ways(town)
    assert in_target(town, "w1", "w2") == {"w1"}


async def test_one_is_corrected_and_the_other_is_left_out_by_one_command() -> None:
    town = Town()
    await stopped(town, "w1", "w2")
    mend(town, "w1")
    await town.ask("start", exclude=[key_of("w2")], retake=True)
    await in_both_ways(town)
    assert in_target(town, "w1") == {"w1"}
    assert done(town, "map")[-1]["excluded"] == 1


@pytest.mark.parametrize("dies", [1, 2, 3])
async def test_taking_rows_again_goes_on_wherever_the_controller_is_killed(dies: int) -> None:
    town = Town()
    await stopped(town, "w1")
    mend(town, "w1")
    number = await town.ask("start", exclude=[], retake=True)
    _, driver = await town.start()
    while len(town.store.journal) < number + dies:  # the process ends after so many entries of its own
        await town.live()
        await driver.tick()
    await in_both_ways(town)
    assert [each["intent"] for each in done(town, "retake")] == [number]
    assert in_target(town, "w1") == {"w1"}


async def test_a_fresh_export_forgets_what_was_taken_again() -> None:
    town = Town()
    await stopped(town, "w1", "w2")
    mend(town, "w1")
    await town.ask("start", exclude=[], retake=True)
    await run(town, lambda: bool(done(town, "retake")))
    mend(town, "w2")
    await town.ask("start", exclude=[], fresh_export=True)
    await in_both_ways(town)
    assert in_target(town, "w1", "w2") == {"w1", "w2"}
    files = [name for name in town.aws.objects if name.startswith(done(town, "map")[-1]["prefix"])]
    assert not any("again" in name for name in files)


async def test_rows_taken_again_are_written_by_a_load_too() -> None:
    town = Town(load="write", load_rows_per_s=1_000_000)
    town.aws._existing.add("engagement")
    await stopped(town, "w1", "w2")
    mend(town, "w1", "w2")
    await town.ask("start", exclude=[], retake=True)
    await run(town, lambda: bool(done(town, "import")))
    assert in_target(town, "w1", "w2") == {"w1", "w2"}
    told = done(town, "import")[0]
    assert told["written"] + told["newer"] + told["there"] == done(town, "map")[-1]["mapped"]


async def test_nothing_is_taken_again_before_the_mapping_or_once_the_import_has_begun() -> None:
    town = Town()
    early = await town.ask("start", exclude=[], retake=True)
    await run(town, lambda: town.outcome(early) is not None)
    outcome: Any = town.outcome(early)
    assert "there is no export yet: leave out --retake" in outcome["because"]
    await town.ask("start", exclude=[])
    ctx, _ = await run(town, lambda: any(each.body["step"] == "import" for each in town.entries("begun")))
    late = await town.ask("start", exclude=[], retake=True)
    await run(town, lambda: town.outcome(late) is not None)
    outcome = town.outcome(late)
    assert outcome["outcome"] == "refused"
    assert "already being filled" in outcome["because"]
    assert ctx.state.phase is not Phase.ABORTED


def test_a_retake_is_asked_for_in_the_intent() -> None:
    assert arguments_of(parser().parse_args(["start", "--retake"])) == {"exclude": [], "retake": True}


async def test_the_status_names_the_way() -> None:
    town = Town()
    _, _, driver = await stopped(town, "w1")
    assert "crossfade start --retake --execute" in driver.waiting_for
    name = next(each for each in town.aws.objects if "unmappable" in each)
    assert [json.loads(line)["key"] for line in gzip.decompress(town.aws.objects[name]).splitlines()] == [key_of("w1")]
