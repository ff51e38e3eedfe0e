"""What the replicator reads of the journal: the phase, which says when a role has work (design.md, section 5)."""

from __future__ import annotations

from typing import Final, NamedTuple

from crossfade.core.errors import StoreRefused
from crossfade.core.phases import REPLICATING, Phase
from crossfade.ports.control import Journal

RUNS: Final[dict[str, frozenset[Phase]]] = {
    "forward": REPLICATING | {Phase.CATCHING_UP, Phase.COMPLETE},
    "reverse": REPLICATING | {Phase.COMPLETE},
}
"""In which phases each direction has work. The import is done before forward's first: an imported row could overwrite a
newer one. The feed is in no phase's hands: it reads a stream as soon as there is one, and goes on after COMPLETE."""


class Standing(NamedTuple):
    """Where the migration stands.

    Attributes:
        phase: by the last entry of that kind.
        since_us: when that was written, µs; 0 when there is none.
    """

    phase: Phase = Phase.PLANNED
    since_us: int = 0


class PhaseWatch:
    """Follows the phase through the journal, reading each entry once."""

    def __init__(self, journal: Journal) -> None:
        """Take the journal, which may not exist yet."""
        self._journal = journal
        self._number = 0
        self._standing = Standing()

    async def look(self) -> Standing:
        """Read what is new, and return where the migration stands.

        Raises:
            StoreUnavailable: the journal doesn't answer.
        """
        try:
            entries = await self._journal.entries(after=self._number)
        except StoreRefused as error:
            if error.reason == "ResourceNotFoundException":
                return self._standing
            raise
        for entry in entries:
            self._number = entry.number
            if entry.kind == "phase":
                self._standing = Standing(Phase(entry.body["to"]), entry.at_us)
        return self._standing
