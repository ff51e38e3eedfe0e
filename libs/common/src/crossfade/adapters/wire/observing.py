"""An observer of the calls of every `Wire` that is created from now on; there is none unless telemetry is on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

Ended = Callable[[str], None]
"""Called at the end of a call: the code of its error, empty when there was none."""


class CallObserver(Protocol):
    """An observer of calls."""

    def began(self, service: str, operation: str, body: bytes) -> Ended | None:
        """Note that a call begins.

        Args:
            service: "dynamodb" or "kinesis".
            operation: of its API.
            body: the request.

        Returns:
            What to call at the end; None for nothing.
        """
        ...


_observer: CallObserver | None = None


def observe_calls(by: CallObserver | None) -> None:
    """Set the observer; None for nobody."""
    global _observer  # one process, one telemetry
    _observer = by


def call_observer() -> CallObserver | None:
    """Return the observer."""
    return _observer
