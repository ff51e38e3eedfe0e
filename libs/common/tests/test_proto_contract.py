"""The contract lints, and the generated code is what the contract generates."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
GENERATED = ROOT / "libs/common/src/crossfade/gen"
BUF = ROOT / ".venv/bin/buf"


def buf(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([BUF, *arguments], cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


def sources(folder: Path) -> dict[str, str]:
    return {str(each.relative_to(folder)): each.read_text() for each in folder.rglob("*.py*") if each.suffix != ".pyc"}


def test_the_generated_code_is_what_the_contract_generates(tmp_path: Path) -> None:
    subprocess.run([ROOT / "tools/proto.sh", tmp_path], check=True, capture_output=True, timeout=60)
    fresh = sources(tmp_path)
    assert "engagement/v1/engagement_service_pb2.py" in fresh
    assert fresh == sources(GENERATED)


def test_the_contract_passes_bufs_standard_rules_and_format() -> None:
    lint = buf("lint", cwd=ROOT / "proto")
    assert (lint.returncode, lint.stdout + lint.stderr) == (0, "")
    assert buf("format", "--exit-code", "--diff", cwd=ROOT / "proto").returncode == 0


@pytest.mark.parametrize(
    ("before", "after", "rule"),
    [
        ("ERROR_REASON_UNSPECIFIED = 0", "UNSPECIFIED = 0", "ENUM_VALUE_PREFIX"),
        ("int64 asked = 2", "int64 Asked = 2", "FIELD_LOWER_SNAKE_CASE"),
    ],
)
def test_a_break_of_the_rules_is_found(tmp_path: Path, before: str, after: str, rule: str) -> None:
    proto = tmp_path / "proto"
    shutil.copytree(ROOT / "proto", proto)
    errors = proto / "crossfade/engagement/v1/errors.proto"
    assert before in errors.read_text()
    errors.write_text(errors.read_text().replace(before, after))
    lint = buf("lint", "--error-format", "json", cwd=proto)
    assert lint.returncode != 0
    assert rule in lint.stdout
