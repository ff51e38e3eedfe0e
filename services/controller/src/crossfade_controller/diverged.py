"""Keys whose rows hold different things at one version: no copy overwrites either (ADR 0017).

A plain writer that knows no versions leaves the standby at its owner's version with another content. The sweeper looks
before it hands such a key over: the key stays where it is, and both images are parked in a letter, until the rows agree
again or an operator discards the letter. What is written between this look and the activation is in the stream, where
its consumer parks it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Final, NamedTuple

import msgspec
from msgspec import Raw

from crossfade.contracts.letter import DIVERGED, DeadLetter
from crossfade.core.mapping.interface import Mapping as MigrationMapping
from crossfade.core.protocol.row import Row, same_content
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.image import encode_image
from crossfade.core.values.keys import Key, key_image
from crossfade.core.values.shape import Direction, Side
from crossfade.ports.clock import Clock
from crossfade.ports.control import DeadLetters
from crossfade.ports.table import RowTable

NAME: Final = "diverged"
"""Stands for the shard in the name of such a letter."""

CONSUMERS: Final = {Side.SOURCE: "forward", Side.TARGET: "reverse"}
"""The consumer of each table's stream: it parks strays on the table, and so are these parked."""

REASON: Final = (
    "both rows have the same version but different content: a writer outside the protocol changed one of them"
)
CURE: Final = (
    "Stop the writer, then look at both images: `replicator dead-letters show {name}`. Write the correct values "
    "through the API, or discard the letter; the owner's row then overwrites the other one."
)


class Rows(NamedTuple):
    """Both rows of a key, each in its own table's names."""

    owner: Row
    standby: Row


def differ(mapping: MigrationMapping, origin: Side, rows: Rows) -> bool:
    """Say whether a standby has its owner's version and another content.

    An unstamped pair is never compared: its versions are commit times of two tables.

    Args:
        mapping: of the migration.
        origin: the owner's side.
        rows: of the key.
    """
    reader = mapping.protocol.rows()
    version = reader.version_of(rows.owner)
    if not reader.is_ordered(version) or reader.version_of(rows.standby) != version:
        return False
    source, target = (rows.owner, rows.standby) if origin is Side.SOURCE else (rows.standby, rows.owner)
    try:
        return not same_content(mapping.map_item(Direction.FORWARD, source), target)
    except PoisonRecord:
        return origin is Side.TARGET  # a source owner that doesn't map stays anyway; a standby that doesn't was changed


class DivergedKeys:
    """Holds keys back, each in a letter."""

    def __init__(
        self,
        tables: Mapping[Side, RowTable],
        mapping: MigrationMapping,
        letters: DeadLetters,
        is_discarded: Callable[[str], bool],
        *,
        clock: Clock,
    ) -> None:
        """Take the ports.

        Args:
            tables: both sides.
            mapping: of the migration.
            letters: where such keys are parked.
            is_discarded: whether an operator discarded the letter of this name: then the owner's row may overwrite the
                other one, as long as both are what the letter shows.
            clock: dates the letters.
        """
        self._tables, self._mapping, self._letters = tables, mapping, letters
        self._clock = clock
        self._is_discarded = is_discarded

    async def hold(self, origin: Side, rows: Mapping[Key, Rows]) -> set[Key]:
        """Park the keys that differ; return them: they stay where they are."""
        held = set()
        for key, pair in rows.items():
            if differ(self._mapping, origin, pair):
                letter = self._letter(key, origin, pair)
                if not self._is_discarded(name_of(letter)):
                    await self._letters.park(letter)
                    held.add(key)
        return held

    async def drop_agreed(self) -> int:
        """Take out the letters of keys that agree again, or have moved on; return how many."""
        letters = [each for each in await self._letters.all(code=DIVERGED) if each.sequence.startswith(NAME)]
        if not letters:
            return 0
        keys = list({each.key for each in letters})
        found = {side: await self._tables[side].read_many(keys) for side in Side}
        gone = 0
        for letter in letters:
            standby = next(side for side, consumer in CONSUMERS.items() if consumer == letter.consumer)
            owner, other = found[standby.other].get(letter.key), found[standby].get(letter.key)
            if owner is None or other is None or self._is_another(letter, standby.other, Rows(owner, other)):
                await self._letters.remove(letter)
                gone += 1
        return gone

    def _is_another(self, letter: DeadLetter, origin: Side, rows: Rows) -> bool:
        if not differ(self._mapping, origin, rows):
            return True
        return self._letter(letter.key, origin, rows).sequence != letter.sequence

    def _letter(self, key: Key, origin: Side, rows: Rows) -> DeadLetter:
        mapping, standby = self._mapping, origin.other
        images = {}
        for side, item in ((origin, rows.owner), (standby, rows.standby)):
            shape = mapping.shape(side)
            images[shape.table] = Raw(encode_image(mapping.protocol.image(item, shape, key_image(key, shape.key))))
        payload = msgspec.json.encode({"owner": mapping.shape(origin).table, "images": images})
        now_us = self._clock.wall_us()
        sequence = f"{NAME}:{sha256(key).hexdigest()[:32]}-{sha256(payload).hexdigest()[:32]}"
        letter = DeadLetter(
            consumer=CONSUMERS[standby],
            sequence=sequence,
            key=key,
            version=rows.owner.version,
            reason=REASON,
            code=DIVERGED,
            payload=payload,
            trace="",
            at_us=now_us,
            table=mapping.shape(standby).table,
        )
        return letter.replace(cure=CURE.format(name=name_of(letter)))


def name_of(letter: DeadLetter) -> str:
    """Return the name by which the replicator's tools call a letter."""
    return f"{letter.consumer}/{letter.sequence}"
