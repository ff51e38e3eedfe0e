"""What really leaves a process: OTLP by gRPC, /metrics by HTTP, embedded metrics on stdout; nothing when it is off."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple, TypeAlias

import pytest

from crossfade.core.values.errors import ConfigError
from crossfade.runtime import telemetry
from crossfade.runtime.telemetry import Observed
from crossfade.runtime.telemetry.contract import BATCH_DURATION, GROUP, LEASES, RPC_METHOD, RPC_STATUS, RPC_SYSTEM, VERB
from crossfade.runtime.telemetry.span_contract import INTENT, RPC
from crossfade_demo.receiver import Receiver
from telemetry_bench import CALLER, SAMPLED, TRACE

Patch: TypeAlias = pytest.MonkeyPatch

CALL = {RPC_SYSTEM: "grpc", RPC_METHOD: "S/Earn", RPC_STATUS: "OK"}


class Named(NamedTuple):
    name: str = "engagement"


class Who(NamedTuple):
    pod: str = "pod-1"

    def mapping(self) -> Named:
        return Named()


@asynccontextmanager
async def running(service: str, patch: Patch, variables: Mapping[str, str]) -> AsyncIterator[telemetry.Telemetry]:
    """Telemetry as a service has it, with these variables."""
    for name in [each for each in os.environ if each.startswith("OTEL_")]:
        patch.delenv(name)
    for name, value in variables.items():
        patch.setenv(name, value)
    async with telemetry.running(service, Who()) as found:
        assert found is not None
        assert found is telemetry.active()
        yield found
    assert telemetry.active() is None


@pytest.fixture
def backend() -> Iterator[Receiver]:
    receiver = Receiver()
    receiver.start()
    yield receiver
    receiver.stop()


async def test_without_variables_nothing_is_on_and_the_sdk_is_not_even_imported() -> None:
    program = (
        "import asyncio, sys\n"
        "from crossfade.runtime import telemetry, grpc, logging\n"
        "import engagement_api.points, crossfade_replicator.tracing\n"
        "import crossfade_verifier.looks, crossfade_controller.spans\n"
        "async def main():\n"
        "    async with telemetry.running('engagement-api', None) as found:\n"
        "        assert found is None and telemetry.active() is None\n"
        "asyncio.run(main())\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])\n"
    )
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


async def test_spans_and_metrics_arrive_by_otlp_with_who_sent_them(backend: Receiver, monkeypatch: Patch) -> None:
    variables = {
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_METRICS_EXPORTER": "otlp",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{backend.address}",
    }
    async with running("replicator-forward", monkeypatch, variables) as found:
        found.observe(lambda: iter([Observed(LEASES, 2, {GROUP: "forward"})]))
        found.record(BATCH_DURATION, 0.1, {GROUP: "forward"})
    sent = backend.metrics["replicator-forward", LEASES.name]
    assert (sent.kind, sent.unit, sent.points) == ("gauge", "{shard}", ({"messaging.consumer.group.name": "forward"},))
    assert ("replicator-forward", BATCH_DURATION.name) in backend.metrics
    assert {service for service, _ in backend.metrics} == {"replicator-forward"}


async def test_a_span_arrives_as_it_was_made(backend: Receiver, monkeypatch: Patch) -> None:
    variables = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{backend.address}"}
    variables["OTEL_METRICS_EXPORTER"] = "none"
    async with running("engagement-api", monkeypatch, variables) as found:
        span = found.start(RPC, CALL, parent=SAMPLED)
        assert span is not None
        span.fail("INTERNAL")
        span.end()
    (sent,) = backend.spans
    assert (sent.service, sent.trace_id, sent.parent_id, sent.kind) == ("engagement-api", TRACE, CALLER, "server")
    assert sent.failed
    assert sent.attributes["rpc.method"] == "S/Earn"


async def test_a_backend_that_is_away_holds_up_neither_the_service_nor_its_end(monkeypatch: Patch) -> None:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    began_s = time.monotonic()
    async with running("controller", monkeypatch, variables) as found:
        span = found.start(INTENT, {VERB: "ramp"}, parent="")
        assert span is not None
        span.end()
        assert time.monotonic() - began_s < 2.0
    assert time.monotonic() - began_s < 6.0


async def test_metrics_are_served_with_exemplars_to_who_asks_for_openmetrics(monkeypatch: Patch) -> None:
    variables = {
        "OTEL_METRICS_EXPORTER": "prometheus",
        "OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1",
        "OTEL_EXPORTER_PROMETHEUS_PORT": "0",
    }
    async with running("replicator-forward", monkeypatch, variables) as found:
        found.observe(lambda: iter([Observed(LEASES, 2, {GROUP: "forward"})]))
        plain = await asyncio.to_thread(fetch, found.address, "text/plain")
        assert plain[0] == "text/plain; version=0.0.4; charset=utf-8"
        labels = 'service_name="replicator-forward",crossfade_migration="engagement"'
        assert f'crossfade_leases{{{labels},messaging_consumer_group_name="forward"}} 2' in plain[1].splitlines()
        rich = await asyncio.to_thread(fetch, found.address, "application/openmetrics-text;version=1.0.0,*/*;q=0.1")
        assert rich[0].startswith("application/openmetrics-text")
        assert rich[1].endswith("# EOF\n")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            await asyncio.to_thread(fetch, found.address, "*/*", "/secrets")
        taken = variables | {"OTEL_EXPORTER_PROMETHEUS_PORT": found.address.rpartition(":")[2]}
        with pytest.raises(ConfigError, match="OTEL_EXPORTER_PROMETHEUS_PORT"):
            async with running("replicator-reverse", monkeypatch, taken):
                pass
    with pytest.raises(urllib.error.URLError):
        await asyncio.to_thread(fetch, found.address, "*/*")


def fetch(address: str, accept: str, path: str = "/metrics") -> tuple[str, str]:
    request = urllib.request.Request(f"http://{address}{path}", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310  # loopback
        return answer.headers["Content-Type"], answer.read().decode()


async def test_embedded_metrics_go_to_stdout_as_json_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: Patch
) -> None:
    variables = {"OTEL_METRICS_EXPORTER": "emf", "OTEL_METRIC_EXPORT_INTERVAL": "60000"}
    async with running("replicator-forward", monkeypatch, variables) as found:
        found.observe(lambda: iter([Observed(LEASES, 2, {GROUP: "forward"})]))
        found.record(BATCH_DURATION, 0.1, {GROUP: "forward"})
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    said = {name: line[name] for line in lines for name in line}
    assert (said["Leases"], said["Duration"], said["Service"]) == (2, [100.0], "replicator-forward")


async def test_the_environment_may_rename_and_add_to_who_sends(backend: Receiver, monkeypatch: Patch) -> None:
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{backend.address}",
        "OTEL_SERVICE_NAME": "replicator-blue",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=staging, team = engagement",
    }
    async with running("replicator-forward", monkeypatch, variables) as found:
        found.record(BATCH_DURATION, 0.1, {GROUP: "forward"})
    assert ("replicator-blue", BATCH_DURATION.name) in backend.metrics


async def test_the_receiver_passes_on_what_it_takes_and_counts_what_is_refused(
    backend: Receiver, monkeypatch: Patch
) -> None:
    relaying, lost = Receiver(relay_to=backend.address), Receiver(relay_to="127.0.0.1:9")
    for receiver in (relaying, lost):
        receiver.start()
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{receiver.address}", "OTEL_METRICS_EXPORTER": "none"}
        async with running("controller", monkeypatch, variables) as found:
            span = found.start(INTENT, {VERB: "ramp"}, parent="")
            assert span is not None
            span.end()
        await asyncio.to_thread(receiver.stop)
    assert [each.name for each in backend.spans] == ["crossfade ramp"]
    assert (relaying.relay_errors, lost.relay_errors) == (0, 1)
