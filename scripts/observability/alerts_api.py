"""The alerts about the Engagement API."""

from __future__ import annotations

from typing import Final

from scripts.observability.alerting import Alert, Clients, alarm, part, share, silent
from scripts.observability.presence import down
from scripts.observability.promql import MIGRATION, one_of
from scripts.observability.wording import (
    API,
    FAILED_COPIES,
    GATES,
    METHOD_ERRORS,
    OVERVIEW,
    PAGE,
    PERCENT,
    SECONDS,
    STALE_FLAGS_S,
    TICKET,
    VALUE,
    M,
    W,
    label,
    ratio,
)

from crossfade.runtime.telemetry import contract as c
from crossfade.runtime.telemetry.schema import Service

OF_API: Final = (
    Alert(
        "ApiErrors",
        ratio(
            W.rate(c.API_OPERATIONS, one_of(c.RESULT, [c.FAILED])),
            W.rate(c.API_OPERATIONS),
            GATES.api_errors,
        ),
        "2m",
        PAGE,
        Clients.HURT,
        f"{M}: {PERCENT} of the API's operations fail by our fault",
        API,
        (c.API_OPERATIONS, c.OPERATIONS),
        GATES.api_errors,
        (share("api-errors", part(c.CALL_COUNTS.failed), part(c.CALL_COUNTS.every), GATES.api_errors, minutes=5),),
        reporters=(Service.API,),
    ),
    Alert(
        "ApiMethodFailing",
        ratio(
            W.rate(c.API_OPERATIONS, one_of(c.RESULT, [c.FAILED]), by=(c.RPC_METHOD,)),
            W.rate(c.API_OPERATIONS, by=(c.RPC_METHOD,)),
            METHOD_ERRORS,
        ),
        "5m",
        PAGE,
        Clients.HURT,
        f"{M}: {PERCENT} of {label(c.RPC_METHOD)} fail by our fault",
        API,
        (c.API_OPERATIONS,),
        METHOD_ERRORS,
        reporters=(Service.API,),
        by=(c.RPC_METHOD,),
    ),
    Alert(
        "ApiSlow",
        f"{W.quantile(0.99, c.RPC_DURATION)} > {GATES.api_p99_ms / 1000:g}",
        "5m",
        PAGE,
        Clients.HURT,
        f"{M}: p99 of the API's calls is {SECONDS}",
        API,
        (c.RPC_DURATION, c.DB_DURATION),
        GATES.api_p99_ms / 1000,
        (alarm("api-latency", c.RPC_DURATION, GATES.api_p99_ms / 1000, statistic="p99"),),
        reporters=(Service.API,),
    ),
    Alert(
        "ApiDown",
        down(Service.API),
        "1m",
        PAGE,
        Clients.HURT,
        f"{M}: no API pod answers Prometheus; clients are served by none",
        API,
        (c.WRITES_ALLOWED, c.PODS),
        alarms=(
            silent("api-silent", c.WRITES_ALLOWED),
            alarm("no-pods", c.PODS, 1, below=True, minutes=2, silence=True),
        ),
    ),
    Alert(
        "OwnerWritesRefused",
        f"count by ({MIGRATION}) ({W.of(c.WRITES_ALLOWED)} == 0) > 0",
        "1m",
        PAGE,
        Clients.SOME,
        f"{M}: {VALUE} API pods refuse writes, since they can't renew their heartbeat",
        API,
        (c.WRITES_ALLOWED,),
        alarms=(alarm("owner-writes", c.WRITES_ALLOWED, 1, statistic="Minimum", below=True, minutes=2),),
        reporters=(Service.API,),
    ),
    Alert(
        "FlagsStale",
        f"{W.worst(c.FLAG_AGE)} > {STALE_FLAGS_S:g}",
        "2m",
        TICKET,
        Clients.SAFE,
        f"{M}: an API pod has not read its flags for {SECONDS}",
        API,
        (c.FLAG_AGE,),
        STALE_FLAGS_S,
        (alarm("flags-stale", c.FLAG_AGE, STALE_FLAGS_S),),
        reporters=(Service.API,),
    ),
    Alert(
        "PodsBehind",
        f"{W.worst(c.PODS_BEHIND)} > 0",
        "2m",
        PAGE,
        Clients.SAFE,
        f"{M}: {VALUE} API pods work under old flags; nothing moves until they follow",
        OVERVIEW,
        (c.PODS_BEHIND,),
        0,
        (alarm("pods-behind", c.PODS_BEHIND, 0),),
        reporters=(Service.CONTROLLER,),
    ),
    Alert(
        "DualWriteFailing",
        ratio(W.rate(c.COPIES, one_of(c.COPY_OUTCOME, ["failed"])), W.rate(c.COPIES), FAILED_COPIES),
        "10m",
        TICKET,
        Clients.SAFE,
        f"{M}: {PERCENT} of the dual writes' copies fail and are left to the stream",
        API,
        (c.COPIES,),
        alarms=(
            share(
                "dual-write-failing",
                part(c.COPIES, **{c.COPY_OUTCOME.cloudwatch: "failed"}),
                part(c.COPIES),
                FAILED_COPIES,
                minutes=10,
            ),
        ),
        reporters=(Service.API,),
    ),
)
