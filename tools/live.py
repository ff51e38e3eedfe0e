"""Runs every panel's query against a real Prometheus that scrapes the demo: python -m tools.live.

The demo plays a whole migration; Prometheus scrapes its seven processes every second and evaluates the alert rules.
Afterwards each query is asked over the time of the demo, and has to give data; asked about a migration that there
isn't, it has to give none. A panel that promises traces has to have exemplars. No alert may have fired.
"""

from __future__ import annotations

import json
import math
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from crossfade.runtime.telemetry.contract import METRICS
from crossfade.runtime.telemetry.openmetrics import RESOURCE_LABELS
from crossfade.runtime.telemetry.schema import Kind
from tools import dashboards

ROOT: Final = Path(__file__).parents[1]
RULES: Final = ROOT / "deploy" / "alerts" / "crossfade.rules.yaml"
WORK: Final = ROOT / "build" / "test-dashboards"
TARGETS: Final = WORK / "build" / "demo" / "prometheus-targets.json"
CHOSEN: Final = {"migration": "engagement", "consumer": ".*", "stream": ".*", "method": ".*"}
NOBODY: Final = CHOSEN | {"migration": "nobody"}
SCRAPED: Final = frozenset({"__name__", "instance", "job", "process"})
"""Labels that Prometheus adds, and the demo's own."""
WINDOW: Final = "10s"
STEP_S: Final = 2
WATCHDOG: Final = "CrossfadeWatchdog"
READY_S: Final = 20.0
DEMO_S: Final = 300.0

CONFIG: Final = """\
global:
  scrape_interval: 1s
  scrape_timeout: 1s
  evaluation_interval: 1s
rule_files: [{rules}]
scrape_configs:
  - job_name: crossfade
    file_sd_configs: [{{files: [{targets}], refresh_interval: 1s}}]
"""


class Prometheus:
    """A Prometheus on loopback."""

    def __init__(self, url: str) -> None:
        self._url = url

    def ask(self, path: str, **what: str) -> Any:
        """Return the data of an answer.

        Raises:
            OSError: no answer, or an error, as for a query that Prometheus does not understand.
        """
        query = urllib.parse.urlencode(what)
        with urllib.request.urlopen(f"{self._url}{path}?{query}", timeout=10) as answer:  # noqa: S310 - loopback only
            return json.load(answer)["data"]

    def series(self, expr: str, span: tuple[float, float]) -> list[Any]:
        """Return the series of a query over a span of time that have a number at some moment."""
        found = self.ask("/api/v1/query_range", query=expr, start=str(span[0]), end=str(span[1]), step=str(STEP_S))
        return [each for each in found["result"] if any(math.isfinite(float(value)) for _, value in each["values"])]

    def exemplars(self, expr: str, span: tuple[float, float]) -> list[str]:
        """Return the trace ids behind a query."""
        found = self.ask("/api/v1/query_exemplars", query=expr, start=str(span[0]), end=str(span[1]))
        return [one["labels"]["trace_id"] for each in found for one in each["exemplars"]]


