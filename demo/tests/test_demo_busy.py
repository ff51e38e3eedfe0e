"""The load beside the demo is what it says, and ends."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tools.busy import KINDS, kinds, line, load, work


@pytest.mark.parametrize("cores", [1, 2, 3, 8])
def test_the_load_is_twice_the_cores_and_half_of_it_disk_and_memory_work(cores: int) -> None:
    found = kinds(cores)
    assert len(found) == 2 * cores
    assert found.count("compute") == cores
    assert "write" in found


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_work_ends_at_its_time_and_leaves_nothing(kind: str, tmp_path: Path) -> None:
    work(kind, tmp_path, 0.01)
    assert list(tmp_path.iterdir()) == []


def test_the_load_runs_in_processes_that_end_with_it(tmp_path: Path) -> None:
    with load(tmp_path, ["compute", "write"], seconds=30.0) as pids:
        deadline_s = time.monotonic() + 30
        while not list(tmp_path.glob("busy-*")) and time.monotonic() < deadline_s:
            time.sleep(0.01)
        assert all(Path(f"/proc/{pid}").exists() for pid in pids)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_a_report_is_a_line_too() -> None:
    assert "no report" in line(1, 1, 3.0, {})
    checks = [{"name": "acknowledged_once", "passed": False, "wrong": ["lost"]}]
    assert "acknowledged_once: lost" in line(1, 1, 3.0, {"verdict": "FAILED", "checks": checks})
