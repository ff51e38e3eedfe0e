"""The `Date` of every answer, as AWS gives it: whole seconds of its own clock, which a test may set ahead or back."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import formatdate


class Clock:
    """The clock that answers and signatures are dated by. Commit and arrival times are of the machine's.

    Attributes:
        offset_s: by how much the dates are ahead of the machine's clock.
        is_told: whether answers carry a date at all.
    """

    def __init__(self, *, now: Callable[[], float] = time.time) -> None:
        """Be right.

        Args:
            now: the machine's clock, seconds since the epoch.
        """
        self._now = now
        self._second = -1
        self._header = b""
        self.offset_s = 0.0
        self.is_told = True

    def set(self, *, offset_s: float = 0.0, is_told: bool = True) -> None:
        """Set the clock."""
        self.offset_s, self.is_told = float(offset_s), is_told

    def now(self) -> float:
        """Return the time that it shows, seconds since the epoch."""
        return self._now() + self.offset_s

    def date(self) -> bytes:
        """Return the value of the header now; it is spelled once a second."""
        second = int(self.now())
        if second != self._second:
            self._second, self._header = second, formatdate(second, usegmt=True).encode()
        return self._header

    def line(self) -> bytes:
        """Return the header's whole line; empty when no date is told."""
        return b"date: %s\r\n" % self.date() if self.is_told else b""


clock = Clock()
"""The one of this process."""
