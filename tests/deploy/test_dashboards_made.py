"""The committed dashboards and rules are what the contract makes, and survive Grafana's own types."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "deploy" / "dashboards").glob("*.json"))


def generate(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tools.observability", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_committed_files_are_what_is_made_now() -> None:
    checked = generate("--check")
    assert checked.returncode == 0, f"run make dashboards: {checked.stdout}{checked.stderr}"


def test_an_old_file_is_found() -> None:
    checked = generate("--check", "--runbooks", "https://elsewhere.example")
    assert checked.returncode == 1
    assert "old: deploy/alerts/crossfade.rules.yaml" in checked.stdout
    assert "old: deploy/dashboards/overview.json" in checked.stdout


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_reading_and_writing_by_grafanas_types_changes_nothing(path: Path) -> None:
    register_default_plugins()
    before = json.loads(path.read_text())
    after = json.loads(json.dumps(Dashboard.from_json(before), cls=JSONEncoder))
    assert after == before
