"""What the API counts anyway, as metrics of the contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from crossfade.adapters.redis_dedup import RedisMarks
from crossfade.application.epochs import Epochs
from crossfade.application.pulse import Pulse
from crossfade.core.ownership.decisions import StepKind
from crossfade.core.values.shape import Side
from crossfade.runtime.figures import Figures
from crossfade.runtime.telemetry import Observed
from crossfade.runtime.telemetry.contract import (
    API_OPERATIONS,
    COPIES,
    COPY_OUTCOME,
    DIRECTION,
    FLAG_AGE,
    HANDOVER_STEPS,
    HANDOVERS,
    MARKS_FAILED,
    MARKS_USABLE,
    METHODS,
    OPERATIONS,
    OUTCOME,
    OUTCOMES,
    READS,
    RESULT,
    RESULTS,
    RPC_METHOD,
    STEP,
    UNKNOWN_METHOD,
    WRITES_ALLOWED,
)
from engagement_api.report import Tally


def observed(
    tally: Tally,
    figures: Figures,
    epochs: Epochs,
    pulse: Pulse,
    mirrored: Mapping[str, int],
    marks: RedisMarks | None,
) -> Iterator[Observed]:
    """Yield the values now; what can happen and has not is 0, so that a rate has something to begin from.

    Args:
        tally: of the operations.
        figures: who is responsible for their outcomes.
        epochs: knows the age of the flags.
        pulse: knows whether owner writes are allowed.
        mirrored: counts of the dual write.
        marks: of what it applied; None where there is no store for them.
    """
    for method in (*METHODS, UNKNOWN_METHOD):
        for result in RESULTS:
            yield Observed(API_OPERATIONS, figures.totals[method, result], {RPC_METHOD: method, RESULT: result})
    for outcome, count in (dict.fromkeys(OUTCOMES, 0) | tally.outcomes).items():
        yield Observed(OPERATIONS, count, {OUTCOME: outcome})
    yield Observed(READS, tally.reads)
    for side in Side:
        yield Observed(HANDOVERS, tally.moved[side.value], {DIRECTION: f"to-{side.value}"})
    for step in StepKind:
        yield Observed(HANDOVER_STEPS, tally.steps[step.value], {STEP: step.value})
    for outcome, count in mirrored.items():
        yield Observed(COPIES, count, {COPY_OUTCOME: outcome})
    if marks is not None:
        yield Observed(MARKS_FAILED, marks.failures)
        yield Observed(MARKS_USABLE, int(marks.is_usable))
    yield Observed(FLAG_AGE, epochs.age_s)
    yield Observed(WRITES_ALLOWED, int(pulse.counted))
