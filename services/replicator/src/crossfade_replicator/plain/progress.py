"""How far the other direction's consumer is, and what the owner's stream says of a moment (ADR 0044)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from crossfade.contracts.report import Report
from crossfade.core.replication.change import Change, decode_change
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.keys import Key
from crossfade.ports.clock import Clock
from crossfade.ports.streams import StreamReader

LOOK_S: Final = 0.25
"""Between two looks at the reports."""

SETTLE_S: Final = 3.0
"""How long a write may take from its table to the stream, as a rule; a record may also come minutes later."""

MARGIN_S: Final = 5.0
"""How long before a moment its stream is read from."""

PAGE: Final = 1000
READS: Final = 200
"""GetRecords of one shard, until its tip must have been reached."""


class Reported(Protocol):
    """What of `crossfade.ports.control.Reports` is needed."""

    async def all(self) -> list[Report]:
        """Return the last report of each consumer and shard."""
        ...


class Progress:
    """Waits until a consumer has applied all that was written before the call. By the consumer's own clock alone."""

    def __init__(
        self,
        reports: Reported,
        consumer: str,
        streams: StreamReader,
        stream: str,
        clock: Clock,
        *,
        settle_s: float = SETTLE_S,
    ) -> None:
        """Take the reports, whose are looked at, and the stream that it reads."""
        self._reports, self._consumer, self._clock, self._settle_s = reports, consumer, clock, settle_s
        self._streams, self._stream = streams, stream

    async def is_past_now(self) -> None:
        """Return when everything that was written before this call has been applied, as far as streams say.

        A report is of after the call if it is the second one of its shard that the call didn't find. Of shards that
        were split or merged only the last ones count: none is read before its parents are.

        Raises:
            StoreUnavailable: the reports can't be read.
        """
        found = {each.shard: [each.at_us] for each in await self._now()}
        while True:
            await self._clock.sleep(LOOK_S)
            reports = await self._now()
            for each in reports:
                seen = found.setdefault(each.shard, [0])
                if each.at_us != seen[-1]:
                    seen.append(each.at_us)
            past = {each.shard for each in reports if self._is_past(each, found[each.shard])}
            if past.issuperset(await self._last_shards()):
                return

    async def _last_shards(self) -> set[str]:
        shards = await self._streams.list_shards(self._stream)
        parents = {parent for each in shards for parent in each.parents}
        return {f"{self._stream}/{each.shard_id}" for each in shards if each.shard_id not in parents}

    async def _now(self) -> list[Report]:
        return [each for each in await self._reports.all() if each.consumer == self._consumer]

    def _is_past(self, report: Report, seen: list[int]) -> bool:
        return len(seen) > 2 and report.at_us - report.iterator_age_ms * 1000 >= seen[2] + self._settle_s * 1e6


class Witness:
    """Reads a table's stream around a moment, to say who wrote a key meanwhile."""

    def __init__(
        self, streams: StreamReader, stream: str, key_names: Sequence[str], now_s: Callable[[], float]
    ) -> None:
        """Take the stream, the names of its table's key, and the time by which it dates arrivals."""
        self._streams, self._stream, self._key_names, self._now_s = streams, stream, key_names, now_s

    def moment_s(self) -> float:
        """Return a moment to begin from."""
        return self._now_s() - MARGIN_S

    async def changes(self, since_s: float, keys: frozenset[Key]) -> dict[Key, list[Change]] | None:
        """Return the changes of some keys that the stream has taken since a moment; None where its end wasn't reached.

        Raises:
            StoreUnavailable: the stream can't be read.
        """
        found: dict[Key, list[Change]] = {key: [] for key in keys}
        for shard in await self._streams.list_shards(self._stream):
            iterator: str | None = await self._streams.shard_iterator(self._stream, shard.shard_id, at_s=since_s)
            for _ in range(READS):
                if iterator is None:
                    break
                fetched = await self._streams.get_records(iterator, PAGE)
                for record in fetched.records:
                    self._take(record.data, found)
                iterator = fetched.next_iterator
                if fetched.behind_ms == 0 and len(fetched.records) < PAGE:
                    break
            else:
                return None
        return found

    def _take(self, payload: bytes, found: dict[Key, list[Change]]) -> None:
        try:
            change = decode_change(payload, self._key_names)
        except PoisonRecord:
            return  # its own consumer parks it
        if change.key in found:
            found[change.key].append(change)
