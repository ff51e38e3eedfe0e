"""Fills a target table by writes, where an import can't: one with local indexes, one that exists, a shared one.

Each row goes as an insert that an existing row refuses, so that nothing is overwritten, whoever wrote it, and every row
is safe to send again. Under the plain protocol the process that writes is a member meanwhile (`Membership`): a request
of it may come late, and a flip has to know.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from functools import partial
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
from msgspec import Raw

from crossfade.adapters.s3_export import SAMPLES, GzipLines, Listing, listing
from crossfade.adapters.wire.errors import UNFIT
from crossfade.application.membership import Membership
from crossfade.core.mapping.interface import Mapping
from crossfade.core.mapping.loading import Landing, landing
from crossfade.core.values.errors import OwnershipAmbiguous, PoisonRecord, StoreRefused, Throttled
from crossfade.core.values.image import decode_image
from crossfade.core.values.keys import Key, encode_key
from crossfade.core.values.shape import Direction, Side
from crossfade.ports.admin import Objects
from crossfade.ports.clock import Clock
from crossfade.ports.raw_rows import RawRows
from crossfade.runtime.pace import Pace
from crossfade_controller.file_run import FileRun, Files, Work

IN_FLIGHT: Final = 25
"""Inserts sent at the same time; a member can acknowledge a seal between two lots of them."""

BACK_OFF_S: Final = 1.0
"""Pause of a row that the table is too busy to take; the client has backed off several times by then."""

OTHERS: Final = ".other.jsonl.gz"
"""Beside a file's counts: its rows for which another one stands there."""


class Loader(NamedTuple):
    """Writes rows of the target table.

    Attributes:
        rows: the table's.
        turn: entered around each lot of writes: it waits until writes are permitted.
    """

    rows: RawRows
    turn: Callable[[], AbstractAsyncContextManager[Any]]


OpenLoader: TypeAlias = Callable[[], AbstractAsyncContextManager[Loader]]
"""Makes a loader, and closes it."""


@asynccontextmanager
async def freely(rows: RawRows) -> AsyncIterator[Loader]:
    """Write under the keyed protocol: its rows say who owns them, and a late insert meets a row."""
    yield Loader(rows, nullcontext)


@asynccontextmanager
async def as_member(membership: Membership, rows: RawRows) -> AsyncIterator[Loader]:
    """Write under the plain protocol: register, read the map, write, leave.

    Args:
        membership: of this process, for its life.
        rows: of the table; its requests are subject to the membership (`Wire(permit=…)`).
    """
    await membership.beat()
    beating = asyncio.create_task(membership.run())
    try:
        yield Loader(rows, partial(_turn, membership))
    finally:
        beating.cancel()
        with suppress(asyncio.CancelledError):
            await beating
        await membership.leave()


@asynccontextmanager
async def _turn(membership: Membership) -> AsyncIterator[None]:
    async with membership.working() as view:
        if view.owner is not Side.SOURCE:
            raise OwnershipAmbiguous("the target table owns the rows: nothing of a snapshot may be written to it")
        yield


class LoadCounts(NamedTuple):
    """What became of the rows of a file.

    Attributes:
        written: inserted.
        there: the same row stood there: an earlier try's.
        newer: a copy of a later state stood there.
        other: another row stands there, or the table would never take this one; it was not touched.
        samples: key and reason of the first of those.
    """

    written: int = 0
    there: int = 0
    newer: int = 0
    other: int = 0
    samples: tuple[str, ...] = ()

    def plus(self, other: LoadCounts) -> LoadCounts:
        """Add up two files."""
        return LoadCounts(
            self.written + other.written,
            self.there + other.there,
            self.newer + other.newer,
            self.other + other.other,
            (self.samples + other.samples)[:SAMPLES],
        )

    def as_json(self) -> dict[str, Any]:
        """Return the counts as evidence."""
        return {**self._asdict(), "samples": list(self.samples)}

    @classmethod
    def of_json(cls, body: dict[str, Any]) -> LoadCounts:
        """Read what `as_json` gave."""
        return cls(**{**body, "samples": tuple(body["samples"])})


class _Line(msgspec.Struct):
    Item: Raw


_decode = msgspec.json.Decoder(_Line).decode


