"""How far a long step is, and when it will be done: by what it has done since it was first looked at."""

from __future__ import annotations

from typing import NamedTuple


class Progress(NamedTuple):
    """How far a step is.

    Attributes:
        step: "export", "map", "import" or "load".
        done: of `unit`; None where nobody tells.
        total: likewise.
        unit: what is counted.
        per_s: how fast it goes; None before it is known.
        running_s: how long it has run, in this process.
        eta_s: time to its end; None where nothing tells.
        detail: what else is to be said, such as files.
    """

    step: str
    done: int | None
    total: int | None
    unit: str
    per_s: float | None
    running_s: float
    eta_s: float | None
    detail: str = ""

    def times(self) -> dict[str, float | None]:
        """Return what is measured in seconds, by name."""
        return {"per_s": self.per_s, "running_s": self.running_s, "eta_s": self.eta_s}


class Pace:
    """Tells the progress of one step.

    What was done before this process took it up says nothing of how fast it goes, so it doesn't count for the rate.

    Args:
        step: its name.
        unit: what is counted.
        now_s: monotonic time, when it is first looked at.
        expected_s: how long the whole step is expected to take, where nobody counts; None for nobody knows.
    """

    def __init__(self, step: str, unit: str, now_s: float, *, expected_s: float | None = None) -> None:
        self.step = step
        self._unit, self._since_s, self._expected_s = unit, now_s, expected_s
        self._first: int | None = None

    def at(self, now_s: float, done: int | None = None, total: int | None = None, detail: str = "") -> Progress:
        """Return the progress.

        Args:
            now_s: monotonic time.
            done: so far; None where nobody tells.
            total: in all; likewise.
            detail: what else is to be said.
        """
        running_s = now_s - self._since_s
        if done is None or total is None:
            eta_s = None if self._expected_s is None else max(0.0, self._expected_s - running_s)
            return Progress(self.step, done, total, self._unit, None, running_s, eta_s, detail)
        if self._first is None:
            self._first = done
        made = done - self._first
        per_s = made / running_s if made > 0 and running_s > 0 else None
        eta_s = max(0, total - done) / per_s if per_s else 0.0 if done >= total else None
        return Progress(self.step, done, total, self._unit, per_s, running_s, eta_s, detail)
