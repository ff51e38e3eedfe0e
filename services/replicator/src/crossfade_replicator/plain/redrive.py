"""Dead letters of a plain migration go through the rule once more, by a member with a duty of its own (ADR 0044)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from crossfade.contracts.letter import DeadLetter
from crossfade.core.mapping.interface import Mapping
from crossfade.core.protocol.plain.map import OwnerMap
from crossfade.core.replication.plain import PlainRule
from crossfade.core.values.errors import ConfigError, PoisonRecord
from crossfade.core.values.shape import Direction
from crossfade.ports.control import DeadLetters
from crossfade_replicator.letters import record_of
from crossfade_replicator.plain.building import Parts
from crossfade_replicator.records import Decoded, decoded
from crossfade_replicator.replay import Kept, Redriven, left_alone

DUTY = "redrive"


class KeptLetters(Kept):
    """Takes the letters of one run, and has no others."""

    async def all(self, *, limit: int = 1000, code: str = "") -> list[DeadLetter]:
        """See `crossfade.ports.control.DeadLetters`."""
        del limit, code
        return []

    async def settled(self, *, limit: int = 1000) -> list[DeadLetter]:
        """See `crossfade.ports.control.DeadLetters`."""
        del limit
        return []

    async def count(self) -> int:
        """See `crossfade.ports.control.DeadLetters`."""
        return 0

    async def remove(self, letter: DeadLetter) -> None:
        """See `crossfade.ports.control.DeadLetters`."""


class PlainRedrive:
    """Sends dead letters through the rule once more. Those that are settled leave the store."""

    def __init__(
        self,
        mapping: Mapping,
        letters: DeadLetters,
        make: Callable[[Direction, DeadLetters], Parts],
        owner_map: OwnerMap | None,
        *,
        execute: bool,
    ) -> None:
        """Put the parts together.

        Args:
            mapping: of the migration.
            letters: the store.
            make: makes a pipeline of a direction that parks its letters in a store.
            owner_map: the map now; None before there is one.
            execute: write, and let settled letters go; otherwise only decide.
        """
        self._mapping, self._letters, self._make = mapping, letters, make
        self._map, self._execute = owner_map, execute

    async def run(self) -> list[Redriven]:
        """Redrive all letters, oldest first.

        Raises:
            ConfigError: the migration has no map yet.
        """
        if self._map is None:
            raise ConfigError("the migration has no map yet: nothing has been applied that could be applied again")
        return [await self._one(each, self._map) for each in await self._letters.all()]

    async def _one(self, each: DeadLetter, now: OwnerMap) -> Redriven:
        if each.consumer not in {direction.value for direction in Direction}:
            return Redriven(each.consumer, each.sequence, False, {}, "a plain migration has no event feed")
        if reason := left_alone(each):
            return Redriven(each.consumer, each.sequence, False, {}, reason)
        direction = Direction(each.consumer)
        shard_id, kept = record_of(each)
        record = decoded(kept, self._mapping.shape(direction.origin).key)
        if not self._execute:
            return self._judged(each, direction, record, now)
        again = KeptLetters()
        parts = self._make(direction, again)
        beating = asyncio.create_task(parts.membership.run())
        try:
            outcome = await parts.pipeline.apply(shard_id, [record])
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)
            await parts.membership.leave()
        left = [letter for letter in again.letters if not letter.settled and letter.code == each.code]
        for other in again.letters:
            if other.settled or other.code != each.code:  # it has a letter of its own by now, which says what it is
                await self._letters.park(other)
        if not left:
            await self._letters.remove(each)
        counts = Counter(outcome.counts)
        told = {name: count for name, count in sorted(counts.items()) if count}
        return Redriven(each.consumer, each.sequence, not left, told, left[0].reason if left else "")

    def _judged(self, each: DeadLetter, direction: Direction, record: object, now: OwnerMap) -> Redriven:
        if not isinstance(record, Decoded):
            return Redriven(each.consumer, each.sequence, False, {}, "the record can't be read")
        try:
            decision = PlainRule(self._mapping, direction).decide(record.change, now)
        except PoisonRecord as error:
            return Redriven(each.consumer, each.sequence, False, {}, str(error))
        name = getattr(decision, "value", type(decision).__name__.lower())
        return Redriven(each.consumer, each.sequence, True, {name: 1}, "")
