"""The dashboard of the Engagement API."""

from __future__ import annotations

from typing import Final

from crossfade.runtime.telemetry import contract as c
from crossfade.runtime.telemetry.schema import Service
from tools.observability.panels import Board, Look, Panel, Query, Row, Unit, Variable, shown
from tools.observability.promql import SERVICE, SHOWN, Where, one_of
from tools.observability.wording import API, GATES, STALE_FLAGS_S

S = SHOWN
METHOD = Where(c.RPC_METHOD, "$method")
MINE = one_of(SERVICE, [Service.API.value])

CALLS: Final = Row(
    "Calls",
    (
        Panel(
            "Calls",
            "How many calls come, by method.",
            (Query(S.rate(c.RPC_DURATION, METHOD, by=(c.RPC_METHOD,)), shown(c.RPC_METHOD)),),
            Unit.PER_SECOND,
            (c.RPC_DURATION,),
        ),
        Panel(
            "Statuses",
            "How calls end. UNAVAILABLE, INTERNAL, UNKNOWN and DEADLINE_EXCEEDED are ours.",
            (Query(S.rate(c.RPC_DURATION, METHOD, by=(c.RPC_STATUS,)), shown(c.RPC_STATUS)),),
            Unit.PER_SECOND,
            (c.RPC_DURATION,),
            Look.STACK,
        ),
        Panel(
            "p99 by method",
            "The points are traces: click one.",
            (Query(S.quantile(0.99, c.RPC_DURATION, METHOD, by=(c.RPC_METHOD,)), shown(c.RPC_METHOD), exemplars=True),),
            Unit.SECONDS,
            (c.RPC_DURATION,),
            bound=GATES.api_p99_ms / 1000,
        ),
        Panel(
            "Latency",
            "How many calls took how long. The points are traces.",
            (Query(S.buckets(c.RPC_DURATION, METHOD), "{{le}}", exemplars=True),),
            Unit.SECONDS,
            (c.RPC_DURATION,),
            Look.HEAT,
            width=12,
        ),
        Panel(
            "DynamoDB, p99 by operation",
            "Retries included. When this is slow, calls are.",
            (
                Query(
                    S.quantile(0.99, c.DB_DURATION, MINE, by=(c.DB_OPERATION,)), shown(c.DB_OPERATION), exemplars=True
                ),
            ),
            Unit.SECONDS,
            (c.DB_DURATION,),
            width=12,
        ),
    ),
)

POINTS: Final = Row(
    "Operations",
    (
        Panel(
            "Operations by outcome",
            "Owner writes. `replayed` are retries that had been applied; `busy` and `full` are hot keys.",
            (Query(S.rate(c.OPERATIONS, by=(c.OUTCOME,)), shown(c.OUTCOME)),),
            Unit.PER_SECOND,
            (c.OPERATIONS,),
            Look.STACK,
            width=12,
        ),
        Panel(
            "Wallets read",
            "Reads go on even while writes are refused.",
            (Query(S.rate(c.READS), "read"),),
            Unit.PER_SECOND,
            (c.READS,),
            width=12,
        ),
        Panel(
            "Copies of the dual write",
            "`late` and `failed` come down the stream instead: nothing is lost.",
            (Query(S.rate(c.COPIES, by=(c.COPY_OUTCOME,)), shown(c.COPY_OUTCOME)),),
            Unit.PER_SECOND,
            (c.COPIES,),
            Look.STACK,
        ),
        Panel(
            "Handovers by calls",
            "Keys that calls handed over, by the side that became the owner.",
            (Query(S.rate(c.HANDOVERS, MINE, by=(c.DIRECTION,)), shown(c.DIRECTION)),),
            Unit.PER_SECOND,
            (c.HANDOVERS,),
        ),
        Panel(
            "Steps of handovers",
            "`held out` leaves a key where it is, `given back` returns it; many `overtaken` or `restarted` mean pods "
            "with different flags.",
            (Query(S.rate(c.HANDOVER_STEPS, by=(c.STEP,)), shown(c.STEP)),),
            Unit.PER_SECOND,
            (c.HANDOVER_STEPS,),
        ),
    ),
)

FLAGS: Final = Row(
    "Flags and heartbeats",
    (
        Panel(
            "Age of the flags",
            "Since a pod last read its flag file without an error; the worst pod.",
            (Query(S.worst(c.FLAG_AGE), "worst pod"),),
            Unit.SECONDS,
            (c.FLAG_AGE,),
            bound=STALE_FLAGS_S,
        ),
        Panel(
            "Pods that may write",
            "A pod that can't renew its heartbeat refuses owner writes.",
            (
                Query(S.total(c.WRITES_ALLOWED), "may write"),
                Query(f"count({S.of(c.WRITES_ALLOWED)} == 0) or vector(0)", "may not"),
            ),
            Unit.COUNT,
            (c.WRITES_ALLOWED,),
        ),
        Panel(
            "Pods the controller counts",
            "Those whose heartbeat counts, and those of them that work under old flags.",
            (Query(S.worst(c.PODS), "live"), Query(S.worst(c.PODS_BEHIND), "behind")),
            Unit.COUNT,
            (c.PODS, c.PODS_BEHIND),
        ),
    ),
)

BOARD: Final = Board(
    API,
    "Crossfade: Engagement API",
    "What clients see, and what the API does for it.",
    (CALLS, POINTS, FLAGS),
    (Variable("method", "Method", c.RPC_DURATION, c.RPC_METHOD),),
)
