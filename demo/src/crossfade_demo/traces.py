"""Traces of the demo: a share of the clients' calls is followed through all services, and one is shown."""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

from crossfade.runtime.telemetry import Started, Telemetry
from crossfade.runtime.telemetry.config import TelemetryConfig
from crossfade.runtime.telemetry.contract import ERROR_TYPE, RPC_METHOD, RPC_STATUS, RPC_SYSTEM, VERDICT
from crossfade.runtime.telemetry.schema import Service, Span
from crossfade.runtime.telemetry.setup import build, resource_of
from crossfade.runtime.telemetry.span_contract import APPLY, CALLER, DB, PUBLISH, RECEIVE, RPC, VERIFY
from crossfade_demo.checks import Check, check
from crossfade_demo.receiver import ReceivedSpan, Receiver
from crossfade_demo.waterfall import waterfall

KEPT: Final = 10
"""Traces of the slowest calls, and as many at random, that are written to a file."""

SERVICE: Final = "crossfade.engagement.v1.EngagementService"
MIGRATION: Final = "engagement"


class Calls:
    """The clients' own spans: a share of their calls, each with its retries."""

    def __init__(self, telemetry: Telemetry, seed: int, share: float) -> None:
        self._telemetry = telemetry
        self._random = Random(f"traces {seed}")
        self._share = share

    def begin(self, method: str) -> Started | None:
        """Start the span of a call, if it is one of the share."""
        if self._random.random() >= self._share:
            return None
        return self._telemetry.start(CALLER, {RPC_SYSTEM: "grpc", RPC_METHOD: f"{SERVICE}/{method}"}, parent="")

    @staticmethod
    def end(span: Started | None, status: str) -> None:
        """End it with the last attempt's status."""
        if span is not None:
            span.set(RPC_STATUS, status)
            if status != "OK":
                span.set(ERROR_TYPE, status)
            span.end()


class Traces:
    """Receives, keeps and shows traces; passes them on to a backend of the user's own, if there is one."""

    def __init__(self, *, otlp: str, seed: int, share: float) -> None:
        """Prepare.

        Args:
            otlp: HOST:PORT of the user's backend; empty for none.
            seed: of the choice of calls.
            share: of the calls that are traced.
        """
        self.receiver = Receiver(otlp)
        self._otlp, self._seed, self._share = otlp, seed, share
        self._telemetry: Telemetry | None = None

    def start(self) -> Calls:
        """Open the receiver; return what the clients trace by."""
        self.receiver.start()
        config = TelemetryConfig(traces=True, endpoint=f"http://{self.receiver.address}")
        resource = resource_of(Service.TRAFFIC.value, secrets.token_hex(4), MIGRATION, {})
        self._telemetry = build(Service.TRAFFIC, config, resource)
        return Calls(self._telemetry, self._seed, self._share)

    def environment(self) -> dict[str, str]:
        """Return the services' settings: traces to the receiver, and only those that a client began."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{self.receiver.address}",
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_METRICS_EXPORTER": "otlp" if self._otlp else "none",
            "OTEL_METRIC_EXPORT_INTERVAL": "10000",
            "OTEL_TRACES_SAMPLER": "parentbased_always_off",
        }

    def flush(self) -> None:
        """Send the clients' spans; blocks, so call it in a thread."""
        if self._telemetry is not None:
            self._telemetry.close()

    def stop(self) -> None:
        """Close the receiver; blocks for a moment, so call it in a thread."""
        self.receiver.stop()

    def picture(self, path: Path) -> tuple[Check, dict[str, Any]]:
        """Choose a trace that crossed all services, and write the slowest and a sample to a file.

        Args:
            path: of the file, JSON.

        Returns:
            The check that there is such a trace, and what the report shows of it.
        """
        traces = self.receiver.traces()
        whole = {trace_id: spans for trace_id, spans in traces.items() if not missing(spans)}
        slowest = sorted(traces, key=lambda each: -_took_us(traces[each]))[:KEPT]
        sample = Random(self._seed).sample(sorted(traces), min(KEPT, len(traces)))
        chosen = max(whole, key=lambda each: _telling(whole[each]), default="")
        kept = dict.fromkeys([*([chosen] if chosen else []), *slowest, *sample])
        path.write_text(json.dumps({each: [span._asdict() for span in traces[each]] for each in kept}, indent=1) + "\n")
        wrong = [] if chosen else [f"none of {len(traces)} traces is whole; {_nearest(list(traces.values()))}"]
        spans = whole.get(chosen, [])
        found = check(
            "one_trace",
            "one write can be followed in one trace: API, DynamoDB, stream, apply, event, verify",
            wrong,
            trace_id=chosen,
            spans=len(spans),
            whole=len(whole),
            traces=len(traces),
        )
        shown = {
            "trace_id": chosen,
            "services": sorted({span.service for span in spans}),
            "took_ms": _took_us(spans) / 1000 if spans else 0.0,
            "waterfall": waterfall(spans),
            "slowest": [{"trace_id": each, "took_ms": _took_us(traces[each]) / 1000} for each in slowest],
            "file": str(path),
            "sent_to": self._otlp,
            "not_taken": self.receiver.relay_errors,
        }
        return found, shown


def missing(spans: Sequence[ReceivedSpan]) -> list[str]:
    """Return what a trace lacks of the whole picture; empty for a trace that crossed all services.

    Each span must follow from the one before it, as the contract's edges say: the call's own request to DynamoDB below
    it, the hop through the stream below it in three services, and below each hop what that service does.
    """
    calls = [each for each in spans if _is(each, RPC)]
    lacks: list[str] = []
    for call in calls:
        below = [each for each in spans if each.parent_id == call.span_id]
        lacks = [] if any(_is(each, DB) for each in below) else ["DB"]
        hops = {each.span_id: each.service for each in below if _is(each, RECEIVE)}
        lacks += [] if hops else ["RECEIVE"]
        lacks += [
            spec.id
            for spec in (APPLY, PUBLISH, VERIFY)
            if not any(_is(each, spec) and hops.get(each.parent_id) == each.service for each in spans)
        ]
        if not lacks:
            return []
    return lacks or ["RPC"]


def _is(span: ReceivedSpan, spec: Span) -> bool:
    by = {each.value for each in spec.services}
    return span.service in by and span.kind == spec.role.value and spec.matches(span.name)


def _took_us(spans: Sequence[ReceivedSpan]) -> int:
    """Of the client's call: what comes after it costs nobody time."""
    return max((each.end_us - each.start_us for each in spans if each.kind in ("client", "server")), default=0)


def _telling(spans: Sequence[ReceivedSpan]) -> tuple[bool, bool, int]:
    """Order whole traces by how much they show: a copy found equal, a handover, the dual write."""
    equal = any(each.attributes.get(VERDICT.name) == "equal" for each in spans)
    handed_over = any(each.events for each in spans)
    return equal, handed_over, len(spans)


def _nearest(traces: Sequence[Sequence[ReceivedSpan]]) -> str:
    nearest = min((missing(spans) for spans in traces), key=len, default=["everything"])
    return f"the nearest lacks {', '.join(nearest)}"
