"""How far the `Date` of AWS's answers puts our clock off."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Final

from crossfade.core.values.clocks import Skew, skew_of

LATELY_S: Final = 60.0
"""An older answer tells nothing: the clock may have been set since."""


def date_s(header: bytes | None) -> float | None:
    """Return the moment that a `Date` names, seconds since the epoch; None when it is missing or no date."""
    if header is None:
        return None
    try:
        return parsedate_to_datetime(header.decode("latin-1")).timestamp()
    except ValueError:
        return None


class Dates:
    """Keeps the last answer's `Date`; it is parsed only when somebody asks."""

    __slots__ = ("_answered_s", "_header", "_monotonic", "_noted_s", "_sent_s", "_wall")

    def __init__(
        self, *, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        """Start with none.

        Args:
            monotonic: this process's clock, s.
            wall: our wall clock, seconds since the epoch.
        """
        self._monotonic = monotonic
        self._wall = wall
        self._header: bytes | None = None
        self._sent_s = self._answered_s = self._noted_s = 0.0

    def note(self, header: bytes | None, sent_s: float, answered_s: float) -> None:
        """Keep an answer's header.

        Args:
            header: as it came; None when the answer had none.
            sent_s: our wall clock before the request was sent, seconds since the epoch.
            answered_s: our wall clock when the answer had come.
        """
        if header is not None:
            self._header, self._sent_s, self._answered_s = header, sent_s, answered_s
            self._noted_s = self._monotonic()

    def now_s(self) -> float:
        """Return the time by AWS's clock, as far as we know, in seconds since the epoch.

        It is our wall clock without what surely is wrong with it, so it may tell how long ago something arrived, give
        or take a second; it is no commit time.
        """
        skew = self.skew()
        return self._wall() - (skew.surely_s if skew is not None else 0.0)

    def at_most_s(self) -> float:
        """Return a moment that AWS's clock has surely not passed yet, in seconds since the epoch, a second off at most.

        Whatever is committed later than this was committed after the call.
        """
        skew = self.skew()
        return self._wall() - (skew.low_s if skew is not None else 0.0)

    def skew(self) -> Skew | None:
        """Return by how much our clock is ahead of AWS's; None when no answer told it lately."""
        if self._monotonic() - self._noted_s > LATELY_S:
            return None
        found_s = date_s(self._header)
        return None if found_s is None else skew_of(found_s, self._sent_s, self._answered_s)
