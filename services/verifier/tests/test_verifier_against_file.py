"""An export against a file of keys and values that the operator brings, in each form that DuckDB reads."""

from __future__ import annotations

import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import duckdb
import pytest
from msgspec import Raw

from crossfade.adapters.clock import SYSTEM
from crossfade.contracts.offline import OfflineReport
from crossfade.core.values.errors import ConfigError
from crossfade.core.values.shape import Side
from crossfade_verifier.offline.__main__ import main
from crossfade_verifier.offline.against import compare_file
from crossfade_verifier.offline.values import is_plainly
from engagement_api.operations import Kind
from engagement_migration import MAPPING
from engagement_migration.samples import NOT_OURS
from export_files import lines_of, write_export
from verifier_world import World, wallet

WALLETS: Final = 5


def known(number: int, **more: Any) -> dict[str, Any]:
    return {"pk": f"USER#{number}", "sk": "POINTS#c", "points": number + 1, "tier": "gold", **more}


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows in the form that the path's suffix names."""
    lines = path.with_suffix(".jsonl")
    lines.write_text("".join(json.dumps(each) + "\n" for each in rows))
    if path.suffix != ".jsonl":
        options = "FORMAT parquet" if path.suffix == ".parquet" else "FORMAT csv, HEADER"
        rows_of = f"read_json('{lines}', format='newline_delimited')"
        duckdb.sql(f"COPY (SELECT * FROM {rows_of}) TO '{path}' ({options})")  # noqa: S608  # the test's own paths
    return path


def world() -> World:
    return World(WALLETS, tier=Raw(b'{"S":"gold"}'))


def compared(tmp_path: Path, made: World, file: Path, **options: Any) -> OfflineReport:
    export = write_export(tmp_path / "01", Side.TARGET, lines_of(made, Side.TARGET), per_file=2, per_member=1)
    return compare_file(MAPPING, Side.TARGET, export, file, clock=SYSTEM, folder=tmp_path / "work", **options)


def counts(report: OfflineReport) -> dict[str, int]:
    return {name: found.count for name, found in report.differences.items() if found.count}


FORMS = pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])


@FORMS
def test_a_file_that_says_what_the_table_has_is_clean(form: str, tmp_path: Path) -> None:
    report = compared(tmp_path, world(), written(tmp_path / f"known.{form}", [known(each) for each in range(WALLETS)]))
    assert (report.verdict, report.verified, counts(report)) == ("clean", WALLETS, {})
    assert report.sides["target"].rows == WALLETS


@FORMS
def test_what_differs_is_called_by_key_and_by_attribute(form: str, tmp_path: Path) -> None:
    made = world()
    made.tables[Side.TARGET].delete(wallet(1))
    made.tables[Side.TARGET].put(NOT_OURS[0])  # the file knows nothing of it, and it isn't the migration's
    made.operate(wallet(2), Kind.DELETE, 0)
    made.copy(wallet(2))
    rows = [known(each) for each in range(WALLETS - 1)]
    rows[3] |= {"points": 4711, "tier": "lead"}
    report = compared(tmp_path, made, written(tmp_path / f"known.{form}", rows), out=tmp_path / "out.jsonl")
    assert counts(report) == {"missing": 2, "extra": 1, "diverged": 1}
    assert report.differences["diverged"].samples == [{"key": wallet(3).decode(), "differs": ["points", "tier"]}]
    assert {each["key"] for each in report.differences["missing"].samples} == {wallet(each).decode() for each in (1, 2)}
    assert not (tmp_path / "work").exists()
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 4
    assert "4711" not in report.to_text()


def test_a_file_of_some_keys_leaves_the_others_alone_when_it_says_so(tmp_path: Path) -> None:
    report = compared(tmp_path, world(), written(tmp_path / "known.csv", [known(1)]), subset=True)
    assert (report.clean, report.verified) == (True, 1)


