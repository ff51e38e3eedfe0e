"""Dead letters of the plain protocol: what only a person can decide, with both rows in it.

code          what was found                                          the letter goes when
stray         somebody else changed the standby                       it is merged or discarded
unrecorded    a row of the standby that no record had shown           the record that shows it comes; or discarded
hold_broken   the old owner was written to after the hold was proven  discarded
late          rows that differ since a flip: nothing tells which is old  discarded
wide          a row that fits, but not with a fence                   it is one that fits; it waits for nobody
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Final

import msgspec
import structlog

from crossfade.contracts.letter import HOLD_BROKEN, LATE, UNRECORDED, WIDE, DeadLetter
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key
from crossfade.ports.clock import Clock
from crossfade.ports.control import Parking
from crossfade.runtime.retry import persist
from crossfade_replicator.letters import STRAYS, letter, name_of, stray_letter
from crossfade_replicator.outcome import Account
from crossfade_replicator.plain.batch import Entry

log = structlog.get_logger()

STANDBY_CHANGED: Final = "a writer other than Crossfade changed the standby's row"
STANDBY_REMOVED: Final = "a writer other than Crossfade deleted the standby's row"

REASONS: Final = {
    UNRECORDED: "the standby's row was not what its owner's record says was there before: it may be the only copy of a "
    "write. It is kept here, and was overwritten",
    HOLD_BROKEN: "the table that owned until the flip was written to after the hold was proven",
    LATE: "the old owner's row may hold a write that the flip did not bring along, and nothing tells surely whether "
    "the owner's row is older",
    WIDE: "the row leaves no room for a fence of some 25 bytes: it is copied in the hold of a flip",
}

_LOOK: Final = "Look at both rows: `replicator dead-letters show {name}`. "
_CURES: Final = {
    UNRECORDED: _LOOK + "It goes when the record comes that shows the row. If none does, write what is missing to the "
    "owner, then discard the letter.",
    HOLD_BROKEN: "Find the writer that ignored the hold. "
    + _LOOK
    + "Write what is missing to the owner, then discard it.",
    LATE: _LOOK + "Write to the owner what should be there, then discard the letter.",
    WIDE: "There is nothing to do before the flip.",
}
CURE_STRAY: Final = "Stop the writer. " + _LOOK + "Write what is missing to the owner, or discard the letter."


class Letters:
    """Writes the letters of one consumer."""

    def __init__(self, consumer: str, store: Parking, clock: Clock) -> None:
        """Take the consumer's name, the store, and what dates letters."""
        self._consumer, self._store, self._clock = consumer, store, clock

    async def refused(
        self, shard_id: str, entry: Entry, account: Account, *, code: str, reason: str, version: int | None = None
    ) -> None:
        """Keep a record that can't be applied, with its payload."""
        place = entry.place(self._consumer, shard_id)
        now_us = self._clock.wall_us()
        each = letter(place, entry.record, entry.change, code=code, reason=reason, version=version, now_us=now_us)
        await self._park(each, account)

    async def stray(self, entry: Entry, account: Account) -> None:
        """Keep a stray, both images in it: one write, one letter, however often its record comes."""
        change = entry.known
        account.stray(change.committed_us)
        reason = STANDBY_REMOVED if change.new is None else STANDBY_CHANGED
        each = stray_letter(
            self._consumer,
            entry.record.data,
            change,
            reason=reason,
            cure=CURE_STRAY,
            settled=False,
            now_us=self._clock.wall_us(),
        )
        await self._park(each.replace(cure=each.cure.format(name=name_of(each))), account)

    async def rows(
        self, code: str, entry: Entry, images: Mapping[str, Image | None], account: Account, *, settled: bool = False
    ) -> DeadLetter:
        """Keep rows as they stood, by table; return their letter.

        Args:
            code: one of this module's.
            entry: the record that showed them.
            images: the row of each table; None for none.
            account: of the batch.
            settled: it waits for nobody.
        """
        change = entry.known
        payload = b"" if settled else msgspec.json.encode({"images": images})
        each = DeadLetter(
            consumer=self._consumer,
            sequence=f"{STRAYS}:{code}-{_identity(change.key, payload)}",
            key=change.key,
            version=None,
            reason=REASONS[code],
            code=code,
            payload=payload,
            trace="",
            at_us=self._clock.wall_us(),
            table=change.table,
            committed_us=change.committed_us,
            settled=settled,
        )
        each = each.replace(cure=_CURES[code].format(name=name_of(each)))
        await self._park(each, account)
        return each

    async def _park(self, each: DeadLetter, account: Account) -> None:
        await persist(lambda: self._store.park(each))
        account.park(each)
        log.error("parked", code=each.code, reason=each.reason, sequence=each.sequence, key=each.key.decode())


class _Rows(msgspec.Struct):
    images: dict[str, Image | None]


_decode_rows: Final = msgspec.json.Decoder(_Rows).decode


def rows_in(each: DeadLetter) -> dict[str, Image | None]:
    """Return the rows that a letter keeps, by table.

    Raises:
        PoisonRecord: it keeps none.
    """
    try:
        return _decode_rows(each.payload).images
    except msgspec.MsgspecError as error:
        raise PoisonRecord(f"{name_of(each)} keeps no rows") from error


def _identity(key: Key, payload: bytes) -> str:
    """Name a letter by what it keeps, so that a batch that is read twice leaves one."""
    return sha256(key + b"\n" + payload).hexdigest()[:32]
