"""Operations of clients on rows, as a history has them."""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum
from typing import NamedTuple

Row = frozenset[tuple[str, Hashable]]
"""What a row holds besides its key."""


def row(**attributes: Hashable) -> Row:
    """Return a row of these attributes."""
    return frozenset(attributes.items())


class Is(NamedTuple):
    """The row is exactly this one; None: there is none. What a read returned is such a condition."""

    row: Row | None


class Holds(NamedTuple):
    """There is a row, and it has these attributes."""

    attributes: Row = frozenset()


class Put(NamedTuple):
    """The row is replaced; None: it is deleted."""

    row: Row | None


class Update(NamedTuple):
    """Attributes are set, and others removed; the row is made if there is none."""

    attributes: Row
    removed: frozenset[str] = frozenset()


class Step(NamedTuple):
    """What an operation does to one key: what must be so, and what it makes of the row. None: anything; nothing."""

    key: str
    needs: Is | Holds | None = None
    does: Put | Update | None = None


class Outcome(Enum):
    """What a client was told. UNKNOWN: nothing; it may have been applied at any time since, or never."""

    APPLIED = "applied"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Operation(NamedTuple):
    """What a client asked, and what it was told.

    Attributes:
        client: who asked.
        steps: all or none of them happen; each is of another key.
        outcome: REFUSED: a condition didn't hold. What was refused for any other reason doesn't belong in a history.
        invoked: when it was asked, on a clock that all clients share; any unit.
        answered: when the answer came; without meaning if the outcome is UNKNOWN. Operations that touch overlap.
    """

    client: str
    steps: tuple[Step, ...]
    outcome: Outcome
    invoked: float
    answered: float

    @property
    def keys(self) -> frozenset[str]:
        """All keys that it touches."""
        return frozenset(step.key for step in self.steps)
