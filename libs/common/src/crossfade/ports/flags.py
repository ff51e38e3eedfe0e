"""Flags, as every service reads them."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from crossfade.core.ownership.ramp import FlagDocument, lost_by
from crossfade.core.values.errors import StateMissing


class Flags(NamedTuple):
    """What the flags say now.

    Attributes:
        document: the flag document.
        dual_write: whether the API copies each owner write to the other table at once.
        age_s: since the source was last read successfully.
    """

    document: FlagDocument
    dual_write: bool
    age_s: float


def refuse_older(document: FlagDocument, in_place: FlagDocument, place: str) -> None:
    """Refuse to publish a document over one that is ahead of it; every publisher calls this first.

    Args:
        document: to be published.
        in_place: what `place` holds now.
        place: where, for the message.

    Raises:
        StateMissing: with what would be taken back, and the cure.
    """
    lost = lost_by(document, in_place)
    if lost:
        raise StateMissing(
            f"flags not published: {lost}. {place} is ahead of the journal, so either the journal lost entries "
            "(restore its table from point-in-time recovery) or the flags are another migration's (check the mapping's "
            "name; give each migration a flag file or ConfigMap of its own)"
        )


class FlagSource(Protocol):
    """Where flags come from. Reading is cheap; evaluate once a request."""

    def current(self) -> Flags:
        """Return the flags as last read."""
        ...

    async def refresh(self) -> Flags:
        """Read the source now, and return what it says."""
        ...


class FlagPublisher(Protocol):
    """Where the controller writes flags."""

    async def publish(self, document: FlagDocument, *, dual_write: bool) -> None:
        """Publish a new file, whole, over one that is not ahead of it.

        Raises:
            StateMissing: the document in place is ahead: see `crossfade.core.ownership.ramp.lost_by`.
                Nothing was changed.
        """
        ...

    async def in_place(self) -> Flags | None:
        """Return what is published now; None when nothing is, or when it can't be read as flags."""
        ...
