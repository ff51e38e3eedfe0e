"""A snapshot that meets rows it can't take: all are listed, and each way on is said and works."""

import gzip
import json
from functools import partial
from pathlib import Path

import msgspec
import pytest

from controller_console import console_of
from controller_world import Town, run, settled
from crossfade.core.migration.phases import Intent
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade_controller.cli import arguments_of, parser
from crossfade_controller.commands import ask
from crossfade_controller.excluding import why_not_excluded
from crossfade_controller.failing import REFUSED, SHUT
from engagement_migration import MAPPING
from snapshot_rows import done, in_both_ways, key_of, listed, mend, stopped


async def test_all_rows_that_can_not_be_mapped_are_in_one_file_that_the_status_names() -> None:
    users = [f"w{number}" for number in range(500)]
    town = Town(wallets=500)
    _, _, driver = await stopped(town, *users)
    said = driver.waiting_for
    assert said.startswith("500 rows can't be mapped: ")
    rows = listed(town, said)
    assert sorted(each["key"] for each in rows) == sorted(map(key_of, users))
    assert all("surprise" in each["reason"] for each in rows)
    for way in ("start --fresh-export", "restart the controller", "--exclude-from FILE"):
        assert way in said


async def test_rows_that_can_not_be_mapped_are_looked_for_once_in_a_process_not_with_each_tick() -> None:
    town = Town()
    _, _, driver = await stopped(town, "w1", "w2")
    name = next(each for each in town.aws.objects if "unmappable" in each)
    town.aws.objects[name] = b"untouched"
    for _ in range(3):
        await town.live()
        await driver.tick()
    assert town.aws.objects[name] == b"untouched"


async def test_a_new_run_writes_the_file_of_what_is_left_over_the_old_one() -> None:
    town = Town()
    _, _, driver = await stopped(town, "w1", "w2")
    name = next(each for each in town.aws.objects if "unmappable" in each)
    town.aws.objects[name] = b"an older run's"
    _, driver = await town.start()
    for _ in range(3):
        await town.live()
        await driver.tick()
    assert len(listed(town, driver.waiting_for)) == 2


async def test_a_row_that_was_corrected_is_in_a_fresh_export_and_start_goes_on() -> None:
    town = Town()
    await stopped(town, "w1", "w2")
    first = town.aws.calls.count("export")
    mend(town, "w1", "w2")
    await town.ask("start", exclude=[], fresh_export=True)
    await in_both_ways(town)
    assert town.aws.calls.count("export") == first + 1
    exports = done(town, "export")
    assert exports[1]["at_s"] > exports[0]["at_s"]
    assert done(town, "map")[-1]["unmappable"] == 0
    assert {Key(key_of(user).encode()) for user in ("w1", "w2")} <= set(town.tables[Side.TARGET].images)


async def test_a_row_that_was_excluded_and_then_corrected_comes_along_with_a_fresh_export() -> None:
    town = Town()
    await stopped(town, "w1", "w2")
    await town.ask("start", exclude=[key_of("w1")])
    ctx, _ = await run(town, lambda: bool(done(town, "excluded")))
    mend(town, "w1")
    await town.ask("start", exclude=[key_of("w2")], fresh_export=True)
    await in_both_ways(town)
    ctx, _ = await town.start()
    assert ctx.world.excluded == {Key(key_of("w2").encode())}
    assert Key(key_of("w1").encode()) in town.tables[Side.TARGET].images
    assert done(town, "map")[-1]["excluded"] == 1


@pytest.mark.parametrize("dies", [1, 2, 3, 4])
async def test_a_fresh_export_goes_on_wherever_the_controller_is_killed(dies: int) -> None:
    town = Town()
    await stopped(town, "w1")
    mend(town, "w1")
    number = await town.ask("start", exclude=[], fresh_export=True)
    _, driver = await town.start()
    while len(town.store.journal) < number + dies:  # the process ends after so many entries of its own
        await town.live()
        await driver.tick()
    await in_both_ways(town)
    assert [each.body["intent"] for each in town.entries("again")] == [number]


async def test_a_fresh_export_is_refused_once_the_import_has_begun() -> None:
    town = Town()
    start = await town.ask("start", exclude=[])
    await run(town, lambda: any(each.body["step"] == "import" for each in town.entries("begun")))
    again = await town.ask("start", exclude=[], fresh_export=True)
    await run(town, lambda: town.outcome(again) is not None)
    outcome = town.outcome(again)
    assert outcome is not None
    assert outcome["outcome"] == "refused"
    assert "the target table is already being filled from the export" in outcome["because"]
    await run(town, lambda: town.outcome(start) is not None)  # which goes on


WRONG_KEYS = [
    (key_of("nobody"), "has no row in wallet"),
    ('[{"S":"WALLET#1"},{"S":"BALANCE"}]', "doesn't belong to the mapping engagement"),
    ('[{"S":"USER#w1"}]', "is not an encoded key, such as"),
    ("w1", "is not an encoded key, such as"),
]


@pytest.mark.parametrize(("key", "says"), WRONG_KEYS)
async def test_a_key_that_names_no_row_of_ours_is_not_excluded_but_refused_by_name(key: str, says: str) -> None:
    town = Town()
    number = await town.ask("start", exclude=[key_of("w1"), key])
    ctx, _ = await run(town, lambda: town.outcome(number) is not None)
    outcome = town.outcome(number)
    assert outcome is not None
    assert outcome["outcome"] == "refused"
    assert f"{key} {says}" in outcome["because"]
    assert "Nothing was excluded" in outcome["because"]
    assert ctx.world.excluded == set()


