"""What moves keys from one table to the other, under whatever protocol (ADR 0027)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from crossfade.core.protocol.row import Row
from crossfade.core.protocol.seam import Aim
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side


class Moved(Protocol):
    """What became of one key."""

    @property
    def side(self) -> Side:
        """The table that owns it."""

    @property
    def item(self) -> Row | None:
        """Its row there, as far as known."""

    @property
    def arrived(self) -> bool:
        """Whether it has an owner and isn't waiting to leave it."""

    @property
    def stays(self) -> bool:
        """Whether the other table refuses it for good, or an operator excluded it."""

    @property
    def was_moved(self) -> bool:
        """Whether this changed its owner."""

    @property
    def because(self) -> str:
        """Why it stays; empty when it doesn't."""

    @property
    def why(self) -> str:
        """What happened last, for humans."""


class Mover(Protocol):
    """Hands keys over. Rows are the protocol's own."""

    async def hand_over_many(
        self, keys: Sequence[Key], aim: Aim, *, known: Mapping[Key, Any] | None = None, complete: bool = False
    ) -> Sequence[Moved | Exception]:
        """Hand keys over to the side aimed at; one outcome each, in order.

        Args:
            keys: each once.
            aim: the side, and the number of the wish.
            known: rows of the other side, as a scan saw them.
            complete: of the flag document.
        """

    async def hold_out_many(self, causes: Mapping[Key, str], aim: Aim) -> Sequence[Moved | Exception]:
        """Mark in their rows the keys that can't move, with the cause of each."""

    def why_held_out(self, key: Key, item: Any, destination: Side) -> str:
        """Say why a key that was held out stays."""
