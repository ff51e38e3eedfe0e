"""The alerts about the controller."""

from __future__ import annotations

from typing import Final

from crossfade.runtime.telemetry import contract as c
from crossfade.runtime.telemetry.schema import Service
from tools.observability.alerting import Alert, Clients, alarm
from tools.observability.presence import down
from tools.observability.wording import OVERVIEW, PAGE, TICKET, VALUE, M, W, label

OF_CONTROLLER: Final = (
    Alert(
        "RampHalted",
        f"{W.worst(c.HALTED)} > 0",
        "1m",
        PAGE,
        Clients.SOME,
        f"{M}: the ramp is halted by a gate",
        OVERVIEW,
        (c.HALTED, c.RAMP),
        0,
        (alarm("ramp-halted", c.HALTED, 0, minutes=2),),
        reporters=(Service.CONTROLLER,),
    ),
    Alert(
        "HandoverOverdue",
        f"{W.worst(c.LEFT_IN_HANDOVER)} > 0",
        "2m",
        PAGE,
        Clients.SOME,
        f"{M}: {VALUE} keys are standby on both sides, and the sweeper does not get them through",
        OVERVIEW,
        (c.LEFT_IN_HANDOVER, c.IN_HANDOVER),
        0,
        (alarm("handover-overdue", c.LEFT_IN_HANDOVER, 0, minutes=3),),
        reporters=(Service.CONTROLLER,),
    ),
    Alert(
        "GateShut",
        f"{W.least(c.GATE_OPEN, by=(c.GATE,))} == 0",
        "30m",
        TICKET,
        Clients.SAFE,
        f"{M}: gate {label(c.GATE)} has been shut for half an hour",
        OVERVIEW,
        (c.GATE_OPEN,),
        alarms=(alarm("gates", c.GATE_OPEN, 1, statistic="Minimum", below=True, minutes=30),),
        reporters=(Service.CONTROLLER,),
        by=(c.GATE,),
    ),
    Alert(
        "NoController",
        down(Service.CONTROLLER),
        "2m",
        PAGE,
        Clients.SAFE,
        f"{M}: no controller drives the migration",
        OVERVIEW,
        (c.DRIVING, c.JOURNAL),
        alarms=(alarm("no-controller", c.DRIVING, 1, below=True, minutes=3, silence=True),),
    ),
)
