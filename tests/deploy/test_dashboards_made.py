"""The committed dashboards are what their panels make, and survive Grafana's own types."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from tools import dashboards

FILES = sorted(dashboards.BOARDS.glob("*.json"))


def test_the_committed_files_are_what_is_made_now() -> None:
    assert [path.name for path, text in dashboards.made().items() if path.read_text() != text] == [], (
        "run make dashboards"
    )


def test_a_changed_panel_makes_its_file_old(tmp_path: Path) -> None:
    folder = shutil.copytree(dashboards.BOARDS, tmp_path / "dashboards")
    (folder / "api.yaml").write_text((folder / "api.yaml").read_text().replace("unit: cps", "unit: s", 1))
    assert [path.name for path, text in dashboards.made(folder).items() if path.read_text() != text] == ["api.json"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_reading_and_writing_by_grafanas_types_changes_nothing(path: Path) -> None:
    register_default_plugins()
    before = json.loads(path.read_text())
    after = json.loads(json.dumps(Dashboard.from_json(before), cls=JSONEncoder))
    assert after == before