@contextmanager
def running_prometheus(work: Path, rules: Path, targets: Path) -> Iterator[Prometheus]:
    """Run Prometheus while the context lasts.

    Args:
        work: folder for its files.
        rules: the rule file.
        targets: file that lists what it scrapes; it may come later.
    """
    config = work / "prometheus.yml"
    config.write_text(CONFIG.format(rules=rules, targets=targets))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={work / 'tsdb'}",
        f"--web.listen-address={address}",
        "--enable-feature=exemplar-storage",
        "--log.level=warn",
    ]
    with (work / "prometheus.log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            found = Prometheus(f"http://{address}")
            _wait_for(found, process, work / "prometheus.log")
            yield found
        finally:
            process.terminate()


def _wait_for(found: Prometheus, process: subprocess.Popen[bytes], log: Path) -> None:
    end_s = time.monotonic() + READY_S
    while True:
        try:
            found.ask("/api/v1/status/runtimeinfo")
        except OSError:
            if time.monotonic() > end_s or process.poll() is not None:
                raise SystemExit(f"Prometheus does not start: {log.read_text()[-500:]}") from None
            time.sleep(0.2)
        else:
            return


def filled(expr: str, chosen: Mapping[str, str]) -> str:
    """Return a query with the dashboard's variables filled in."""
    expr = expr.replace("$__rate_interval", WINDOW)
    for name, value in chosen.items():
        expr = expr.replace(f"${name}", value)
    return expr


def play_demo() -> tuple[int, tuple[float, float]]:
    """Play the demo; return its exit code, and from when to when it ran."""
    began_s = time.time()
    with (WORK / "demo.log").open("w") as log:
        demo = subprocess.run(
            [sys.executable, "-m", "crossfade_demo", "--prometheus", "--json"],
            cwd=WORK,
            stdout=log,
            stderr=log,
            check=False,
            timeout=DEMO_S,
        )
    return demo.returncode, (began_s, time.time())


def check_panels(prometheus: Prometheus, span: tuple[float, float]) -> list[str]:
    """Ask every panel's queries; return what is wrong."""
    wrong = []
    for board in dashboards.NAMES:
        for panel in dashboards.panels(board):
            for number, expr in enumerate(panel["queries"].values()):
                place = f"{board}, {panel['title']}: {expr}"
                found = prometheus.series(filled(expr, CHOSEN), span)
                if not found and "rare" not in panel:
                    wrong.append(f"no data: {place}")
                if prometheus.series(filled(expr, NOBODY), span) and "vector(0)" not in expr:
                    wrong.append(f"data about a migration that there isn't: {place}")
                if dashboards.traced(panel, number) and not prometheus.exemplars(filled(expr, CHOSEN), span):
                    wrong.append(f"no exemplars: {place}")
                seen = f"{len(found)} series" if found else f"none: {panel.get('rare')}"
                sys.stdout.write(f"{board:12} {panel['title']:30} {seen}\n")
    return wrong


def check_contract(prometheus: Prometheus, span: tuple[float, float]) -> list[str]:
    """Return where the samples differ from the contract: metrics that never came, labels and values it has not."""
    wrong = []
    for metric in METRICS:
        suffix = "_count" if metric.kind is Kind.HISTOGRAM else ""
        start, end = map(str, span)
        seen = prometheus.ask("/api/v1/series", **{"match[]": metric.prometheus + suffix, "start": start, "end": end})
        if not seen and not metric.occasional:
            wrong.append(f"never came: {metric.prometheus}")
        wanted = {each.prometheus for each in metric.attributes} | set(RESOURCE_LABELS.values())
        for labels in seen:
            if labels.keys() - SCRAPED != wanted:
                wrong.append(f"{metric.prometheus} has labels {sorted(labels.keys() - SCRAPED)}")
            wrong += [
                f"{metric.prometheus} has {each.prometheus} {labels[each.prometheus]}"
                for each in metric.attributes
                if each.values and labels.get(each.prometheus) not in each.values
            ]
    return sorted(set(wrong))


def check_alerts(prometheus: Prometheus, span: tuple[float, float]) -> list[str]:
    """Return the rules that could not be evaluated, and the alerts that fired although all went well."""
    groups = prometheus.ask("/api/v1/rules")["groups"]
    broken = [
        f"{rule['name']}: {rule['lastError']}" for group in groups for rule in group["rules"] if rule["health"] == "err"
    ]
    states = prometheus.series("ALERTS", span)
    for each in states:
        labels = each["metric"]
        sys.stdout.write(f"alert {labels['alertstate']:8} {labels['alertname']} at {len(each['values'])} moments\n")
    fired = {each["metric"]["alertname"] for each in states if each["metric"]["alertstate"] == "firing"}
    if WATCHDOG not in fired:
        broken.append(f"{WATCHDOG} did not fire, and it always must")
    fired.discard(WATCHDOG)
    return broken + [f"fired although nothing was wrong: {name}" for name in sorted(fired)]


def main() -> int:
    """Play the demo under Prometheus and check; return 0 only if all holds."""
    if shutil.which("prometheus") is None:
        sys.exit("prometheus not found. Debian, Ubuntu: apt-get install prometheus")
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    with running_prometheus(WORK, RULES, TARGETS) as prometheus:
        sys.stdout.write("playing the demo\n")
        code, span = play_demo()
        wrong = [f"the demo ended with {code}: see {WORK / 'demo.log'}"] if code else []
        wrong += check_panels(prometheus, span) + check_contract(prometheus, span) + check_alerts(prometheus, span)
    for each in wrong:
        sys.stdout.write(f"WRONG: {each}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