class FileLoader:
    """Loads import files, one by one."""

    def __init__(self, objects: Objects, mapping: Mapping, loader: Loader, pace: Pace, clock: Clock) -> None:
        """Take the bucket, the mapping, what writes, how fast it may, and the clock."""
        self._objects, self._mapping, self._loader = objects, mapping, loader
        self._pace, self._clock = pace, clock
        self._key = mapping.shape(Side.TARGET).key

    async def load(self, key: str, others: str) -> LoadCounts:
        """Load a file.

        Args:
            key: of the import file.
            others: key of the list of rows for which another one stands there; not written when there is none.

        Raises:
            SnapshotBroken: the file is missing or damaged.
            CrossfadeError: the table can't be written; what was written stays, and is found by the next try.
        """
        lines, counts = GzipLines(key), dict.fromkeys(Landing, 0)
        with listing() as found:
            async for piece in self._objects.read(key):
                for block in lines.feed(piece):
                    await self._block(block, counts, found)
            for block in lines.end():
                await self._block(block, counts, found)
            await self._objects.write(others, found.pieces())
            return LoadCounts(
                counts[Landing.WRITTEN],
                counts[Landing.THERE],
                counts[Landing.NEWER],
                counts[Landing.OTHER],
                found.samples,
            )

    async def _block(self, block: bytes, counts: dict[Landing, int], others: Listing) -> None:
        rows = [bytes(_decode(line).Item) for line in block.split(b"\n") if line]
        for first in range(0, len(rows), IN_FLIGHT):
            lot = rows[first : first + IN_FLIGHT]
            await self._pace.take(len(lot))
            async with self._loader.turn():
                landed = await asyncio.gather(*map(self._insert, lot))
            for row, (what, because) in zip(lot, landed, strict=True):
                counts[what] += 1
                if what is Landing.OTHER:
                    others.add(self._source_key(row), because)

    def _source_key(self, row: bytes) -> Key:
        """Return the source's key of a row, as people know it."""
        image = decode_image(row)
        key = encode_key(image, self._key)
        try:
            return self._mapping.other_key(Direction.REVERSE, key, image)
        except PoisonRecord:
            return key

    async def _insert(self, row: bytes) -> tuple[Landing, str]:
        while True:
            try:
                met = await self._loader.rows.insert(row)
            except Throttled:
                await self._clock.sleep(BACK_OFF_S)
                continue
            except StoreRefused as error:
                if error.reason not in UNFIT:
                    raise
                return Landing.OTHER, f"the table would never take it: {error}"
            what = landing(self._mapping, decode_image(row) if met is not None else {}, met)
            return what, "another row of this key stands there" if what is Landing.OTHER else ""


async def load_run(
    objects: Objects,
    prefix: str,
    load: Callable[[], AbstractAsyncContextManager[FileLoader]],
    *,
    is_held: Callable[[], bool],
) -> FileRun[LoadCounts]:
    """Begin to load the import files of a prefix; those that were loaded before, without another row in the way, aren't
    loaded again.
    """
    mapped, folder = prefix.replace("/import-", "/mapped-"), prefix.replace("/import-", "/loaded-")
    keys = await objects.keys(prefix)
    names = [key.removeprefix(prefix).removesuffix(".json.gz") for key in keys]
    rows = [await _rows_of(objects, f"{mapped}{name}.json") for name in names]

    @asynccontextmanager
    async def by_number() -> AsyncIterator[Work[LoadCounts]]:
        async with load() as files:
            yield lambda number: files.load(keys[number], f"{folder}{names[number]}{OTHERS}")

    notes = [f"{folder}{name}.json" for name in names]
    of_them = Files(folder, notes, rows, LoadCounts.of_json, lambda counts: not counts.other)
    return FileRun(objects, of_them, by_number(), at_once=1, is_held=is_held)


async def _rows_of(objects: Objects, note: str) -> int:
    body = await objects.get(note)
    return 0 if body is None else int(msgspec.json.decode(body)["mapped"])


def loaded(counts: Sequence[LoadCounts]) -> LoadCounts:
    """Add up the counts of all files."""
    total = LoadCounts()
    for each in counts:
        total = total.plus(each)
    return total
