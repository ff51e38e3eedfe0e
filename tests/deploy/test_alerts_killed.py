"""Three pairs of really killed services under a real Prometheus with the shipped rules; then five of six, and all."""

from __future__ import annotations

import shutil
from pathlib import Path

import alert_killed as killed
import pytest
from alert_deaths import TABLE
from alert_rules import RULES

LONGEST_RUN_S = 1800
"""Against a hang only: each wait has a bound of its own. Three to six minutes, as busy as the machine is."""


@pytest.mark.timeout(LONGEST_RUN_S)
@pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="no prometheus on the PATH; Debian, Ubuntu: apt-get install prometheus"
)
def test_something_fires_for_each_killed_pair_and_nothing_stops_because_more_died(tmp_path: Path) -> None:
    assert killed.run(tmp_path) == []


def test_each_service_is_killed_in_a_pair_and_only_waits_are_shortened() -> None:
    assert {service for pair in killed.PAIRS for service in pair} == set(TABLE)
    shipped = RULES.read_text()
    changed = [(a, b) for a, b in zip(shipped.splitlines(), killed.quick(shipped).splitlines(), strict=True) if a != b]
    assert changed
    assert all(b == a.removesuffix("m") + "s" and a.startswith("    for: ") for a, b in changed)
