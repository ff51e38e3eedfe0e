"""Pages of the source table with their counterparts, for the verifier's own comparison."""

from __future__ import annotations

from crossfade.core.values.shape import Side
from crossfade_verifier.reading.judging import OwnRows
from crossfade_verifier.reading.pages import Compared, Page, Reading


def compared(reading: Reading, page: Page, answer: bytes, rows: OwnRows | None = None) -> Compared:
    """Compare a page of the source table with an answer of BatchGetItem on the target table."""
    there = reading.batch(Side.TARGET, [answer])
    return reading.compare([(key, row, there.get(key)) for key, row in page.rows], rows or OwnRows())
