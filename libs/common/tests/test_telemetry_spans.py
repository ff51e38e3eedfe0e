"""Spans of the contract: what is recorded, whose child it is, and what is refused."""

from __future__ import annotations

import asyncio
import io
import json
import logging as stdlib_logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from crossfade.core.values.errors import Throttled
from crossfade.runtime import logging
from crossfade.runtime.telemetry import OutsideContract, current
from crossfade.runtime.telemetry.config import Sampling
from crossfade.runtime.telemetry.contract import (
    DB_OPERATION,
    DB_SYSTEM,
    DB_TABLES,
    OUTCOME,
    REASON,
    RPC_METHOD,
    RPC_SYSTEM,
    SIDE,
    STEP,
    VERB,
    VERDICT,
)
from crossfade.runtime.telemetry.schema import Service, Span
from crossfade.runtime.telemetry.span_contract import APPLY, DB, HANDOVER_EVENT, INTENT, RPC
from crossfade.runtime.telemetry.spans import Attributes, Started
from crossfade.runtime.telemetry.store_calls import StoreCalls, tables_of
from telemetry_bench import CALLER, SAMPLED, TRACE, UNSAMPLED, Kept, id_of, kept, parent_of, trace_of

CALL: Attributes = {RPC_SYSTEM: "grpc", RPC_METHOD: "crossfade.engagement.v1.EngagementService/EarnPoints"}


def started(bench: Kept, spec: Span = RPC, attributes: Attributes = CALL, parent: str = SAMPLED) -> Started:
    span = bench.telemetry.start(spec, attributes, parent=parent)
    assert span is not None
    return span


def test_a_call_joins_its_callers_trace() -> None:
    with kept(Service.API) as bench:
        started(bench).end()
        span = bench.the(RPC)
    assert (trace_of(span), parent_of(span)) == (TRACE, CALLER)
    assert span.name == "crossfade.engagement.v1.EngagementService/EarnPoints"


def test_a_trace_that_is_not_recorded_makes_no_span() -> None:
    with kept(Service.API) as bench:
        assert bench.telemetry.start(RPC, CALL, parent=UNSAMPLED) is None
        assert bench.spans == []


def test_the_traceparent_of_a_span_names_that_span_and_is_sampled() -> None:
    with kept(Service.API) as bench:
        span = started(bench)
        span.end()
        assert span.traceparent == f"00-{TRACE}-{id_of(bench.the(RPC))}-01"


def test_within_a_span_others_are_its_children_also_in_tasks() -> None:
    async def work(bench: Kept) -> None:
        async def child() -> None:
            span = bench.telemetry.start(DB, {DB_SYSTEM: "aws.dynamodb", DB_OPERATION: "GetItem", DB_TABLES: ["t"]})
            assert span is not None
            span.end()

        with started(bench):
            await asyncio.gather(child(), child())
        assert current.get() is None

    with kept(Service.API) as bench:
        asyncio.run(work(bench))
        assert {parent_of(each) for each in bench.of(DB)} == {id_of(bench.the(RPC))}


def test_what_is_raised_within_a_span_fails_it_with_its_code() -> None:
    with kept(Service.API) as bench:
        with pytest.raises(Throttled), started(bench):
            raise Throttled("too fast")
        span = bench.the(RPC)
    assert span.status.status_code.name == "ERROR"
    assert (span.attributes or {})["error.type"] == Throttled.code


def test_operators_deeds_are_recorded_whatever_the_ratio() -> None:
    with kept(Service.CONTROLLER, Sampling(0.0)) as bench:
        started(bench, INTENT, {VERB: "ramp"}, "").end()
        assert bench.the(INTENT).name == "crossfade ramp"


