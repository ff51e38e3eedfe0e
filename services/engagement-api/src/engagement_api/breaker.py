"""A circuit breaker: after several failures in a row nothing is tried for a while, then one call tries first."""

from __future__ import annotations

from crossfade.ports.clock import Clock


class Breaker:
    """Closed while calls succeed; open for a while after too many failures in a row; then one call may try."""

    def __init__(
        self,
        clock: Clock,
        *,
        failures: int = 5,
        open_s: float = 1.0,
        longest_open_s: float = 30.0,
    ) -> None:
        """Start closed.

        Args:
            clock: of the process.
            failures: how many in a row open it.
            open_s: for how long, the first time; each failed try doubles it.
            longest_open_s: bound of the doubling.
        """
        self._limit = failures
        self._first_s = open_s
        self._longest_s = longest_open_s
        self._clock = clock
        self._failures = 0
        self._open_s = open_s
        self._until_s: float | None = None
        self._trying = False

    @property
    def is_open(self) -> bool:
        """Whether a call would be turned away now."""
        return self._until_s is not None and (self._trying or self._clock.monotonic() < self._until_s)

    def admit(self) -> bool:
        """Say whether a call may be made. If so, `succeeded` or `failed` must follow."""
        if self._until_s is None:
            return True
        if self.is_open:
            return False
        self._trying = True
        return True

    def succeeded(self) -> None:
        """A call went well."""
        self._failures, self._open_s, self._until_s, self._trying = 0, self._first_s, None, False

    def failed(self) -> None:
        """A call failed."""
        self._failures += 1
        if self._trying:
            self._open_s = min(2 * self._open_s, self._longest_s)
        elif self._until_s is not None or self._failures < self._limit:
            return  # not yet; or open already, and this call began before that
        self._until_s, self._trying = self._clock.monotonic() + self._open_s, False
