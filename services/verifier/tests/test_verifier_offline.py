"""Two exports of one moment, compared in this process: what is found, what is refused, what goes on after a stop."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw

from crossfade.adapters.clock import SYSTEM
from crossfade.contracts.offline import OfflineReport
from crossfade.core.values.errors import ConfigError, SnapshotBroken
from crossfade.core.values.shape import Side
from crossfade_verifier.offline import comparing
from crossfade_verifier.offline.__main__ import main
from crossfade_verifier.offline.comparing import Progress
from crossfade_verifier.offline.crew import Stopped
from crossfade_verifier.offline.plan import held
from crossfade_verifier.reading.alone import Alone
from crossfade_verifier.reading.pages import Reading
from crossfade_verifier.reading.sums import Sums, differing, layout_of
from engagement_api.operations import Kind
from engagement_migration import MAPPING
from engagement_migration.samples import NOT_OURS
from export_files import AT, lines_of, write_both, write_export
from planted_kinds import DIFFERENT, Planted, both, filled, source, target
from verifier_world import World, wallet

WALLETS = 40


def compared(folder: Path, world: World, **options: Any) -> OfflineReport:
    exports = write_both(folder, world)
    return compare_exports(MAPPING, exports[Side.SOURCE], exports[Side.TARGET], folder=folder / "work", **options)


compare_exports = partial(comparing.compare_exports, clock=SYSTEM)


def keys_of(report: OfflineReport) -> dict[str, list[str]]:
    return {name: [each["key"] for each in found.samples] for name, found in report.differences.items() if found.count}


def plain(wallets: int) -> World:
    """Return a world of wallets without TTL or a computed attribute."""
    return World(wallets, tier=Raw(b'{"S":"gold"}'))


# ---- sums ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("owner", Side)
@pytest.mark.parametrize("world", [plain, filled], ids=["plain", "with TTL and computed"])
def test_where_all_sums_agree_no_row_is_compared(world: Callable[..., World], owner: Side, tmp_path: Path) -> None:
    made = world(WALLETS)
    for number in range(WALLETS) if owner is Side.TARGET else ():
        made.hand_over(wallet(number), 2)
        made.copy(wallet(number))
    report = compared(tmp_path, made)
    assert (report.verdict, report.clean, report.compared, report.verified) == ("clean", True, 0, WALLETS)
    assert {name: side.valued for name, side in report.sides.items()} == {"source": 0, "target": 0}


def test_one_wrong_row_has_the_rows_of_its_bucket_compared_and_no_others(tmp_path: Path) -> None:
    world = plain(WALLETS)
    target(points=b'{"N":"4711"}')(world, wallet(3))
    report = compared(tmp_path, world)
    assert keys_of(report) == {"diverged": [wallet(3).decode()]}
    assert report.differences["diverged"].samples[0]["differs"] == ["balance"]
    assert report.buckets.differing == 1
    assert report.compared < WALLETS
    assert report.verified == WALLETS - 1


def sums_differ(world: World) -> bool:
    reading = Reading(MAPPING.declared)
    usual = filled(WALLETS)
    layout = layout_of(reading, {side: [*lines_of(usual, side), *lines_of(world, side)] for side in Side})
    found = {}
    for side in Side:
        found[side] = Sums(16, 1)
        Alone(reading, side, layout, buckets=16, complete=False).add(b"\n".join(lines_of(world, side)), found[side])
    return bool(differing(found[Side.SOURCE], found[Side.TARGET], layout))


@pytest.mark.parametrize("planted", [each for each in DIFFERENT if each.needs is not Side.TARGET], ids=str)
def test_sums_of_rows_that_differ_differ_whatever_it_is(planted: Planted) -> None:
    world = filled(1)
    assert not sums_differ(world)
    planted.harm(world, wallet(0))
    assert sums_differ(world)


@pytest.mark.parametrize("planted", [each for each in DIFFERENT if each.needs is not Side.SOURCE], ids=str)
def test_so_do_they_where_the_target_table_owns_the_key(planted: Planted) -> None:
    world = filled(1, Side.TARGET)
    planted.harm(world, wallet(0))
    assert sums_differ(world)


def test_unstamped_rows_compare_by_content(tmp_path: Path) -> None:
    world = plain(3)
    for number in range(3):
        source(cf_mv=None, cf_role=None, cf_gen=None, cf_recent=None, cf_events=None, cf_emv=None)(
            world, wallet(number)
        )
        target(cf_mv=b'{"N":"0"}', cf_gen=b'{"N":"0"}', cf_recent=None, cf_events=None, cf_emv=None)(
            world, wallet(number)
        )
    report = compared(tmp_path, world)
    assert (report.clean, report.compared) == (True, 0)


def test_tombstones_on_both_sides_are_equal_at_whatever_version(tmp_path: Path) -> None:
    world = plain(4)
    for number in (1, 2):
        world.operate(wallet(number), Kind.DELETE, 0)
        world.copy(wallet(number))
    target(cf_mv=b'{"N":"1806571929600000000"}')(world, wallet(2))
    report = compared(tmp_path, world)
    assert (report.verdict, report.verified) == ("clean", 4)


# ---- what one moment can't tell -----------------------------------------------------------------


def test_a_standby_that_is_behind_and_a_key_between_the_tables_are_unsettled(tmp_path: Path) -> None:
    world = plain(4)
    world.earn(wallet(1), 5)
    source(cf_role=b'{"S":"S"}')(world, wallet(2))
    report = compared(tmp_path, world)
    assert (report.verdict, report.clean) == ("unsettled", False)
    assert keys_of(report) == {"behind": [wallet(1).decode()], "in_handover": [wallet(2).decode()]}


def test_exports_of_different_moments_are_refused_and_compared_only_when_told_to(tmp_path: Path) -> None:
    world = plain(2)
    one = write_export(tmp_path / "01", Side.SOURCE, lines_of(world, Side.SOURCE))
    other = write_export(tmp_path / "02", Side.TARGET, lines_of(world, Side.TARGET), at="2026-11-28T18:05:00.000Z")
    with pytest.raises(ConfigError, match=f"source {AT}, target 2026-11-28T18:05"):
        compare_exports(MAPPING, one, other, folder=tmp_path / "work")
    report = compare_exports(MAPPING, one, other, folder=tmp_path / "work", other_moments=True)
    assert "written in between" in report.warnings[0]


# ---- what else is counted -----------------------------------------------------------------------


def test_rows_that_do_not_belong_and_what_the_mapping_drops_are_counted_per_side(tmp_path: Path) -> None:
    world = plain(3)
    for side in Side:
        for image in (*NOT_OURS, NOT_OURS[2] | {"pk": Raw(b'{"S":"USER#7"}'), "sk": Raw(b'{"S":"WALLET#EUR-2"}')}):
            world.tables[side].put(image)
    source(nickname=b'{"S":"zoe"}')(world, wallet(1))
    report = compared(tmp_path, world)
    assert {name: side.rows - side.belonging for name, side in report.sides.items()} == {"source": 4, "target": 4}
    assert report.not_ours.count == len(report.not_ours.samples) == 4
    assert report.sides["source"].dropped == {"nickname": 1, "wallet_type": 3}
    assert not report.clean


def test_lines_that_are_no_rows_are_named_by_file_and_number(tmp_path: Path) -> None:
    world = plain(3)
    lines = lines_of(world, Side.SOURCE)
    one = write_export(tmp_path / "01", Side.SOURCE, [lines[0], b'{"Item":', *lines[1:], b'{"Item":{"pk":{"S":"x"}}}'])
    other = write_export(tmp_path / "02", Side.TARGET, lines_of(world, Side.TARGET))
    report = compare_exports(MAPPING, one, other, folder=tmp_path / "work")
    assert report.lines.count == 2
    assert [each["where"].rpartition(", ")[2] for each in report.lines.samples] == ["line 2", "line 5"]
    assert (report.verdict, report.verified) == ("drift", 3)


def test_a_row_that_can_not_be_read_is_named_with_its_cause(tmp_path: Path) -> None:
    world = plain(3)
    target(cf_role=b'{"S":"X"}')(world, wallet(1))
    (found,) = compared(tmp_path, world).differences["unreadable"].samples
    assert found["key"] == wallet(1).decode()
    assert found["cause"].startswith("target: no such cf_role:")


def test_rows_that_can_not_be_read_on_both_sides_alike_are_not_equal(tmp_path: Path) -> None:
    world = plain(3)
    both(source(cf_role=b'{"S":"X"}'), target(cf_role=b'{"S":"X"}'))(world, wallet(1))
    assert keys_of(compared(tmp_path, world)) == {"unreadable": [wallet(1).decode()]}


def test_a_row_that_is_like_ours_in_all_but_its_sort_key_does_not_belong(tmp_path: Path) -> None:
    world = plain(3)
    image = world.tables[Side.SOURCE].images[wallet(1)]
    world.tables[Side.SOURCE].put(image | {"sk": Raw(b'{"S":"WALLET#1"}')})
    exports = {
        side: write_export(tmp_path / side.value, side, lines_of(world, side), per_file=1) for side in Side
    }  # a file is a block: whole blocks of one kind of row are added at once
    report = compare_exports(MAPPING, *exports.values(), folder=tmp_path / "work")
    assert (report.clean, report.sides["source"].rows, report.sides["source"].belonging) == (True, 4, 3)


def test_a_key_that_is_spelled_by_escapes_is_the_same_key(tmp_path: Path) -> None:
    world = plain(3)
    escaped = [line.replace(b'"USER#1"', b'"USER#\\u0031"') for line in lines_of(world, Side.SOURCE)]
    one = write_export(tmp_path / "01", Side.SOURCE, escaped)
    other = write_export(tmp_path / "02", Side.TARGET, lines_of(world, Side.TARGET))
    report = compare_exports(MAPPING, one, other, folder=tmp_path / "work")
    assert (report.clean, report.compared) == (True, 0)


def test_a_key_that_is_twice_in_an_export_is_called(tmp_path: Path) -> None:
    world = plain(3)
    lines = lines_of(world, Side.SOURCE)
    one = write_export(tmp_path / "01", Side.SOURCE, [*lines, lines[1]])
    other = write_export(tmp_path / "02", Side.TARGET, lines_of(world, Side.TARGET))
    report = compare_exports(MAPPING, one, other, folder=tmp_path / "work")
    assert "twice in the export of source" in report.differences["unreadable"].samples[0]["cause"]


SECRETS = (
    target(tier=b'{"S":"SECRET"}'),
    target(nickname=b'{"S":"SECRET"}'),
    source(wallet_type=b'{"S":"SECRET"}'),
    target(cf_recent=b'{"S":"SECRET"}'),
    source(created_at=b'{"S":"SECRET"}'),
    target(preferences=b'{"SECRET":1}'),
    target(points=b'{"N":"SECRET"}'),
)


def test_no_value_of_a_customer_is_in_the_report_or_in_the_file_of_differences(tmp_path: Path) -> None:
    world = filled(len(SECRETS))
    for number, harm in enumerate(SECRETS):
        harm(world, wallet(number))
    report = compared(tmp_path, world, out=tmp_path / "out.jsonl", samples=100)
    assert sum(each.count for each in report.differences.values()) == len(SECRETS)
    assert "SECRET" not in report.to_text()
    assert "SECRET" not in (tmp_path / "out.jsonl").read_text()


# ---- layouts, and damage ------------------------------------------------------------------------


def test_files_of_several_gzip_members_are_read_to_their_ends(tmp_path: Path) -> None:
    world = plain(WALLETS)
    target(points=b'{"N":"4711"}')(world, wallet(WALLETS - 1))
    exports = {
        side: write_export(tmp_path / side.value, side, lines_of(world, side), per_file=13, per_member=5)
        for side in Side
    }
    report = compare_exports(MAPPING, *exports.values(), folder=tmp_path / "work")
    assert {side.rows for side in report.sides.values()} == {WALLETS}
    assert keys_of(report) == {"diverged": [wallet(WALLETS - 1).decode()]}


@pytest.mark.parametrize("prefix", ["AWSDynamoDB", "a/b/AWSDynamoDB"])
@pytest.mark.parametrize("given", ["", "..", "manifest-summary.json"])
def test_an_export_is_found_by_its_folder_one_above_it_or_its_summary(prefix: str, given: str, tmp_path: Path) -> None:
    world = plain(3)
    paths = [
        write_export(tmp_path / side.value / "01732", side, lines_of(world, side), prefix=prefix) / given
        for side in Side
    ]
    assert compare_exports(MAPPING, *paths, folder=tmp_path / "work").clean


def test_empty_tables_are_equal(tmp_path: Path) -> None:
    assert compared(tmp_path, World()).clean


def damaged(change: Callable[[Path], object], tmp_path: Path) -> str:
    exports = write_both(tmp_path, plain(3))
    change(exports[Side.TARGET])
    with pytest.raises(SnapshotBroken) as raised:
        compare_exports(MAPPING, *exports.values(), folder=tmp_path / "work")
    return str(raised.value)


def data_file(export: Path) -> Path:
    (found,) = (export / "data").iterdir()
    return found


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda export: data_file(export).unlink(), "is missing from the export"),
        (lambda export: data_file(export).write_bytes(data_file(export).read_bytes()[:-9]), "is cut short"),
        (lambda export: data_file(export).write_bytes(b"nothing of a gzip file"), "can't be unpacked"),
        (lambda export: (export / "manifest-files.json").unlink(), "is missing from the export"),
        (
            lambda export: (export / "manifest-files.json").write_text(
                (export / "manifest-files.json").read_text().replace('"md5Checksum":"', '"md5Checksum":"AA')
            ),
            "the manifest says",
        ),
        (
            lambda export: [
                each.write_text(each.read_text().replace('"itemCount":3', '"itemCount":4'))
                for each in export.glob("*.json")
            ],
            "holds 3 items, the manifest says 4",
        ),
    ],
    ids=["no file", "cut", "no gzip", "no manifest", "another file", "fewer lines"],
)
def test_a_damaged_export_is_refused_by_name(change: Callable[[Path], object], says: str, tmp_path: Path) -> None:
    assert says in damaged(change, tmp_path)


def test_what_can_not_be_compared_is_refused_with_the_way_out(tmp_path: Path) -> None:
    exports = write_both(tmp_path, plain(1))
    one, other = exports.values()
    with pytest.raises(ConfigError, match="Were source and target swapped"):
        compare_exports(MAPPING, other, one, folder=tmp_path / "work")
    with pytest.raises(ConfigError, match="holds 2 exports: name one of"):
        compare_exports(MAPPING, tmp_path, other, folder=tmp_path / "work")
    with pytest.raises(ConfigError, match="there is no folder"):
        compare_exports(MAPPING, tmp_path / "nowhere", other, folder=tmp_path / "work")
    part = write_export(tmp_path / "03", Side.SOURCE, [], kind="INCREMENTAL_EXPORT")
    with pytest.raises(ConfigError, match="compare full exports"):
        compare_exports(MAPPING, part, other, folder=tmp_path / "work")
    with pytest.raises(ConfigError, match="module:attribute"):
        compare_exports(MAPPING, one, other, folder=tmp_path / "work", workers=2)


# ---- stopping, and going on ---------------------------------------------------------------------


def stop_at(stage: str, rows: int) -> Callable[[Progress], None]:
    def tell(progress: Progress) -> None:
        if progress.stage == stage and progress.rows >= rows:
            raise Stopped("enough")

    return tell


@pytest.mark.parametrize("stage", ["summing", "picking", "joining"])
def test_after_a_stop_only_what_was_not_done_is_done(stage: str, tmp_path: Path) -> None:
    world = plain(WALLETS)
    for number in range(0, WALLETS, 2):
        target(points=b'{"N":"4711"}')(world, wallet(number))
    exports = {side: write_export(tmp_path / side.value, side, lines_of(world, side), per_file=10) for side in Side}

    def compare(progress: Callable[[Progress], None]) -> OfflineReport:
        return compare_exports(
            MAPPING, *exports.values(), folder=tmp_path / "work", unit_rows=10, samples=100, progress=progress
        )

    with pytest.raises(Stopped):
        compare(stop_at(stage, {"summing": 45, "picking": 45, "joining": 10}[stage]))
    seen: list[Progress] = []
    report = compare(seen.append)
    begins = {each.stage: each.rows for each in reversed(seen)}
    summed = {"summing": 40, "picking": 80, "joining": 80}[stage]
    assert begins["summing"] == summed
    assert begins["picking"] == {"summing": 0, "picking": 40, "joining": 80}[stage]
    assert len(keys_of(report)["diverged"]) == report.differences["diverged"].count == WALLETS // 2
    assert report.verified == WALLETS // 2
    assert not (tmp_path / "work").exists()


def test_unfinished_work_is_never_mixed_with_another_comparison(tmp_path: Path) -> None:
    world = plain(WALLETS)
    exports = write_both(tmp_path, world)
    with pytest.raises(Stopped):
        compare_exports(MAPPING, *exports.values(), folder=tmp_path / "work", progress=stop_at("summing", 40))
    with pytest.raises(ConfigError, match="unfinished comparison"):
        compare_exports(MAPPING, *exports.values(), folder=tmp_path / "work", complete=True)


def test_a_folder_that_is_in_use_or_open_to_others_is_refused(tmp_path: Path) -> None:
    with held(tmp_path / "work"), pytest.raises(ConfigError, match="in use"), held(tmp_path / "work"):
        pass
    (tmp_path / "open").mkdir(mode=0o755)
    with pytest.raises(ConfigError, match="chmod 700"), held(tmp_path / "open"):
        pass


# ---- the command --------------------------------------------------------------------------------


def run(tmp_path: Path, world: World, *more: str) -> int:
    exports = write_both(tmp_path, world)
    given = [f"--{side.value}={exports[side]}" for side in Side]
    return main([*given, f"--folder={tmp_path / 'work'}", "--workers=1", "--quiet", *more])


def test_the_command_ends_with_0_where_nothing_differs_and_with_4_where_something_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "1", plain(3)) == 0
    assert "all 3 keys are equal" in capsys.readouterr().out
    world = plain(3)
    target(points=b'{"N":"4711"}')(world, wallet(1))
    assert run(tmp_path / "2", world) == 4
    said = capsys.readouterr().out
    assert said.startswith("drift: 1 diverged; 2 keys are equal")
    assert f"{wallet(1).decode()}  balance" in said


def test_its_json_is_the_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, plain(3), "--json") == 0
    report = OfflineReport.of_text(capsys.readouterr().out)
    assert (report.verified, report.verdict) == (3, "clean")


def test_it_says_on_stderr_why_it_can_not_and_ends_with_2_or_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f"--source={tmp_path / 'a'}", f"--target={tmp_path / 'b'}"]) == 2
    assert "there is no folder" in capsys.readouterr().err
    exports = write_both(tmp_path, plain(3))
    data_file(exports[Side.SOURCE]).unlink()
    given = [f"--{side.value}={exports[side]}" for side in Side]
    assert main([*given, f"--folder={tmp_path / 'work'}", "--workers=1", "--json"]) == 1
    told = capsys.readouterr()
    assert json.loads(told.out)["exit_code"] == 1
    assert "is missing from the export" in told.err
