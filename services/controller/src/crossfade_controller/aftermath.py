"""Reads a stream from a moment to its end: did anybody still write to a table that should have no owner writes?"""

from __future__ import annotations

from typing import Final

from crossfade.core.mapping.interface import Mapping
from crossfade.core.migration.deeds import Aftermath
from crossfade.core.replication.change import decode_change
from crossfade.core.values.errors import PoisonRecord, StoreUnavailable
from crossfade.core.values.shape import Side
from crossfade.ports.streams import StreamReader

PAGE: Final = 1000
"""Records of one GetRecords."""

MAX_CALLS: Final = 10_000
"""GetRecords of one shard: a stream that is written faster than it is read has no end."""


async def read_aftermath(
    shards: StreamReader,
    stream: str,
    mapping: Mapping,
    side: Side,
    *,
    since_us: int,
    margin_s: float,
    complete: bool,
    max_calls: int = MAX_CALLS,
) -> Aftermath:
    """Read all shards of a stream to the tip they have now.

    Args:
        shards: reads streams.
        stream: name of the side's change stream.
        mapping: of the migration.
        side: whose changes they are.
        since_us: commit times from here on count.
        margin_s: reading begins that much earlier: arrival and commit are of two clocks.
        complete: of the flag document.
        max_calls: GetRecords of one shard.

    Raises:
        StoreUnavailable: a shard could not be read to its end.
    """
    shape, rows = mapping.shape(side), mapping.protocol.rows(complete=complete)
    read = mapping.protocol.reader(shape).row
    records, active, samples = 0, 0, []
    for shard in await shards.list_shards(stream):
        iterator: str | None = await shards.shard_iterator(stream, shard.shard_id, at_s=since_us / 1e6 - margin_s)
        for _ in range(max_calls):
            if iterator is None:
                break
            fetched = await shards.get_records(iterator, PAGE)
            for record in fetched.records:
                records += 1
                try:
                    change = decode_change(record.data, shape.key)
                    if change.new is None or change.committed_us < since_us or not mapping.belongs(change.key):
                        continue
                    item = read(change.new)
                    # A key that was held out is at home: its clients write to it as long as they like.
                    if rows.may_leave(item, side):
                        active += 1
                        samples.append(change.key.decode())
                except PoisonRecord as error:
                    active += 1  # what can't be read may be a write: it counts
                    samples.append(f"unreadable: {error}")
            iterator = fetched.next_iterator
            if fetched.behind_ms == 0 and len(fetched.records) < PAGE:
                break
        else:
            raise StoreUnavailable(f"{stream} {shard.shard_id}: end not reached after {max_calls} reads")
    return Aftermath(records, active, tuple(samples[:10]))
