"""Traces, metrics and the contract that they keep (`contract.py`).

telemetry = active()                      None when nothing is on: the only question of a hot path
span = telemetry.start(APPLY, {...}, parent=traceparent)          None when this trace isn't recorded
telemetry.record(BATCH_DURATION, taken_s, {GROUP: "forward"}, span)
telemetry.observe(source)                 counters and gauges, read where they are counted anyway
"""

from crossfade.runtime.telemetry.measures import Observed
from crossfade.runtime.telemetry.setup import Telemetry, active, running
from crossfade.runtime.telemetry.spans import OutsideContract, Started, current

__all__ = ["Observed", "OutsideContract", "Started", "Telemetry", "active", "current", "running"]
