"""What the verifier knows anyway, as metrics of the contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from crossfade.core.parity.classes import Difference
from crossfade.core.values.shape import Side
from crossfade.runtime.telemetry import Observed
from crossfade.runtime.telemetry.contract import (
    CLASS,
    CLEAN_AGE,
    IN_HANDOVER,
    NOT_OURS,
    PARITY,
    READ_AGE,
    REPAIRS,
    SAFE,
    SIDE,
    VERIFIER_READ,
)
from crossfade_verifier.report import Reporter
from crossfade_verifier.tails import Tail


def observed(report: Reporter, tails: Mapping[Side, Tail], repaired: Mapping[str, int]) -> Iterator[Observed]:
    """Yield the values now.

    Args:
        report: of parity.
        tails: the reading of both streams.
        repaired: keys by the class that they were in.
    """
    parity = report.parity()
    for each in Difference:
        count = parity.verified if each is Difference.EQUAL else parity.differences[each.value].count
        yield Observed(PARITY, count, {CLASS: each.value})
    yield Observed(NOT_OURS, parity.not_ours_in_target)
    if parity.last_clean_pass_age_s is not None:
        yield Observed(CLEAN_AGE, parity.last_clean_pass_age_s)
    yield Observed(SAFE, int(parity.safe_to_cut_over.answer))
    yield Observed(IN_HANDOVER, parity.in_handover.keys)
    for side, tail in tails.items():
        behind_s = parity.lags[side.value].stream_read_s
        if behind_s is not None:
            yield Observed(READ_AGE, behind_s, {SIDE: side.value})
        yield Observed(VERIFIER_READ, tail.read, {SIDE: side.value})
    for name, count in repaired.items():
        yield Observed(REPAIRS, count, {CLASS: name})
