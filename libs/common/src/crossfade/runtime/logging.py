"""JSON logs on stdout. The core never logs; services log one line per event and one report per interval."""

from __future__ import annotations

import logging
import sys

import structlog

from crossfade.runtime.telemetry.spans import current


def _trace_ids(_logger: object, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    span = current.get()
    if span is not None:
        event["trace_id"], event["span_id"] = span.trace_id, span.span_id
    return event


def configure(service: str, level: str = "INFO") -> None:
    """Send all logs of this process to stdout as JSON, one object a line.

    Args:
        service: name that each line carries.
        level: lowest level that is written.
    """
    chain: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        _trace_ids,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*chain, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stdout),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    renderer = structlog.stdlib.ProcessorFormatter(
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.JSONRenderer()],
        foreign_pre_chain=chain,
    )
    stream = logging.StreamHandler(sys.stdout)
    stream.setFormatter(renderer)
    root = logging.getLogger()
    root.handlers[:] = [stream]
    root.setLevel(max(logging.WARNING, logging.getLevelName(level)))  # libraries report problems only
