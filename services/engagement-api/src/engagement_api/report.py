"""One line in the log per interval: what was asked, how it ended, and what the dual write did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import structlog

from crossfade.application.epochs import Epochs
from crossfade.application.pulse import Pulse
from crossfade.core.ownership.decisions import Done, StepKind
from crossfade.core.values.keys import Key
from crossfade.ports.clock import Clock
from crossfade.runtime import telemetry
from crossfade.runtime.telemetry.contract import REASON, SIDE, STEP
from crossfade.runtime.telemetry.span_contract import HANDOVER_EVENT, RPC

log = structlog.get_logger()


class Tally:
    """Totals since the start of the process.

    Attributes:
        outcomes: of operations, by name; errors of the store by their code.
        steps: of handovers, by name.
        moved: keys handed over, by the side that became their owner.
        reads: wallets read.
    """

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.steps: Counter[str] = Counter()
        self.moved: Counter[str] = Counter()
        self.reads = 0

    def count(self, key: Key, done: Done) -> None:
        """Count an operation that came to an end."""
        self.outcomes[done.outcome.value] += 1
        if done.steps:
            self._count_steps(key, done)

    def _count_steps(self, key: Key, done: Done) -> None:
        span = telemetry.current.get()
        for step in done.steps:
            self.steps[step.kind.value] += 1
            if step.kind is StepKind.ACTIVATED:
                self.moved[step.side.value] += 1
            if span is not None and span.spec is RPC:
                said = {STEP: step.kind.value, SIDE: step.side.value, REASON: step.reason}
                span.event(HANDOVER_EVENT, said)
            if step.kind is StepKind.HELD_OUT:
                log.warning("key held out", key=key.decode(), side=step.side.value, reason=step.reason)


async def report(
    every_s: float, tally: Tally, epochs: Epochs, pulse: Pulse, mirrored: Mapping[str, int], *, clock: Clock
) -> None:
    """Log a line per interval until cancelled.

    Args:
        every_s: interval.
        tally: of the operations.
        epochs: tells the flag document and its age.
        pulse: tells whether owner writes are allowed.
        mirrored: counts of the dual write.
        clock: of the process.
    """
    while True:
        await clock.sleep(every_s)
        log.info(
            "report",
            outcomes=dict(tally.outcomes),
            handovers=dict(tally.steps),
            reads=tally.reads,
            dual_write=dict(mirrored),
            document=epochs.current.document._asdict(),
            flag_age_s=round(epochs.age_s, 1),
            writes_allowed=pulse.counted,
        )
