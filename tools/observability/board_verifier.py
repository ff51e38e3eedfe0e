"""The dashboard of the verifier."""

from __future__ import annotations

from typing import Final

from crossfade.runtime.telemetry import contract as c
from crossfade.runtime.telemetry.schema import Service
from tools.observability.panels import Board, Look, Panel, Query, Row, Unit, shown
from tools.observability.promql import SERVICE, SHOWN, one_of
from tools.observability.wording import CROSSING_S, DRIFT, GATES, LAG_S, VERIFIER

S = SHOWN
MINE = one_of(SERVICE, [Service.VERIFIER.value])

EQUAL: Final = Row(
    "Are both tables equal?",
    (
        Panel(
            "Safe to cut over",
            "GET /parity says why, or why not.",
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
            "Keys equal",
            "In the last pass.",
            (Query(S.worst(c.PARITY, one_of(c.CLASS, ["equal"]))),),
            Unit.COUNT,
            (c.PARITY,),
            Look.NUMBER,
            width=4,
            height=4,
        ),
        Panel(
            "Keys wrong",
            "Stuck, diverged, missing, extra, ahead: POST /repair plans what to do about them.",
            (Query(f"sum({S.worst(c.PARITY, one_of(c.CLASS, DRIFT), by=(c.CLASS,))})"),),
            Unit.COUNT,
            (c.PARITY,),
            Look.NUMBER,
            bound=0,
            width=4,
            height=4,
        ),
        Panel(
            "Two owners",
            "Keys that are active in both tables: needs a human decision.",
            (Query(S.worst(c.PARITY, one_of(c.CLASS, ["two_owners"]))),),
            Unit.COUNT,
            (c.PARITY,),
            Look.NUMBER,
            bound=0,
            width=4,
            height=4,
        ),
        Panel(
            "Rows that aren't ours",
            "Rows of the target table that don't belong: another system's rows have left its table.",
            (Query(S.worst(c.NOT_OURS)),),
            Unit.COUNT,
            (c.NOT_OURS,),
            Look.NUMBER,
            bound=0,
            width=4,
            height=4,
        ),
        Panel(
            "Age of the last clean pass",
            "Gates want one younger than ten minutes.",
            (Query(S.least(c.CLEAN_AGE)),),
            Unit.SECONDS,
            (c.CLEAN_AGE,),
            Look.NUMBER,
            bound=GATES.clean_pass_s,
            width=4,
            height=4,
        ),
        Panel(
            "Keys that differ",
            "By class, in the last pass. In flight and in handover clear on their own.",
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
            width=12,
        ),
        Panel(
            "Repairs",
            "Keys that were repaired, by the class they were in. Only a later clean pass counts.",
            (Query(S.total(c.REPAIRS, by=(c.CLASS,)), shown(c.CLASS)),),
            Unit.COUNT,
            (c.REPAIRS,),
            width=12,
            rare="nobody has repaired anything",
        ),
    ),
)

PASSES: Final = Row(
    "Passes and reading",
    (
        Panel(
            "Time of a pass",
            "Over both tables, since the verifier began. Too long: give it more reads (CROSSFADE_READS_PER_S).",
            (
                Query(S.quantile_ever(0.5, c.PASS_DURATION), "p50"),
                Query(S.quantile_ever(0.99, c.PASS_DURATION), "p99"),
            ),
            Unit.SECONDS,
            (c.PASS_DURATION,),
        ),
        Panel(
            "Behind the streams' tips",
            "How far the verifier's own reading is behind.",
            (Query(S.worst(c.READ_AGE, by=(c.SIDE,)), shown(c.SIDE)),),
            Unit.SECONDS,
            (c.READ_AGE,),
            bound=LAG_S,
        ),
        Panel(
            "Change records read",
            "What the verifier itself reads of both streams, by side.",
            (Query(S.rate(c.VERIFIER_READ, by=(c.SIDE,)), shown(c.SIDE)),),
            Unit.PER_SECOND,
            (c.VERIFIER_READ,),
        ),
    ),
)

CROSSING: Final = Row(
    "From table to table",
    (
        Panel(
            "Commit to commit",
            "From the commit of an owner write to the commit of its copy, on sampled keys.",
            (
                Query(S.quantile(0.99, c.CROSSING, by=(c.DIRECTION,)), f"p99 {shown(c.DIRECTION)}"),
                Query(S.quantile(0.5, c.CROSSING, by=(c.DIRECTION,)), f"p50 {shown(c.DIRECTION)}"),
            ),
            Unit.SECONDS,
            (c.CROSSING,),
            bound=CROSSING_S,
        ),
        Panel(
            "Keys standby on both sides",
            "A handover takes two writes; a key that stays is helped by the next call or by the sweeper.",
            (Query(S.worst(c.IN_HANDOVER), "in handover"),),
            Unit.COUNT,
            (c.IN_HANDOVER,),
        ),
        Panel(
            "DynamoDB, p99 by operation",
            "The verifier's own reads, and its repairs.",
            (Query(S.quantile(0.99, c.DB_DURATION, MINE, by=(c.DB_OPERATION,)), shown(c.DB_OPERATION)),),
            Unit.SECONDS,
            (c.DB_DURATION,),
        ),
    ),
)

BOARD: Final = Board(
    VERIFIER,
    "Crossfade: verifier",
    "What the comparison of both tables says, and how well it sees.",
    (EQUAL, PASSES, CROSSING),
)
