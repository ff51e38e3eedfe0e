"""The demo's traces through a real OpenTelemetry Collector into a real Jaeger, read back by Jaeger's query API.

    make test-otel        builds both with Go, once (tools/otel_tools.sh), then: python -m tools.otel_backends

What the backends must show: that the trace which the demo's report names is there span by span, with the same
parents, kinds and services as the demo saw it; that every service of the contract is known; and that the collector
understood every metric that the contract requires.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from crossfade.runtime.telemetry.contract import METRICS
from crossfade.runtime.telemetry.schema import Service

BUILD = Path(__file__).parent.parent / "build" / "otel"
JAEGER = BUILD / "jaeger-1.62.0"
COLLECTOR = BUILD / "collector-0.120.0"
READY_S = 30.0
ARRIVE_S = 20.0
DEMO = ["--wallets", "300", "--rate", "40", "--seconds", "5", "--traced", "20", "--json"]
HOST_PORTS = (
    "admin.http",
    "collector.grpc-server",
    "collector.http-server",
    "collector.otlp.grpc",
    "collector.otlp.http",
    "http-server",
    "query.grpc-server",
    "query.http-server",
)
UDP_PORTS = ("processor.jaeger-binary", "processor.jaeger-compact", "processor.zipkin-compact")


def free_port() -> int:
    """A port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fetch(url: str) -> Any:
    """JSON of a loopback address; None while there is no answer."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  # loopback
            return json.load(answer)
    except (urllib.error.URLError, OSError, ValueError):
        return None


def wait_for(what: str, look: Callable[[], Any], within_s: float) -> Any:
    """Look until there is something; end the program when there isn't."""
    ends_s = time.monotonic() + within_s
    while time.monotonic() < ends_s:
        found = look()
        if found:
            return found
        time.sleep(0.25)
    raise SystemExit(f"{what}: not within {within_s:.0f} s")


@contextmanager
def running(command: list[str], log: Path, environment: dict[str, str] | None = None) -> Iterator[None]:
    """A process that is ended with the context."""
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out, env=environment) as process:
        try:
            yield
        finally:
            process.terminate()


@contextmanager
def jaeger(folder: Path) -> Iterator[tuple[str, str]]:
    """A Jaeger; give the address of its OTLP and of its query API."""
    ports = {name: free_port() for name in HOST_PORTS}
    flags = [f"--{name}.host-port=127.0.0.1:{port}" for name, port in ports.items()]
    flags += [f"--{name}.server-host-port=127.0.0.1:{free_port()}" for name in UDP_PORTS]
    environment = {"COLLECTOR_OTLP_ENABLED": "true", "SPAN_STORAGE_TYPE": "memory"}
    query = f"http://127.0.0.1:{ports['query.http-server']}"
    with running([str(JAEGER), *flags], folder / "jaeger.log", environment):
        wait_for("Jaeger's query API", lambda: fetch(f"{query}/api/services"), READY_S)
        yield f"127.0.0.1:{ports['collector.otlp.grpc']}", query


@contextmanager
def collector(folder: Path, send_to: str) -> Iterator[tuple[str, Path]]:
    """A Collector that passes traces on; give the address of its OTLP, and its log, which has the metrics."""
    address = f"127.0.0.1:{free_port()}"
    config = {
        "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": address}}}},
        "processors": {"batch": {"timeout": "200ms"}},
        "exporters": {
            "otlp": {"endpoint": send_to, "tls": {"insecure": True}},
            "debug": {"verbosity": "detailed", "sampling_initial": 100_000},
        },
        "service": {
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {
                "traces": {"receivers": ["otlp"], "processors": ["batch"], "exporters": ["otlp"]},
                "metrics": {"receivers": ["otlp"], "processors": ["batch"], "exporters": ["debug"]},
            },
        },
    }
    file, log = folder / "collector.json", folder / "collector.log"
    file.write_text(json.dumps(config))
    with running([str(COLLECTOR), "--config", str(file)], log):
        wait_for("the Collector", lambda: b"Everything is ready" in log.read_bytes(), READY_S)
        yield address, log


def demo(folder: Path, send_to: str) -> dict[str, Any]:
    """Play the demo; return its report."""
    command = [sys.executable, "-m", "crossfade_demo", *DEMO, "--otlp", send_to]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
    if done.returncode:
        raise SystemExit(f"the demo failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def differences(mine: list[dict[str, Any]], stored: dict[str, Any]) -> list[str]:
    """How Jaeger's trace differs from what the demo saw of it."""
    wrong = []
    found = {span["spanID"]: span for span in stored["spans"]}
    services = {name: process["serviceName"] for name, process in stored["processes"].items()}
    for span in mine:
        there = found.pop(span["span_id"], None)
        if there is None:
            wrong.append(f"{span['service']} {span['name']} is missing")
            continue
        parents = [each["spanID"] for each in there["references"] if each["refType"] == "CHILD_OF"]
        tags = {tag["key"]: tag["value"] for tag in there["tags"]}
        said = (services[there["processID"]], there["operationName"], parents[:1], tags.get("span.kind", "internal"))
        expected = (span["service"], span["name"], [span["parent_id"]] if span["parent_id"] else [], span["kind"])
        if said != expected:
            wrong.append(f"{expected} is {said}")
        if len(there["logs"]) != len(span["events"]):
            wrong.append(f"{span['name']} has {len(there['logs'])} events, not {len(span['events'])}")
    return wrong + [f"{span['operationName']} was never sent" for span in found.values()]


def main() -> int:
    """Run it; 0 when all arrived."""
    missing = [str(each) for each in (JAEGER, COLLECTOR) if not each.exists()]
    if missing:
        raise SystemExit(f"not built: {', '.join(missing)}; run tools/otel_tools.sh, which needs Go")
    with tempfile.TemporaryDirectory(prefix="crossfade-otel-") as name:
        folder = Path(name)
        with jaeger(folder) as (otlp, query), collector(folder, otlp) as (address, log):
            report = demo(folder, address)
            trace = report["trace"]
            trace_id = trace["trace_id"]
            mine = json.loads((folder / "build/demo/traces.json").read_text())[trace_id]

            def whole() -> Any:
                answer = fetch(f"{query}/api/traces/{trace_id}")
                found = answer["data"][0] if answer and answer.get("data") else None
                return found if found and len(found["spans"]) >= len(mine) else None

            wrong = differences(mine, wait_for(f"trace {trace_id} in Jaeger", whole, ARRIVE_S))
            known = set(fetch(f"{query}/api/services")["data"])
            wrong += [f"Jaeger knows no service {each.value}" for each in Service if each.value not in known]
            listed = fetch(f"{query}/api/traces?service={Service.API.value}&limit=20")["data"]
            wrong += [] if listed else ["Jaeger lists no trace of the API"]
            text = log.read_text(errors="replace")
            wrong += [
                f"the Collector saw no {each.name}"
                for each in METRICS
                if not each.occasional and f"-> Name: {each.name}\n" not in text
            ]
            if trace["not_taken"]:
                wrong.append(f"{trace['not_taken']} exports were not taken by the Collector")
    for sentence in wrong:
        sys.stdout.write(f"✗ {sentence}\n")
    if not wrong:
        sys.stdout.write(
            f"✓ trace {trace_id}: {len(mine)} spans of {len(trace['services'])} services, through the Collector, "
            f"in Jaeger as they were sent\n✓ Jaeger knows {', '.join(sorted(known))}\n"
            "✓ the Collector took every metric that the contract requires\n"
        )
        for line in trace["waterfall"]:
            sys.stdout.write(f"{line}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
