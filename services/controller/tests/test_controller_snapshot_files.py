"""The export's files are mapped once each, whoever is killed; meanwhile the status says how far it is."""

from __future__ import annotations

import asyncio
import gzip
import importlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from controller_world import Town, run
from crossfade.adapters.s3_export import ExportFile, FileCounts, FilePlaces
from crossfade.contracts.status import Status
from crossfade.core.mapping.rules import Compute, RuleMapping, Table, key_prefixes
from crossfade.core.migration.phases import Phase
from crossfade.core.migration.progress import Pace
from crossfade.core.values.errors import StoreUnavailable
from crossfade_controller.driver import Driver
from crossfade_controller.mapping_run import REFUSED, folder_of, listings, map_run, mark_of, summed
from crossfade_controller.render import status_text
from crossfade_controller.status import status_of
from engagement_migration import MAPPING


def done(town: Town, step: str) -> list[Any]:
    return [each.body for each in town.entries("step") if each.body["step"] == step]


def began(town: Town, step: str) -> bool:
    return any(each.body["step"] == step for each in town.entries("begun"))


def files_mapped(town: Town) -> set[str]:
    return {name for name in town.aws.objects if "/mapped-" in name and name.endswith(".json")}


class Stuck:
    """A bucket in which writing stops after some import files, until it is let go."""

    def __init__(self, town: Town, after: int) -> None:
        self._town, self._left = town, after
        self.go = asyncio.Event()
        self._write = town.aws.write
        town.aws.write = self.write  # type: ignore[method-assign]

    async def write(self, key: str, pieces: AsyncIterator[bytes]) -> None:
        if "/import-" in key:
            if self._left <= 0:
                await self.go.wait()
            self._left -= 1
        await self._write(key, pieces)


async def mapping_stuck(after: int) -> tuple[Town, Stuck, Any, Driver]:
    """A start whose mapping has done some files, and is at the next ones."""
    town = Town(wallets=30)
    stuck = Stuck(town, after)
    await town.ask("start", exclude=[])
    ctx, driver = await run(town, lambda: began(town, "map"))
    while len(files_mapped(town)) < after:
        await driver.tick()
    return town, stuck, ctx, driver


async def test_a_controller_that_takes_over_maps_only_the_files_that_are_left() -> None:
    town, stuck, _, driver = await mapping_stuck(after=4)
    before = {name: town.aws.objects[name] for name in town.aws.objects if "/import-" in name}
    assert len(before) == 4
    await driver.close()  # the process ends; nothing of the file that it was at has appeared
    read: list[str] = []
    original = town.aws.read

    def noted(key: str) -> AsyncIterator[bytes]:
        read.append(key)
        return original(key)

    town.aws.read = noted  # type: ignore[method-assign]
    stuck.go.set()
    await run(town, lambda: bool(done(town, "map")))
    files = [name for name in town.aws.objects if "/data/" in name]
    data_read = [key for key in read if "/data/" in key]
    assert len(data_read) == len(set(data_read)) == len(files) - 4
    assert {name: town.aws.objects[name] for name in before} == before
    assert done(town, "map")[0]["mapped"] == 35  # with the canary


async def test_no_file_is_begun_while_the_migration_is_paused_and_the_rest_are_mapped_after_it() -> None:
    town, stuck, ctx, driver = await mapping_stuck(after=2)
    await town.ask("pause")
    await driver.tick()
    assert ctx.state.paused
    stuck.go.set()
    for _ in range(20):
        await asyncio.sleep(0)
        await driver.tick()
    paused_at = len(files_mapped(town))
    assert paused_at <= 2 + town.settings.map_at_once, "those that were under way are finished, no more"
    await town.ask("resume")
    await run(town, lambda: bool(done(town, "map")))
    assert len(files_mapped(town)) > paused_at


async def test_an_abort_ends_the_mapping() -> None:
    town, stuck, ctx, driver = await mapping_stuck(after=2)
    await town.ask("abort", confirm="engagement")
    for _ in range(20):
        await town.live()
        await driver.tick()
    assert ctx.state.phase is Phase.ABORTED
    stuck.go.set()
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(files_mapped(town)) <= 2 + town.settings.map_at_once


async def test_a_file_that_can_not_be_read_now_is_read_again_and_the_others_are_not() -> None:
    town = Town(wallets=30)
    original = town.aws.read
    failed: list[str] = []

    async def flaky(key: str) -> AsyncIterator[bytes]:
        if key.endswith("/data/9.json.gz") and not failed:
            failed.append(key)
            raise StoreUnavailable("GetObject: reset")
        async for piece in original(key):
            yield piece

    town.aws.read = flaky  # type: ignore[method-assign]
    await town.ask("start", exclude=[])
    await run(town, lambda: bool(done(town, "map")))
    assert failed
    assert done(town, "map")[0]["mapped"] == 35  # with the canary


async def test_the_status_says_how_far_the_mapping_is_and_how_long_it_takes_yet() -> None:
    town, _, ctx, driver = await mapping_stuck(after=4)
    town.now_s += 8.0
    await driver.tick()
    told = status_of(ctx, driver.wait)
    progress = told["progress"]
    assert (progress["step"], progress["done"], progress["total"]) == ("map", 12, 38)
    assert progress["detail"] == "4 of 13 files"
    assert msgspec.convert(told, Status).progress is not None
    text = status_text(told)
    assert "map: 12 of 38 rows (32 %), 4 of 13 files" in text
    assert "12 of 38" in driver.waiting_for


