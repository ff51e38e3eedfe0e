"""What happened, act by act: the record of a run, which a failure prints."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Act(NamedTuple):
    """One act.

    Attributes:
        at_s: virtual time since the beginning.
        who: the process, the client or the operator.
        what: in a few words.
    """

    at_s: float
    who: str
    what: str

    def __str__(self) -> str:
        return f"{self.at_s:9.3f}  {self.who:<12} {self.what}"


class Broken(AssertionError):
    """A promise of design.md is broken; the message says which."""


class Story:
    """Acts in their order."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self.acts: list[Act] = []

    def tell(self, who: str, what: str) -> None:
        self.acts.append(Act(self._now_s(), who, what))

    def told(self, last: int = 0) -> str:
        """Return it as text; only its end, if `last` says so."""
        return "\n".join(map(str, self.acts[-last:]))
