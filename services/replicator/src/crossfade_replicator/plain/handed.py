"""Keys that the verifier hands over after a flip: what differs is left to a person, with both rows (ADR 0043, 0046).

The verifier compares both tables after each flip, and writes nothing into either. A key that the flip may have missed
comes as a letter, and stays one until it is looked into here, by the consumer that looks into late records anyway.
Without a record nobody knows which row is right: the old owner's, whose write the flip missed, or the owner's, whose
own record never came. So nothing is copied; the late record itself, if it comes, copies.
"""

from __future__ import annotations

import structlog

from crossfade.contracts.letter import HINT, DeadLetter
from crossfade.core.replication.change import Change, ChangeKind
from crossfade.ports.control import DeadLetters
from crossfade_replicator.outcome import Account
from crossfade_replicator.plain.batch import Entry
from crossfade_replicator.plain.hints import Hints
from crossfade_replicator.records import Decoded

log = structlog.get_logger()

MOST = 100
"""Letters that are settled in one go."""


class Handed:
    """Settles the letters of one direction."""

    def __init__(self, consumer: str, letters: DeadLetters, hints: Hints) -> None:
        """Take the consumer's name, the store, and what settles late records."""
        self._consumer, self._letters, self._hints = consumer, letters, hints

    async def look(self) -> int:
        """Settle the letters there are; return how many. What a person must decide is another letter by then."""
        found = [each for each in await self._letters.all(code=HINT, limit=MOST) if each.consumer == self._consumer]
        if not found:
            return 0
        account = Account()
        await self._hints.settle([(_entry(each), False) for each in found], account, by_records=False)
        for each in found:
            await self._letters.remove(each)
        log.info("keys handed over are settled", consumer=self._consumer, keys=len(found), **account.counts)
        return len(found)


def _entry(each: DeadLetter) -> Entry:
    """Return a letter as the record of a change that says nothing but its key."""
    change = Change(
        table=each.table,
        kind=ChangeKind.MODIFY,
        key=each.key,
        committed_us=each.committed_us,
        precise=True,
        new=None,
        before=None,
        expired=False,
    )
    return Entry(Decoded(each.sequence, b"", change), change)
