"""One key, now: both rows read consistently and shown side by side, with what the difference means and what to do.

A spot never turns the verdict, and calls nothing. The time that it gives a key to have been behind is the least that is
known: since a record of the owner's version was heard, or the key was looked at before.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Final, NamedTuple, cast

from msgspec import Raw

from crossfade.contracts.key import (
    AttributeReport,
    CalledReport,
    ChangeReport,
    KeyReport,
    RowReport,
    SideName,
    StreamReport,
)
from crossfade.core.parity.classes import Difference, Pair, Reading, owner_agrees
from crossfade.core.parity.meaning import ABSENT, BY_PLAN, FLIPPING, MEANS, MEANS_BY_MAP, MOVING, cure_of
from crossfade.core.protocol.row import Row
from crossfade.core.protocol.seam import RowReader
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade.ports.clock import Clock
from crossfade_verifier.both import BothTables
from crossfade_verifier.heard import Heard, Record, text_of
from crossfade_verifier.keytext import short_of
from crossfade_verifier.masking import shown
from crossfade_verifier.reading.digests import bucket_of
from crossfade_verifier.reading.judging import differing
from crossfade_verifier.reading.rows import ATTRIBUTES, Seen
from crossfade_verifier.settings import Settings
from crossfade_verifier.tails import Tail

TRIES: Final = 3
"""Rounds of reads, until the owner doesn't change between them."""

LOOKED: Final = 1_000
"""Keys of which is remembered since when they have been seen to differ."""

_TRACE: Final = re.compile(rb'"trace": ?\{"S": ?"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}"\}')
"""A W3C trace context in a row's events. Another text there isn't shown: it may be a customer's."""

TTL: Final = "TTL"
"""How the value of either table's TTL attribute is called, side by side."""


class _Compared(NamedTuple):
    """What comparing two rows says.

    Attributes:
        late: the class that the key has once the bound has passed; None when the owner changed each time.
        differs: names of what differs.
        attributes: of both rows, side by side.
        cause: why the other table refuses the key, if it is held out.
    """

    late: Difference | None
    differs: Sequence[str]
    attributes: Sequence[AttributeReport]
    cause: str


