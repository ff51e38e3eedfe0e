"""All alerts, by the groups of the rule file."""

from __future__ import annotations

from typing import Final

from tools.observability.alerts_api import OF_API
from tools.observability.alerts_controller import OF_CONTROLLER
from tools.observability.alerts_replicator import OF_REPLICATOR
from tools.observability.alerts_verifier import OF_VERIFIER
from tools.observability.alerts_watch import OF_WATCH

GROUPS: Final = {
    "crossfade-watch": OF_WATCH,
    "crossfade-api": OF_API,
    "crossfade-replicator": OF_REPLICATOR,
    "crossfade-verifier": OF_VERIFIER,
    "crossfade-controller": OF_CONTROLLER,
}
"""The groups of the rule file that alert."""

ALERTS: Final = tuple(each for group in GROUPS.values() for each in group)
"""All alerts."""