@pytest.mark.parametrize(
    ("raw", "plain", "text", "same"),
    [
        (b'{"S":"7"}', "7", False, True),
        (b'{"S":"7"}', 7, False, False),
        (b'{"N":"7"}', 7, False, True),
        (b'{"N":"7.50"}', Decimal("7.5"), False, True),
        (
            b'{"N":"12345678901234567890123456789012345678"}',
            Decimal("12345678901234567890123456789012345677"),
            False,
            False,
        ),
        (b'{"N":"7"}', "7", False, False),
        (b'{"N":"7"}', "7.0", True, True),
        (b'{"N":"1"}', True, False, False),
        (b'{"BOOL":true}', True, False, True),
        (b'{"BOOL":true}', "true", True, True),
        (b'{"BOOL":true}', 1, False, False),
        (b'{"NULL":true}', None, False, True),
        (b'{"S":""}', None, True, True),
        (b'{"S":""}', None, False, False),
        (None, None, False, True),
        (None, "x", False, False),
        (b'{"B":"AAE="}', b"\x00\x01", False, True),
        (b'{"B":"AAE="}', "AAE=", True, True),
        (b'{"SS":["b","a"]}', ["a", "b"], False, True),
        (b'{"SS":["b","a"]}', ["a"], False, False),
        (b'{"NS":["2","1.0"]}', [1, 2], False, True),
        (b'{"L":[{"S":"a"},{"N":"1"}]}', ["a", 1], False, True),
        (b'{"L":[{"S":"a"},{"N":"1"}]}', [1, "a"], False, False),
        (b'{"M":{"a":{"N":"1"}}}', {"a": 1}, False, True),
        (b'{"M":{"a":{"N":"1"}}}', '{"a": 1.0}', True, True),
        (b'{"M":{"a":{"N":"1"}}}', {"a": 1, "b": 2}, False, False),
    ],
)
def test_a_value_is_what_the_file_says_by_its_type(raw: bytes | None, plain: Any, text: bool, same: bool) -> None:
    assert is_plainly(None if raw is None else Raw(raw), plain, text=text) is same


def test_a_file_that_can_not_be_compared_is_refused_with_the_reason(tmp_path: Path) -> None:
    made = world()
    export = write_export(tmp_path / "01", Side.TARGET, lines_of(made, Side.TARGET))

    def refused(file: Path) -> str:
        with pytest.raises(ConfigError) as raised:
            compare_file(MAPPING, Side.TARGET, export, file, clock=SYSTEM, folder=tmp_path / "work")
        return str(raised.value)

    assert "must be an existing file, one of *.parquet" in refused(tmp_path / "known.xlsx")
    assert "has no column sk" in refused(written(tmp_path / "a.csv", [{"pk": "USER#1", "points": 1}]))
    assert "USER#1, POINTS#c twice" in refused(written(tmp_path / "b.csv", [known(1), known(1)]))
    (tmp_path / "c.parquet").write_bytes(b"nothing")
    assert "can't be compared" in refused(tmp_path / "c.parquet")


def test_without_duckdb_it_says_what_to_install_and_where(tmp_path: Path) -> None:
    write_export(tmp_path / "01", Side.TARGET, [])
    written(tmp_path / "known.jsonl", [known(1)])
    code = (
        "import sys; sys.modules['duckdb'] = None\n"
        "from crossfade_verifier.offline.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    given = [f"--target={tmp_path / '01'}", f"--against={tmp_path / 'known.jsonl'}", f"--folder={tmp_path / 'w'}"]
    done = subprocess.run([sys.executable, "-c", code, *given], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'crossfade-verifier[file]'" in done.stderr


def test_the_command_takes_one_export_and_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export = write_export(tmp_path / "01", Side.TARGET, lines_of(world(), Side.TARGET))
    file = written(tmp_path / "known.jsonl", [known(each) for each in range(WALLETS)])
    given = [f"--target={export}", f"--against={file}", f"--folder={tmp_path / 'work'}"]
    assert main(given) == 0
    assert f"all {WALLETS} keys are as the file says" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([f"--target={export}"])
