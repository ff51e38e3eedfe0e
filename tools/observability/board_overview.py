"""The dashboard of the whole migration: where it stands, whether clients are hurt, whether copies keep up and agree."""

from __future__ import annotations

from typing import Final

from crossfade.runtime.telemetry import contract as c
from tools.observability.panels import Board, Look, Panel, Query, Row, Unit, shown
from tools.observability.promql import SHOWN, one_of
from tools.observability.wording import GATES, LAG_S, OVERVIEW

S = SHOWN

STANDS: Final = Row(
    "Where it stands",
    (
        Panel(
            "Phase",
            "What the migration does now. `crossfade status` names what it is waiting for.",
            (Query(f"{S.worst(c.MIGRATION_PHASE, by=(c.PHASE,))} == 1", shown(c.PHASE)),),
            Unit.COUNT,
            (c.MIGRATION_PHASE,),
            Look.NAME,
            width=5,
            height=4,
        ),
        Panel(
            "Aimed at the target table",
            "The share of the keys that the flags send to the target table.",
            (Query(S.worst(c.RAMP)),),
            Unit.PERCENT,
            (c.RAMP,),
            Look.NUMBER,
            width=4,
            height=4,
        ),
        Panel(
            "Owned by the target table",
            "By the sweeper's last whole look; it follows the ramp as keys are used, and the cutover moves the rest.",
            (Query(S.worst(c.ON_TARGET)),),
            Unit.PERCENT,
            (c.ON_TARGET,),
            Look.NUMBER,
            width=4,
            height=4,
        ),
        Panel(
            "Safe to cut over",
            "The verifier's answer; GET /parity says why.",
            (Query(S.worst(c.SAFE)),),
            Unit.YES_NO,
            (c.SAFE,),
            Look.NUMBER,
            bound=1,
            below=True,
            width=4,
            height=4,
        ),
        Panel(
            "Ramp halted",
            "Halts automatically when a gate on errors, latency or parity breaks.",
            (Query(S.worst(c.HALTED)),),
            Unit.YES_NO,
            (c.HALTED,),
            Look.NUMBER,
            bound=0,
            width=3,
            height=4,
        ),
        Panel(
            "A controller drives",
            "One of them holds the lease. Without one nothing moves, and clients notice nothing.",
            (Query(S.worst(c.DRIVING)),),
            Unit.YES_NO,
            (c.DRIVING,),
            Look.NUMBER,
            bound=1,
            below=True,
            width=4,
            height=4,
        ),
        Panel(
            "Phases",
            "Which phase it was in, and when.",
            (Query(f"{S.worst(c.MIGRATION_PHASE, by=(c.PHASE,))} == 1", shown(c.PHASE)),),
            Unit.COUNT,
            (c.MIGRATION_PHASE,),
            Look.STATES,
        ),
        Panel(
            "Share of the keys",
            "What the flags ask for, and what the target table owns.",
            (Query(S.worst(c.RAMP), "aimed at the target table"), Query(S.worst(c.ON_TARGET), "owned by it")),
            Unit.PERCENT,
            (c.RAMP, c.ON_TARGET),
        ),
        Panel(
            "Gates",
            "The gates before what comes next in this phase: 1 is open.",
            (Query(S.least(c.GATE_OPEN, by=(c.GATE,)), shown(c.GATE)),),
            Unit.YES_NO,
            (c.GATE_OPEN,),
            Look.STATES,
            bound=1,
            below=True,
        ),
    ),
)

