"""The whole migration with chaos, at small size: the demo itself, every check of it required.

The same run shows that the system emits what the telemetry contract names: the demo passes all it receives on to a
backend, which is here.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from crossfade.runtime.telemetry.contract import ALL, RPC_DURATION
from crossfade_demo.receiver import Receiver
from telemetry_checks import wrong_edges, wrong_metrics, wrong_spans

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(1900),
]  # the demo ends by its own bounds, which grow on a busy machine

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


class Run(NamedTuple):
    """One run of the demo, and what a backend of the user's own received of it."""

    code: int
    report: dict[str, Any]
    folder: Path
    errors: str
    backend: Receiver


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    backend = Receiver()
    folder = tmp_path_factory.mktemp("demo")
    backend.start()
    try:
        options = ["--wallets", "300", "--rate", "40", "--seconds", "5", "--seed", "11", "--chaos", "--json"]
        telemetry = ["--otlp", backend.address, "--traced", "20"]
        done = subprocess.run(
            [sys.executable, "-m", "crossfade_demo", *options, *telemetry],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=1800,
            check=False,
        )
        report = json.loads(done.stdout) if done.stdout else {}
        yield Run(done.returncode, report, folder, done.stderr[-3000:], backend)
    finally:
        backend.stop()


def test_a_migration_under_traffic_and_chaos_loses_nothing(run: Run) -> None:
    failed = [each for each in run.report.get("checks", []) if not each["passed"]]
    assert (run.code, failed) == (0, []), run.errors
    assert {each["name"] for each in run.report["checks"]} == CHECKS
    assert json.loads((run.folder / "build/demo/report.json").read_text()) == run.report


def test_the_system_emits_exactly_the_spans_of_the_contract(run: Run) -> None:
    assert wrong_spans(run.backend.spans) == []


def test_each_span_follows_from_the_one_that_the_contract_says(run: Run) -> None:
    assert wrong_edges(run.backend.spans) == []


def test_the_system_emits_exactly_the_metrics_of_the_contract(run: Run) -> None:
    assert wrong_metrics(run.backend.metrics.values(), ALL) == []
    exemplars = run.backend.exemplars["engagement-api", RPC_DURATION.name]
    assert exemplars & run.backend.traces().keys(), "no exemplar of the latency is a trace that was sent"


def test_the_report_names_a_trace_that_crossed_all_services(run: Run) -> None:
    trace = run.report["trace"]
    services = {each.service for each in run.backend.traces()[trace["trace_id"]]}
    assert services >= {"demo-traffic", "engagement-api", "replicator-feed", "verifier"}
    assert services & {"replicator-forward", "replicator-reverse"}
    picture = "\n".join(trace["waterfall"])
    for part in ("DynamoDB.UpdateItem", "receive ", "apply ", "send engagement-events", "verify "):
        assert part in picture