@pytest.mark.parametrize("execute", [False, True], ids=["dry run", "execute"])
@pytest.mark.parametrize(("key", "says"), WRONG_KEYS)
async def test_a_dry_run_looks_for_the_rows_as_the_controller_does_and_says_the_same(
    key: str, says: str, execute: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    town = Town()
    number = await town.ask("start", exclude=[key_of("w1"), key])
    await run(town, lambda: town.outcome(number) is not None)
    entries = len(town.store.journal)
    console = console_of(town.store)._replace(excludes=partial(why_not_excluded, MAPPING, town.tables[Side.SOURCE]))
    assert await ask(console, Intent.START, {"exclude": [key_of("w1"), key]}, execute=execute) == REFUSED
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    refused = town.outcome(number)
    assert refused is not None
    assert told["because"] == refused["because"]
    assert f"{key} {says}" in told["because"]
    assert len(town.store.journal) == entries


async def test_a_dry_run_takes_keys_that_have_rows_and_unknown_ones_when_told_so() -> None:
    town = Town()
    console = console_of(town.store)._replace(excludes=partial(why_not_excluded, MAPPING, town.tables[Side.SOURCE]))
    assert (
        await ask(console, Intent.START, {"exclude": [key_of("w1")]}, execute=False) == SHUT
    )  # by gates that no controller has told
    unknown = {"exclude": [key_of("nobody")], "exclude_unknown": True}
    assert await ask(console, Intent.START, unknown, execute=False) == SHUT  # by gates that no controller has told


async def test_a_key_that_was_left_out_before_is_not_looked_for_again_by_a_dry_run() -> None:
    town = Town()
    await stopped(town, "w1", "w2")
    await town.ask("start", exclude=[key_of("w1")])
    await run(town, lambda: bool(done(town, "excluded")))
    town.tables[Side.SOURCE].images.pop(Key(key_of("w1").encode()))
    console = console_of(town.store)._replace(excludes=partial(why_not_excluded, MAPPING, town.tables[Side.SOURCE]))
    assert (
        await ask(console, Intent.START, {"exclude": [key_of("w1")]}, execute=False) == SHUT
    )  # by gates that no controller has told
    fresh = {"exclude": [key_of("w1")], "fresh_export": True}
    assert await ask(console, Intent.START, fresh, execute=False) == REFUSED


async def test_a_key_without_a_row_is_excluded_when_the_operator_says_so() -> None:
    town = Town()
    await settled(town, "start", exclude=[key_of("nobody")], exclude_unknown=True)
    assert done(town, "excluded")[-1]["keys"] == [key_of("nobody")]


async def test_a_key_that_vanished_after_the_plan_took_it_does_not_stop_the_start() -> None:
    town = Town()
    number = await town.ask("start", exclude=[key_of("w1")])
    await run(town, lambda: bool(town.entries("begun")) and town.entries("begun")[-1].body["step"] == "capture")
    town.tables[Side.SOURCE].images.pop(Key(key_of("w1").encode()))
    await run(town, lambda: bool(done(town, "map")))
    assert town.outcome(number) is None


async def test_an_export_without_a_row_of_ours_ends_the_start_with_the_way_on() -> None:
    town = Town()

    def empty(_when: str, _number: int, _kind: str) -> None:
        """Put an export of no rows in the place of the first one, once it is done."""
        if len(done(town, "export")) == 1:
            manifest = str(done(town, "export")[0]["manifest"])
            summary = msgspec.json.decode(town.aws.objects[manifest])
            town.aws.objects[manifest] = msgspec.json.encode({**summary, "itemCount": 0})
            town.aws.objects[summary["manifestFilesS3Key"]] = b""

    town.kill = empty
    number = await town.ask("start", exclude=[])
    _, driver = await run(town, lambda: town.outcome(number) is not None)
    outcome = town.outcome(number)
    assert outcome is not None
    assert outcome["outcome"] == "refused"
    assert "has no row to move" in outcome["because"]
    assert "--fresh-export" in outcome["because"]
    await town.live()
    await driver.tick()
    assert "has no row to move" in driver.waiting_for, "status goes on saying it"
    await town.ask("start", exclude=[], fresh_export=True)
    await in_both_ways(town)


def test_keys_to_leave_out_are_read_from_the_file_of_rows_that_can_not_be_mapped(tmp_path: Path) -> None:
    found = [key_of("w1"), key_of("w2")]
    file = tmp_path / "unmappable.jsonl.gz"
    file.write_bytes(gzip.compress(b"".join(msgspec.json.encode({"key": key, "reason": "x"}) + b"\n" for key in found)))
    asked = parser().parse_args(["start", "--exclude-from", str(file), "--exclude", found[0]])
    assert arguments_of(asked) == {"exclude": found}
    plain = tmp_path / "keys"
    plain.write_text("\n".join(found) + "\n")
    assert arguments_of(parser().parse_args(["start", "--exclude-from", str(plain)])) == {"exclude": found}


def test_a_file_with_a_line_that_is_not_a_key_is_refused_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "keys"
    file.write_text(key_of("w1") + "\nw2\n")
    with pytest.raises(SystemExit) as refusal:
        parser().parse_args(["start", "--exclude-from", str(file)])
    assert refusal.value.code == 2
    assert "line 2" in capsys.readouterr().err


def test_a_fresh_export_is_asked_for_in_the_intent() -> None:
    asked = arguments_of(parser().parse_args(["start", "--fresh-export", "--exclude-unknown"]))
    assert asked == {"exclude": [], "fresh_export": True, "exclude_unknown": True}