CLIENTS: Final = Row(
    "Are clients hurt?",
    (
        Panel(
            "Operations that fail by our fault",
            "Of all operations, each one of a batch and reads. Refusals that the contract names don't count.",
            (
                Query(
                    f"({S.rate(c.API_OPERATIONS, one_of(c.RESULT, [c.FAILED]))} or vector(0))"
                    f" / {S.rate(c.API_OPERATIONS)}",
                    "failed",
                ),
            ),
            Unit.SHARE,
            (c.API_OPERATIONS,),
            bound=GATES.api_errors,
        ),
        Panel(
            "Latency of calls",
            "At the server. The points are traces: click one.",
            (
                Query(S.quantile(0.99, c.RPC_DURATION), "p99", exemplars=True),
                Query(S.quantile(0.5, c.RPC_DURATION), "p50"),
            ),
            Unit.SECONDS,
            (c.RPC_DURATION,),
            bound=GATES.api_p99_ms / 1000,
        ),
        Panel(
            "API pods",
            "Those whose heartbeat counts, and those of them that work under old flags.",
            (Query(S.worst(c.PODS), "live"), Query(S.worst(c.PODS_BEHIND), "behind")),
            Unit.COUNT,
            (c.PODS, c.PODS_BEHIND),
        ),
    ),
)

COPIES: Final = Row(
    "Do copies keep up?",
    (
        Panel(
            "Iterator age",
            "From arrival in the stream to applied, the worst shard of each consumer.",
            (Query(S.worst(c.ITERATOR_AGE, by=(c.GROUP,)), shown(c.GROUP)),),
            Unit.SECONDS,
            (c.ITERATOR_AGE,),
            bound=LAG_S,
        ),
        Panel(
            "Table to stream",
            "Age of a table's oldest record that is not in its stream, as CloudWatch tells it.",
            (Query(S.worst(c.UNREPLICATED, by=(c.SIDE,)), shown(c.SIDE)),),
            Unit.SECONDS,
            (c.UNREPLICATED,),
            bound=LAG_S,
        ),
        Panel(
            "Change records read",
            "The throughput, by consumer.",
            (Query(S.rate(c.CONSUMED, by=(c.GROUP,)), shown(c.GROUP)),),
            Unit.PER_SECOND,
            (c.CONSUMED,),
        ),
        Panel(
            "Dead letters",
            "Records that could not be applied and wait for a person.",
            (Query(S.worst(c.DEAD_LETTERS), "parked"),),
            Unit.COUNT,
            (c.DEAD_LETTERS,),
            bound=0,
        ),
        Panel(
            "Handovers",
            "Keys handed over, by the side that became the owner: by calls and by the sweeper.",
            (Query(S.rate(c.HANDOVERS, by=(c.DIRECTION,)), shown(c.DIRECTION)),),
            Unit.PER_SECOND,
            (c.HANDOVERS,),
        ),
        Panel(
            "Keys standby on both sides",
            "In handover now, and those that have been for longer than the sweeper allows.",
            (Query(S.worst(c.IN_HANDOVER), "in handover"), Query(S.worst(c.LEFT_IN_HANDOVER), "overdue")),
            Unit.COUNT,
            (c.IN_HANDOVER, c.LEFT_IN_HANDOVER),
        ),
    ),
)

EQUAL: Final = Row(
    "Are both tables equal?",
    (
        Panel(
            "Keys that differ",
            "By class, in the last pass. Stuck, diverged, missing, extra, ahead and two owners block.",
            (
                Query(
                    S.worst(
                        c.PARITY, one_of(c.CLASS, [each for each in c.CLASS.values if each != "equal"]), by=(c.CLASS,)
                    ),
                    shown(c.CLASS),
                ),
            ),
            Unit.COUNT,
            (c.PARITY,),
        ),
        Panel(
            "Age of the last clean pass",
            "Gates want one younger than ten minutes.",
            (Query(S.least(c.CLEAN_AGE), "age"),),
            Unit.SECONDS,
            (c.CLEAN_AGE,),
            bound=GATES.clean_pass_s,
        ),
        Panel(
            "Journal",
            "Entries: each is a decision. It stands still while nothing is decided.",
            (Query(S.worst(c.JOURNAL), "entries"),),
            Unit.COUNT,
            (c.JOURNAL,),
        ),
    ),
)

BOARD: Final = Board(
    OVERVIEW,
    "Crossfade: migration",
    "Where a migration stands, whether clients are hurt, whether copies keep up and agree.",
    (STANDS, CLIENTS, COPIES, EQUAL),
)
