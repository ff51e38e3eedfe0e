"""The requests to DynamoDB, as client spans below the running task's span, and their duration."""

from __future__ import annotations

import re
import time
from typing import Final

from crossfade.adapters.wire.observing import Ended
from crossfade.runtime.telemetry.contract import DB_BATCH, DB_DURATION, DB_OPERATION, DB_SYSTEM, DB_TABLES
from crossfade.runtime.telemetry.measures import Measures
from crossfade.runtime.telemetry.schema import Attribute, Service
from crossfade.runtime.telemetry.span_contract import DB
from crossfade.runtime.telemetry.spans import Started, Tracer, Value, current

DYNAMODB: Final = "dynamodb"
SYSTEM: Final = "aws.dynamodb"
BATCH: Final = "BatchExecuteStatement"
UNTRACED: Final = frozenset({Service.FEED})
"""They have no span that a request could be part of."""

_TABLE: Final = re.compile(
    rb'"TableName" ?: ?"([^"]+)"'
    rb'|"RequestItems" ?: ?\{"([^"]+)"'
    rb'|"Statement" ?: ?"(?:UPDATE|INSERT INTO|DELETE FROM) (?:\\")?([\w.-]+)'
).search


class StoreCalls:
    """Observes the calls of the wire client (`crossfade.adapters.wire.observing.CallObserver`)."""

    def __init__(self, tracer: Tracer | None, measures: Measures | None, service: Service) -> None:
        """Take what is on: either may be None."""
        self._tracer = None if service in UNTRACED else tracer
        self._measures = measures

    def began(self, service: str, operation: str, body: bytes) -> Ended | None:
        """See `CallObserver`."""
        if service != DYNAMODB:
            return None
        parent = current.get()
        if parent is None and self._measures is None:
            return None
        span = self._span(parent, operation, body) if parent is not None and self._tracer is not None else None
        started_s = time.perf_counter()

        def ended(code: str) -> None:
            if self._measures is not None:
                taken_s = time.perf_counter() - started_s
                self._measures.record(DB_DURATION, taken_s, {DB_SYSTEM: SYSTEM, DB_OPERATION: operation}, span)
            if span is not None:
                if code:
                    span.fail(code)
                span.end()

        return ended

    def _span(self, parent: Started, operation: str, body: bytes) -> Started | None:
        if self._tracer is None:
            return None
        attributes: dict[Attribute, Value] = {
            DB_SYSTEM: SYSTEM,
            DB_OPERATION: operation,
            DB_TABLES: tables_of(body),
        }
        if operation == BATCH:
            attributes[DB_BATCH] = body.count(b'"Statement"')
        return self._tracer.start(DB, attributes, parent=parent)


def tables_of(body: bytes) -> list[str]:
    """Return the table that a request names first: none of ours names several."""
    found = _TABLE(body)
    return [] if found is None else [next(each for each in found.groups() if each).decode()]