class Spot:
    """Looks at keys."""

    def __init__(
        self,
        both: BothTables,
        heard: Heard,
        tails: Mapping[Side, Tail],
        called: Callable[[Key], Sequence[CalledReport]],
        settings: Settings,
        *,
        complete: Callable[[], bool],
        clock: Clock,
    ) -> None:
        """Take what is looked at.

        Args:
            both: both tables.
            heard: the last change records.
            tails: the reading of both streams.
            called: what the modes have called a key.
            settings: of the process.
            complete: what the flag document says.
            clock: of the process.
        """
        self._both, self._heard, self._tails, self._called = both, heard, tails, called
        self._settings, self._complete, self._clock = settings, complete, clock
        self._differs_since: OrderedDict[Key, tuple[Side, int, float]] = OrderedDict()

    async def look(self, key: Key, *, reveal: bool = False) -> KeyReport:
        """Read a key and say what it is.

        Args:
            key: encoded, of the migration.
            reveal: whether to show values.

        Raises:
            CrossfadeError: a table can't be read.
        """
        rows = self._both.rows(complete=self._complete())
        reading, is_settled = await self._read(key, rows)
        # Rows may be large and nested: comparing them for people doesn't hold the event loop.
        last = self._last(key, reading.side) if self._both.is_plain else 0
        compared = await asyncio.to_thread(self._compared, key, reading, rows, reveal, last)
        if not is_settled:
            compared = compared._replace(late=None)
        return self._report(key, reading, compared, rows, masked=not reveal)

    async def _read(self, key: Key, rows: RowReader) -> tuple[Reading, bool]:
        """Read owner, standby and owner again; again, if the owner changed meanwhile.

        Returns:
            The reads, and whether no flip was under way.
        """
        view = await self._both.look()
        side = view.owner
        reading = await self._once(key, side)
        for _ in range(TRIES):
            if owner_agrees(reading, rows):
                break
            side = rows.owner_of(*_pair(reading)) or side
            reading = await self._once(key, side)
        return reading, view.is_open and await self._both.look() == view

    async def _once(self, key: Key, side: Side) -> Reading:
        read = self._both.read
        first = (await read(side, [key])).get(key)
        standby = (await read(side.other, [key])).get(key)
        return Reading(side, first, standby, (await read(side, [key])).get(key))

    def _compared(self, key: Key, reading: Reading, rows: RowReader, reveal: bool, last: int) -> _Compared:
        """Compare both rows; in a thread, so that it touches nothing that others write."""
        pair = _pair(reading)
        late = self._both.classify(reading, rows, last=last)
        names = _differing(pair, by_map=self._both.is_plain)
        cause = self._both.why_refused(key, pair) if late is Difference.HELD_OUT else ""
        return _Compared(late, names, self._attributes(pair, set(names), reveal), cause)

    def _last(self, key: Key, side: Side) -> int:
        """Return the commit time of a side's last change record of a key that is remembered; 0 for none."""
        return max((each.committed_us for each in self._heard.of(key, side)), default=0)

    def _called_now(
        self, key: Key, reading: Reading, late: Difference | None, rows: RowReader, called: Sequence[CalledReport]
    ) -> tuple[Difference | None, float | None]:
        """Return the class, and for how long the key is known to differ; None where it doesn't."""
        if late is None or late is Difference.EQUAL:
            self._differs_since.pop(key, None)
            return late, None
        now_s = self._clock.monotonic()
        by_map = self._both.is_plain
        version = self._last(key, reading.side) if by_map else rows.version_of(reading.owner_again)
        behind_s = now_s - self._since_s(key, reading.side, version, now_s)
        known = behind_s >= self._settings.in_flight_bound_s or any(each.found == late.value for each in called)
        return late if known or late not in BY_PLAN else Difference.IN_FLIGHT, behind_s

    def _since_s(self, key: Key, side: Side, version: int, now_s: float) -> float:
        """Return since when the owner is known to be at this version, while the standby differs; monotonic."""
        before = self._differs_since.pop(key, None)
        known = [now_s] if before is None or before[:2] != (side, version) else [before[2]]
        if version:
            known += [each.heard_s for each in self._heard.of(key, side) if self._is_of(each, version)]
        since_s = min(known)
        self._differs_since[key] = (side, version, since_s)
        if len(self._differs_since) > LOOKED:
            self._differs_since.popitem(last=False)
        return since_s

    def _is_of(self, record: Record, version: int) -> bool:
        return record.committed_us == version if self._both.is_plain else text_of(record.version) == str(version)

    def _report(self, key: Key, reading: Reading, compared: _Compared, rows: RowReader, *, masked: bool) -> KeyReport:
        pair, called = _pair(reading), self._called(key)
        found, behind_s = self._called_now(key, reading, compared.late, rows, called)
        owner = rows.owner_of(*pair)
        return KeyReport(
            key=key.decode(),
            short=short_of(key),
            bucket=bucket_of(key, self._settings.buckets),
            at_us=str(self._clock.wall_us()),
            found=(found or Difference.IN_FLIGHT).value,
            means=self._meaning(found, pair),
            cure="look again" if found is None else cure_of(found, key),
            settled=found is not None,
            owner=None if owner is None or pair == (None, None) else _name(owner),
            behind_s=None if behind_s is None else round(behind_s, 3),
            source=self._row(Side.SOURCE, pair.source, rows),
            target=self._row(Side.TARGET, pair.target, rows),
            attributes=compared.attributes,
            differs=compared.differs,
            cause=compared.cause,
            streams={side.value: self._stream(key, side) for side in Side},
            called=called,
            masked=masked,
        )

    def _row(self, side: Side, row: Row | None, rows: RowReader) -> RowReport | None:
        if row is None:
            return None
        seen = cast("Seen", row)
        version = None if seen.version is None else str(seen.version)
        version = rows.described(row).get("version", version)  # on an owner's row a fence means nothing
        return RowReport(
            table=self._both.table(side).shape.table,
            role=seen.role or None,
            version=version,
            generation=str(seen.generation),
            deleted=seen.deleted,
            held_out=rows.is_held_out(row),
            ids=len(seen.ids),
            events_version=str(seen.event_version),
            trouble=seen.unreadable or seen.trouble,
            dropped=seen.dropped,
            trace=_trace_of(seen.events),
        )

    def _attributes(self, pair: Pair, differ: set[str], reveal: bool) -> list[AttributeReport]:
        declared = self._both.mapping.declared
        renamed, given_back = (
            dict(declared.moved),
            {name for side, name, _ in declared.constants if side is Side.SOURCE},
        )
        source, target = (_values(cast("Seen | None", row), given_back) for row in pair)
        ordered = sorted(source.keys() | target.keys(), key=lambda name: (name == TTL, name in ATTRIBUTES, name))
        return [
            AttributeReport(
                name=name.lstrip("\x00"),
                target_name=renamed.get(name, name.lstrip("\x00")),
                source=shown(source[name], reveal) if name in source else None,
                target=shown(target[name], reveal) if name in target else None,
                differs=name.lstrip("\x00") in differ,
            )
            for name in ordered
        ]

    def _meaning(self, found: Difference | None, pair: Pair) -> str:
        if found is None:
            return FLIPPING if self._both.is_plain else MOVING
        return ABSENT if pair == (None, None) else (MEANS_BY_MAP if self._both.is_plain else MEANS)[found]

    def _stream(self, key: Key, side: Side) -> StreamReport:
        tail, now_s = self._tails[side], self._clock.monotonic()
        reading = tail.behind_s() is not None
        began_s = max((each for each in (self._heard.since_s(side), tail.since_s) if each is not None), default=None)
        return StreamReport(
            since_s=None if began_s is None else round(now_s - began_s, 3),
            reading=reading,
            why="" if reading else tail.trouble or "its first read is under way",
            changes=[
                ChangeReport(
                    kind=each.kind.value,
                    committed_us=str(each.committed_us),
                    heard_age_s=round(now_s - each.heard_s, 3),
                    version=text_of(each.version),
                    role=text_of(each.role),
                    generation=text_of(each.generation),
                    expired=each.expired,
                )
                for each in self._heard.of(key, side)
            ],
        )


