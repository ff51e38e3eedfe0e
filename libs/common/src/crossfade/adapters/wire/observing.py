"""Somebody may look on at the calls of every `Wire` that is made from now on. Nobody does unless telemetry is on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

Ended = Callable[[str], None]
"""Told of the end of a call: the code of its error, empty when there was none."""


class CallObserver(Protocol):
    """Looks on."""

    def began(self, service: str, operation: str, body: bytes) -> Ended | None:
        """Note that a call begins.

        Args:
            service: "dynamodb" or "kinesis".
            operation: of its API.
            body: the request.

        Returns:
            What is to be told of the end; None when it doesn't matter.
        """
        ...


_observer: CallObserver | None = None


def observe_calls(by: CallObserver | None) -> None:
    """Let somebody look on, or (None) nobody."""
    global _observer  # one process, one telemetry
    _observer = by


def call_observer() -> CallObserver | None:
    """Return who looks on."""
    return _observer