async def test_export_and_import_tell_their_progress_too() -> None:
    town = Town()
    seen: dict[str, Any] = {}
    await town.ask("start", exclude=[])
    ctx, driver = await town.start()
    for _ in range(100):
        await town.live()
        await driver.tick()
        if (told := status_of(ctx, driver.wait)["progress"]) is not None:
            seen.setdefault(told["step"], told)
        if ctx.state.phase is Phase.CATCHING_UP:
            break
    assert seen["export"]["detail"].endswith("files written so far, and AWS tells no more")
    assert seen["export"]["eta_s"] is None
    assert (seen["import"]["done"], seen["import"]["total"]) == (11, 11)
    assert status_of(ctx, driver.wait)["progress"] is None


def test_an_eta_is_reckoned_from_what_was_done_since_this_process_looked() -> None:
    pace = Pace("map", "rows", 100.0)
    assert pace.at(100.0, 400, 1000).eta_s is None, "resumed: nothing of it is known to be this fast"
    later = pace.at(110.0, 500, 1000)
    assert (later.per_s, later.eta_s, later.running_s) == (10.0, 50.0, 10.0)
    assert pace.at(120.0, 1000, 1000).eta_s == 0.0


def test_an_export_takes_about_as_long_as_the_one_before() -> None:
    pace = Pace("export", "rows", 0.0, expected_s=60.0)
    assert pace.at(20.0).eta_s == 40.0
    assert pace.at(80.0).eta_s == 0.0
    assert Pace("export", "rows", 0.0).at(20.0).eta_s is None


def _other(image: Any) -> Any:
    return {"b": image["a"]}


def _back(image: Any) -> Any:
    return {"a": image["b"]}


def test_a_mapping_that_changed_maps_all_files_into_a_folder_of_its_own() -> None:
    def made(*names: str) -> RuleMapping:
        return RuleMapping(
            "m",
            source=Table("old", key=("pk",)),
            target=Table("new", key=("pk",)),
            belongs=key_prefixes(*names),
            rules=(Compute(("a",), ("b",), _other, _back),),
        )

    assert mark_of(made("USER#"), "m:M") == mark_of(made("USER#"), "m:M")
    assert mark_of(made("USER#"), "m:M") != mark_of(made("SHOP#"), "m:M")
    folder = folder_of("p/1/import-0/", mark_of(MAPPING, "engagement_migration:MAPPING"))
    assert folder.imports.startswith("p/1/import-0/")
    assert folder.notes.startswith("p/1/mapped-0/")
    assert not folder.note(3).startswith("p/1/import-0/"), "all that is there is imported"


@pytest.mark.parametrize("corrected", ["prices.py", "rows.py", "keys.py"])
def test_the_code_that_a_mapping_decides_and_computes_by_is_part_of_it(
    corrected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What it computes, which rows belong, and how keys change: each in a module of its own."""
    package = tmp_path / "shop_mapping"
    package.mkdir()
    for name in ("prices", "rows", "keys"):
        (package / f"{name}.py").write_text("def function(given): return given\n")
    computed = "Compute(('a',), ('b',), prices.function, prices.function)," if corrected == "prices.py" else ""
    text = (
        "from crossfade.core.mapping.rules import *\nfrom crossfade.core.mapping.keying import KeyRule\n"
        "from crossfade.core.protocol.plain.protocol import PLAIN\n"
        "from shop_mapping import keys, prices, rows\n"
        "M = RuleMapping('shop', source=Table('a', key=('pk',)), target=Table('b', key=('pk',)), protocol=PLAIN, "
        "belongs=lambda key: bool(rows.function(key)), keys=KeyRule(keys.function, keys.function), is_open=True, "
        f"rules=({computed}))\n"
    )
    (package / "__init__.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [each for each in sys.modules if each.partition(".")[0] == "shop_mapping"]:
        monkeypatch.delitem(sys.modules, name)
    made = importlib.import_module("shop_mapping").M
    before = mark_of(made, "shop_mapping:M")
    assert mark_of(made, "shop_mapping:M") == before
    (package / corrected).write_text("def function(given): return dict(given)\n")
    assert mark_of(made, "shop_mapping:M") != before


async def test_rows_that_can_not_be_mapped_are_all_listed_though_they_are_in_many_files() -> None:
    aws = Town().aws
    files = [ExportFile(f"f{number}", 1, "") for number in range(40)]

    async def refuse(file: ExportFile, places: FilePlaces) -> FileCounts:
        async def listing() -> AsyncIterator[bytes]:
            yield gzip.compress(file.key.encode() + b"\n")

        await aws.write(places.unmappable, listing())
        return FileCounts(read=1, unmappable=1)

    class Crew:
        async def __aenter__(self) -> Any:
            return refuse

        async def __aexit__(self, *_: object) -> None:
            return None

    folder = folder_of("p/import-0/", "m")
    counts = await map_run(aws, files, folder, Crew(), at_once=3, is_held=lambda: False).done(10.0)
    assert counts is not None
    assert summed(counts.values()).unmappable == 40
    listed = b"".join(gzip.decompress(aws.objects[key]) for key in await listings(aws, folder, REFUSED))
    assert listed.split() == [each.key.encode() for each in files]
