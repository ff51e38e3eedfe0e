"""The phases of a migration and the commands (design.md, section 5). Phases are never compared: what may be is looked
up in the table of the writer protocol (`crossfade.core.migration.table`)."""

from __future__ import annotations

from enum import Enum
from typing import Final


class Phase(Enum):
    """Where a migration stands."""

    PLANNED = "PLANNED"
    CAPTURING = "CAPTURING"  # the source table's stream is being enabled
    SNAPSHOT = "SNAPSHOT"  # export, map and filter, import
    CATCHING_UP = "CATCHING_UP"  # the stream is applied from before the export's moment
    BOTH_WAYS = "BOTH_WAYS"  # the API copies its writes; replication runs both ways
    RAMPING = "RAMPING"  # keys move to the target table as they are used
    CUT_OVER = "CUT_OVER"  # the sweeper moves the keys nobody touched
    BAKING = "BAKING"  # all keys are on the target table; reverse replication keeps the way back open
    COMPLETE = "COMPLETE"
    ROLLED_BACK = "ROLLED_BACK"  # keys move back; left when all are
    ABORTED = "ABORTED"


class Intent(Enum):
    """What an operator asks of the controller."""

    START = "start"
    RAMP = "ramp"
    CUTOVER = "cutover"
    ROLLBACK = "rollback"
    COMPLETE = "complete"
    ABORT = "abort"
    PAUSE = "pause"
    RESUME = "resume"
    WITHDRAW = "withdraw"


PAUSE_RESTS: Final = (
    "phase changes",
    "flag documents",
    "the sweeper's moves",
    "snapshot, mapping and import",
    "the verifier's repairs",
    "commands other than resume and withdraw",
)
"""What a pause holds, in every phase (ADR 0017)."""

PAUSE_GOES_ON: Final = (
    "clients' calls, and the handovers they make at the share in force",
    "replication both ways and the feed",
    "help for keys left between the tables",
    "the verifier's passes",
    "halts, gates and status",
)
"""What a pause never touches: holding any of it would hurt clients, or widen the gap between the tables."""
