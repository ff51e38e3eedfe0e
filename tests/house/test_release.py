"""One version for all packages and charts, and its one home is the root's pyproject.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import release


def test_all_packages_and_charts_have_the_version_of_the_root() -> None:
    assert not release.others(), "run: .venv/bin/python -m tools.release version " + release.version()


def test_each_package_of_the_repository_is_a_member() -> None:
    folders = {path.parent for path in release.ROOT.glob("*/*/pyproject.toml")} | {release.ROOT / "demo"}
    assert {each.folder for each in release.packages()} == {each for each in folders if (each / "src").exists()}


def test_another_version_is_found_and_written_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package, chart = tmp_path / "libs" / "one", tmp_path / "deploy" / "helm" / "one"
    package.mkdir(parents=True)
    chart.mkdir(parents=True)
    wheel = '[tool.hatch.build.targets.wheel]\npackages = ["src/one"]\n'
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nversion = "0.2.0"\n[tool.uv.workspace]\nmembers = ["libs/*"]\n'
    )
    (package / "pyproject.toml").write_text(
        f'[project]\nname = "one"\nversion = "0.1.0"\ndependencies = [\n    "h11",\n    "localaws==0.1.1",\n]\n{wheel}'
    )
    (chart / "Chart.yaml").write_text('apiVersion: v2\nversion: 0.2.0\nappVersion: "0.1.9"\n')
    monkeypatch.setattr(release, "ROOT", tmp_path)
    monkeypatch.setattr(release, "HOME", tmp_path / "pyproject.toml")

    assert release.others() == {
        "libs/one/pyproject.toml": {"0.1.0", "0.1.1"},
        "deploy/helm/one/Chart.yaml": {"0.2.0", "0.1.9"},
    }
    release.write_version("0.3.0")
    assert not release.others()
    assert (chart / "Chart.yaml").read_text() == 'apiVersion: v2\nversion: 0.3.0\nappVersion: "0.3.0"\n'


def test_a_package_of_ours_that_is_asked_for_at_no_version_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen: the index has another `localaws`, of a higher version, and the demo got that one."""
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nversion = "0.2.0"\ndependencies = [\n    "localaws",\n]\n[tool.uv.workspace]\nmembers = []\n'
    )
    monkeypatch.setattr(release, "ROOT", tmp_path)
    monkeypatch.setattr(release, "HOME", tmp_path / "pyproject.toml")
    assert release.others() == {"pyproject.toml": {"0.2.0", ""}}
