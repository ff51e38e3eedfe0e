"""The alert rules under Prometheus's own promtool: each alert alone, and every pair of dead services in every phase."""

from __future__ import annotations

import shutil
import subprocess
from itertools import combinations
from pathlib import Path

import alert_cases
import alert_deaths
import pytest
from alert_rules import EVERYBODY, RULES

from crossfade.core.migration.keyed import KEYED_PHASES
from crossfade.runtime.telemetry.schema import Service

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not on the PATH; Debian, Ubuntu: apt-get install prometheus"
)


def promtool(what: str, file: Path) -> str:
    """Check or test a file of rules; return what promtool says, empty when all holds."""
    command = [shutil.which("promtool") or "", what, "rules", file.name]
    done = subprocess.run(command, cwd=file.parent, capture_output=True, text=True, check=False, timeout=600)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@needs_promtool
def test_the_rules_are_well_formed() -> None:
    assert not promtool("check", RULES)


@needs_promtool
def test_each_alert_fires_stays_silent_and_is_kept_while_its_reporter_is_dead(tmp_path: Path) -> None:
    assert not promtool("test", alert_cases.write(tmp_path))


@needs_promtool
def test_whoever_dies_in_whichever_phase_something_fires_and_nothing_stops_because_more_died(tmp_path: Path) -> None:
    """All pairs, at once and one after the other, five of six, and all; a migration in each phase."""
    assert not promtool("test", alert_deaths.write(tmp_path))


def test_the_phases_with_replication_both_ways_are_the_phase_table_s() -> None:
    assert set(alert_deaths.BOTH_WAYS) == {each.value for each in KEYED_PHASES.replicating}


def test_what_is_expected_of_two_deaths_is_more_than_of_one() -> None:
    def names(dead: dict[Service, int]) -> set[tuple[tuple[str, str], ...]]:
        return {tuple(sorted(each.items())) for each in alert_deaths.expected(dead, 70)}

    for first, second in combinations(EVERYBODY, 2):
        for one, other in ((first, second), (second, first)):
            alone, both = names({one: 4}), names({one: 4, other: 44})
            assert alone < both or alone == both, (one, other)
            assert len(alone) > 1, f"nothing fires when {one.value} is dead"