def test_links_name_traces_and_a_root_is_in_none_of_them() -> None:
    with kept(Service.CONTROLLER) as bench:
        span = bench.telemetry.start(INTENT, {VERB: "ramp"}, parent=SAMPLED, links=[SAMPLED], root=True)
        assert span is not None
        span.end()
        found = bench.the(INTENT)
    assert trace_of(found) != TRACE
    assert [f"{each.context.trace_id:032x}" for each in found.links] == [TRACE]


def test_a_span_of_another_service_is_refused() -> None:
    with kept(Service.API) as bench, pytest.raises(OutsideContract, match="engagement-api emits no span APPLY"):
        started(bench, APPLY, {})


def test_an_attribute_that_the_contract_does_not_name_is_refused() -> None:
    with kept(Service.API) as bench:
        with pytest.raises(OutsideContract, match=r"RPC: no attribute crossfade\.verdict"):
            started(bench, attributes={**CALL, VERDICT: "equal"})
        span = started(bench)
        with pytest.raises(OutsideContract):
            span.set(VERDICT, "equal")
        span.set(OUTCOME, "applied")


def test_an_event_that_the_contract_does_not_name_is_refused() -> None:
    with kept(Service.API) as bench:
        span = started(bench)
        span.event(HANDOVER_EVENT, {STEP: "sealed", SIDE: "source", REASON: "the flag"})
        with pytest.raises(OutsideContract):
            span.event(HANDOVER_EVENT, {VERDICT: "equal"})
        span.end()
        (event,) = bench.the(RPC).events
    assert dict(event.attributes or {}) == {
        "crossfade.step": "sealed",
        "crossfade.side": "source",
        "crossfade.reason": "the flag",
    }


def test_a_store_call_is_a_child_of_the_span_it_is_made_in() -> None:
    with kept(Service.API) as bench:
        calls = StoreCalls(bench.telemetry._tracer, None, Service.API)
        assert calls.began("dynamodb", "GetItem", b"{}") is None, "outside of any span there is nothing to tell"
        with started(bench):
            ended = calls.began("dynamodb", "UpdateItem", b'{"TableName":"wallet"}')
            assert ended is not None
            ended("throttled")
            assert calls.began("kinesis", "PutRecords", b"{}") is None
        span = bench.the(DB)
    assert parent_of(span) == id_of(bench.the(RPC))
    assert span.name == "DynamoDB.UpdateItem"
    assert (span.attributes or {})["aws.dynamodb.table_names"] == ("wallet",)
    assert (span.attributes or {})["error.type"] == "throttled"


@pytest.mark.parametrize(
    ("body", "tables"),
    [
        (b'{"TableName":"wallet","Key":{}}', ["wallet"]),
        (b'{"RequestItems":{"engagement":{"Keys":[]}}}', ["engagement"]),
        (
            b'{"Statements":[{"Statement":"UPDATE \\"wallet\\" SET x=?"},{"Statement":"UPDATE \\"wallet\\""}]}',
            ["wallet"],
        ),
        (b'{"Statements":[{"Statement":"INSERT INTO \\"engagement\\" VALUE {}"}]}', ["engagement"]),
        (b'{"Limit":1}', []),
    ],
)
def test_the_tables_of_a_request_are_found(body: bytes, tables: list[str]) -> None:
    assert tables_of(body) == tables


@pytest.fixture
def out(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What is logged, as a service configures it; the tests' own configuration comes back after it."""
    handlers = list(stdlib_logging.getLogger().handlers)
    written = io.StringIO()
    monkeypatch.setattr(sys, "stdout", written)
    logging.configure("engagement-api")
    yield written
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    stdlib_logging.getLogger().handlers[:] = handlers


def test_a_log_line_within_a_span_carries_its_ids(out: io.StringIO) -> None:
    with kept(Service.API) as bench:
        with started(bench) as span:
            structlog.get_logger().info("within")
        structlog.get_logger().info("outside")
    within, outside = map(json.loads, out.getvalue().splitlines())
    assert (within["trace_id"], within["span_id"]) == (TRACE, span.span_id)
    assert "trace_id" not in outside
