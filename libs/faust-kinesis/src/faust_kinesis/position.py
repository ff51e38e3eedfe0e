"""Where in a shard reading goes on.

A sequence number is an opaque string here: never an integer, never compared for order. Real ones
have 186 bits, and emulators pad theirs with zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

_AT = "AT_TIMESTAMP:"


class IteratorArguments(TypedDict):
    """Keyword arguments of `KinesisClient.shard_iterator`."""

    after: str | None
    at_s: float | None
    latest: bool


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a shard. With no field set it is TRIM_HORIZON, the oldest record there is.

    Attributes:
        after: the sequence number that was read last.
        at_s: arrival time of the first record wanted, seconds since the epoch.
        latest: only what arrives from now on.
    """

    after: str | None = None
    at_s: float | None = None
    latest: bool = False

    def __post_init__(self) -> None:
        if (self.after is not None) + (self.at_s is not None) + self.latest > 1:
            raise ValueError("a position is after a sequence number, at a time, or latest: one of them")

    def arguments(self) -> IteratorArguments:
        """Return what `KinesisClient.shard_iterator` wants to hear."""
        return {"after": self.after, "at_s": self.at_s, "latest": self.latest}

    def __str__(self) -> str:
        if self.after is not None:
            return f"AFTER_SEQUENCE_NUMBER:{self.after}"
        if self.at_s is not None:
            return f"{_AT}{self.at_s:.3f}"
        return "LATEST" if self.latest else "TRIM_HORIZON"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Read a start position: `TRIM_HORIZON`, `LATEST` or `AT_TIMESTAMP:<seconds since the epoch>`.

        Raises:
            ValueError: it is none of these.
        """
        if text == "TRIM_HORIZON":
            return TRIM_HORIZON
        if text == "LATEST":
            return LATEST
        if text.startswith(_AT):
            return cls(at_s=float(text.removeprefix(_AT)))
        raise ValueError(f"not a start position: {text!r} (TRIM_HORIZON, LATEST or AT_TIMESTAMP:<seconds>)")


TRIM_HORIZON = Position()
LATEST = Position(latest=True)