def _trace_of(events: bytes) -> str:
    """Return the trace id of the request that a row's last event is of; empty where it has none."""
    found = _TRACE.findall(events)
    return found[-1].decode() if found else ""


def _pair(reading: Reading) -> Pair:
    rows = (reading.owner_again, reading.standby)
    return Pair(*rows) if reading.side is Side.SOURCE else Pair(*reversed(rows))


def _name(side: Side) -> SideName:
    return "source" if side is Side.SOURCE else "target"


def _values(row: Seen | None, given_back: Set[str]) -> dict[str, Raw]:
    """Return all of a row's values: the mapping's in the source's names, TTL, the protocol's, and those it drops.

    Args:
        row: as it was read.
        given_back: constants of the source table, which the reading gives to a row of the target table, too.
    """
    if row is None:
        return {}
    if row.unreadable:
        return dict(row.image)
    lent = given_back if row.side is Side.TARGET else ()
    found = {name: Raw(raw) for name, raw in row.content if name not in lent}
    if row.ttl:
        found[TTL] = Raw(row.ttl)
    aside = {name: raw for name, raw in row.image.items() if name in ATTRIBUTES or name in row.dropped}
    return found | aside


def _differing(pair: Pair, *, by_map: bool = False) -> list[str]:
    """Return what two rows differ in; nothing where one is absent, since then all of it does.

    Args:
        pair: the rows.
        by_map: whether a map says who owns, and an owner's row tells no version.
    """
    source, target = (cast("Seen | None", row) for row in pair)
    if source is None or target is None:
        return []
    found = [] if source.unreadable or target.unreadable else differing(source, target)
    if by_map:
        return found
    versions = [("cf_mv", source.version != target.version), ("cf_gen", source.generation != target.generation)]
    return found + [name for name, differ in versions if differ and name not in found]
