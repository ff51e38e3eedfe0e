"""Letters of the plain protocol that events answer: what waits for nobody any longer leaves the store."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import structlog

from crossfade.contracts.letter import UNRECORDED, DeadLetter
from crossfade.core.mapping.interface import Mapping
from crossfade.core.protocol.plain.rows import PlainRow, fence_of, owned, parse, same
from crossfade.core.replication.change import Change
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Direction
from crossfade.ports.control import DeadLetters
from crossfade.ports.plain_table import PlainTable
from crossfade.runtime.retry import persist
from crossfade_replicator.letters import SETTLING, name_of
from crossfade_replicator.plain.letters import rows_in

log = structlog.get_logger()


class Answered:
    """Lets letters of one direction go."""

    def __init__(self, mapping: Mapping, direction: Direction, letters: DeadLetters, standby: PlainTable) -> None:
        """Take the store, and the table that the letters' records could not be applied to."""
        self._mapping, self._direction = mapping, direction
        self._letters, self._standby = letters, standby
        self._shape = mapping.shape(direction.destination)
        self._unrecorded: dict[Key, list[tuple[DeadLetter, PlainRow | None]]] = {}

    async def look(self) -> int:
        """Let letters go whose row has passed them; read which ones a record may answer. Returns how many went."""
        found: dict[Key, list[tuple[DeadLetter, PlainRow | None]]] = {}
        for each in await self._letters.all(code=UNRECORDED):
            if each.consumer == self._direction.value:
                try:
                    found.setdefault(each.key, []).append((each, self._row(each)))
                except PoisonRecord as error:
                    log.warning("a letter that no record can answer", letter=name_of(each), error=str(error))
        self._unrecorded = found
        return await self._drop_passed()

    async def _drop_passed(self) -> int:
        waiting = [
            each
            for code in SETTLING
            for each in await self._letters.all(code=code)
            if each.consumer == self._direction.value and each.version is not None
        ]
        gone = 0
        for each, image in zip(waiting, await self._rows([each.key for each in waiting]), strict=True):
            fence = None if image is None else _fence(image)
            if fence is not None and fence >= (each.version or 0):
                await self._letters.remove(each)
                gone += 1
        return gone

    async def _rows(self, keys: Sequence[Key]) -> list[Image | None]:
        found = await self._standby.read_many(list(dict.fromkeys(keys))) if keys else {}
        return [found.get(key) for key in keys]

    async def shown(self, changes: Sequence[Change]) -> int:
        """Let letters go whose row a record shows as it was before the change. Returns how many went."""
        gone = 0
        for change in changes if self._unrecorded else ():
            for pair in list(self._unrecorded.get(change.key, ())):
                if self._shows(change, pair[1]):
                    await persist(partial(self._letters.remove, pair[0]))
                    self._unrecorded[change.key].remove(pair)
                    log.info("a record has shown the row of a letter", key=change.key.decode())
                    gone += 1
        return gone

    def note(self, each: DeadLetter) -> None:
        """Take note of a letter that this process has just written."""
        self._unrecorded.setdefault(each.key, []).append((each, self._row(each)))

    def _shows(self, change: Change, row: PlainRow | None) -> bool:
        try:
            old = change.old
            before = None if old is None else parse(self._mapping.carry(self._direction, old), self._shape)
            return same(owned(before), row)
        except PoisonRecord:
            return False

    def _row(self, each: DeadLetter) -> PlainRow | None:
        image = rows_in(each).get(self._shape.table)
        return None if image is None else owned(parse(image, self._shape))


def _fence(image: Image) -> int | None:
    try:
        return fence_of(image)
    except PoisonRecord:
        return None
