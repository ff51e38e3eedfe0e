"""The whole migration with chaos, at small size: the demo itself, every check of it required."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHECKS = {
    "replicator_killed",
    "old_flags_named",
    "rolled_back_and_forth",
    "faults_happened",
    "parity_clean",
    "completed",
    "acknowledged_once",
    "all_keys_moved",
    "feed_once_in_order",
    "payments_untouched",
    "no_downtime",
    "one_trace",
    "clean_stops",
}


@pytest.mark.e2e
@pytest.mark.timeout(240)
def test_a_migration_under_traffic_and_chaos_loses_nothing(tmp_path: Path) -> None:
    options = ["--wallets", "300", "--rate", "40", "--seconds", "5", "--seed", "11", "--chaos", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "crossfade_demo", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=230,
        check=False,
    )
    report = json.loads(done.stdout) if done.stdout else {}
    failed = [each for each in report.get("checks", []) if not each["passed"]]
    assert (done.returncode, failed) == (0, []), done.stderr[-3000:]
    assert {each["name"] for each in report["checks"]} == CHECKS
    assert json.loads((tmp_path / "build/demo/report.json").read_text()) == report
