"""The pass after a flip: keys that the flip may have missed are handed to the consumer that settles late records.

Every key that was called after a flip is put to `crossfade.core.protocol.plain.late.settle`, which late records are
put to, too (ADR 0046). If it says that the old owner's row may be the only copy of a write, the key goes into a letter;
`crossfade_replicator.plain.handed` settles it, on its conditions, and takes the letter out. The verifier writes nothing
into either table here, and a flip finds the letter in its way until then.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import TYPE_CHECKING, Final, cast

import msgspec
import structlog

from crossfade.contracts.letter import HINT, DeadLetter
from crossfade.core.parity.classes import Difference
from crossfade.core.protocol.plain.late import CopyToOwner, settle
from crossfade.core.protocol.row import Row
from crossfade.core.values.errors import CrossfadeError, PoisonRecord
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import direction_to
from crossfade.ports.clock import Clock
from crossfade.ports.control import Parking
from crossfade_verifier.both import BothTables
from crossfade_verifier.owning import View
from crossfade_verifier.passes import Passes
from crossfade_verifier.reading.rows import Seen

if TYPE_CHECKING:
    from crossfade.core.protocol.plain.rows import PlainRow

log = structlog.get_logger()

CHUNK: Final = 100
"""Keys read together."""

REASON: Final = (
    "after a flip the table that owned before holds what its owner never had: it may be the only copy of a write"
)
CURE: Final = (
    "none: the replicator settles it, or parks both rows for a human decision; if this letter stays, look at the "
    "replicator that writes to the owner's table"
)

_CALLED: Final = (Difference.STUCK, Difference.DIVERGED, Difference.MISSING, Difference.EXTRA)


class Handing:
    """Hands over keys.

    Attributes:
        handed: how many keys so far.
    """

    def __init__(self, both: BothTables, passes: Passes, letters: Parking, *, clock: Clock, every_s: float) -> None:
        """Take what it goes by.

        Args:
            both: both tables.
            passes: what was called.
            letters: the store of letters.
            clock: of the process.
            every_s: pause between two looks.
        """
        self._both, self._passes, self._letters = both, passes, letters
        self._clock, self._every_s = clock, every_s
        self._looked_at: dict[Key, None] = {}
        self._turn = 0
        self.handed = 0

    async def run(self) -> None:
        """Hand over what is called, until cancelled."""
        while self._both.is_plain:
            try:
                await self.look()
            except CrossfadeError as error:
                log.warning("keys not handed over", error=str(error))
            await self._clock.sleep(self._every_s)

    async def look(self) -> None:
        """Look at the keys that are called now, each once after a flip.

        Raises:
            CrossfadeError: a table, the map or the letters don't answer; those that are left are looked at again.
        """
        view = await self._both.look()
        if not view.is_open or view.turn < 2:
            return
        if view.turn != self._turn:
            self._turn, self._looked_at = view.turn, {}
        called = (key for found in _CALLED for key in self._passes.keys_of(found))
        fresh = [key for key in dict.fromkeys(called) if key not in self._looked_at]
        for start in range(0, len(fresh), CHUNK):
            await self._judge(fresh[start : start + CHUNK], view)

    async def _judge(self, keys: list[Key], view: View) -> None:
        presents = await self._both.read(view.owner, keys)
        olds = await self._both.read(view.owner.other, keys)
        if await self._both.look() != view:
            return
        for key in keys:
            if self._is_missed(olds.get(key), presents.get(key), view):
                await self._letters.park(self._letter(key, view, (olds.get(key), presents.get(key))))
                self.handed += 1
                log.info("a key is handed over", key=key.decode())
            self._looked_at[key] = None

    def _is_missed(self, old: Row | None, present: Row | None, view: View) -> bool:
        direction = direction_to(view.owner)
        try:
            there = None if old is None else self._both.core_row(view.owner.other, old)
            mapped = None if there is None else self._both.mapping.map_item(direction, there)
            ours = None if present is None else self._both.core_row(view.owner, present)
            decided = settle(
                cast("PlainRow | None", mapped), cast("PlainRow | None", ours), view.floor, reverse_is_past=True
            )
        except PoisonRecord:
            return True  # whoever settles it parks it
        return isinstance(decided, CopyToOwner)

    def _letter(self, key: Key, view: View, rows: Iterable[Row | None]) -> DeadLetter:
        tables = [self._both.mapping.shape(side).table for side in (view.owner.other, view.owner)]
        images = {table: _image(row) for table, row in zip(tables, rows, strict=True)}
        return DeadLetter(
            consumer=direction_to(view.owner).value,
            sequence=f"{HINT}:{view.turn}-{sha256(key).hexdigest()[:32]}",
            key=self._both.key_at(view.owner.other, key),
            version=None,
            reason=REASON,
            code=HINT,
            payload=msgspec.json.encode({"images": images}),
            trace="",
            at_us=self._clock.wall_us(),
            table=tables[0],
            cure=CURE,
        )


def _image(row: Row | None) -> object:
    return row.image if isinstance(row, Seen) else None
