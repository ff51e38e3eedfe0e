"""What a migration leaves in rows: `crossfade clean` takes Crossfade's attributes and tombstones out of them, and
`crossfade retire` deletes the migrated rows of a shared source (ADR 0045).

Both look at whole tables, page by page, and write on the condition that the row is still what was read. So they can be
stopped at any moment and run again: what has been done is not found again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from crossfade.core.mapping.interface import Mapping as MigrationMapping
from crossfade.core.migration.phases import Phase
from crossfade.core.migration.state import Migration
from crossfade.core.protocol.plain.rows import fence_of, is_tombstone, parse, same
from crossfade.core.protocol.row import Row
from crossfade.core.replication.change import decode_change
from crossfade.core.values.errors import ConfigError, PoisonRecord, StoreUnavailable
from crossfade.core.values.image import PROTOCOL_PREFIX, Image, encode_image
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade.ports.plain_table import PlainTable
from crossfade.ports.streams import StreamReader
from crossfade.runtime.pace import Pace

UNIT_BYTES: Final = 1024
"""Of one write unit; a delete and an update cost by the size of the row (aws-facts.md)."""

PAGE: Final = 1000
MAX_CALLS: Final = 10_000
NAMED: Final = 5

MOST_ATTRIBUTES: Final = 250
"""Of a row that can be deleted on the condition that each is as it was read: an expression has 4,096 bytes."""


@dataclass
class Done:
    """What was found and done in one table.

    Attributes:
        rows: read that belong to the migration.
        found: of those, with something to do.
        tombstones: of these, the deleted ones.
        written: rows changed or deleted.
        kept: rows that stay, with the reason; the first ones are named.
        write_units: what the writes cost, or would.
    """

    rows: int = 0
    found: int = 0
    tombstones: int = 0
    written: int = 0
    kept: int = 0
    write_units: int = 0
    named: list[str] = field(default_factory=list)

    def keep(self, key: Key, because: str) -> None:
        """Count a row that stays."""
        self.kept += 1
        if len(self.named) < NAMED:
            self.named.append(f"{key.decode()}: {because}")

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return dict(vars(self))


def sides_to_clean(state: Migration) -> tuple[Side, ...]:
    """Return the tables whose rows need Crossfade's attributes no more.

    Raises:
        ConfigError: a standby's fences are in use; the message says when they won't be.
    """
    if state.phase in state.table.finished:
        return tuple(Side)
    if not state.table.flags and state.phase is Phase.BOTH_WAYS and "opened" in state.facts:
        return (Side.SOURCE,)  # it owns again, and nothing of ours means anything on an owner
    raise ConfigError(
        f"clean is not possible in {state.phase.value}: copies go by these attributes. It is after COMPLETE or "
        "ABORTED, and under the plain protocol for the source table in BOTH_WAYS after a rollback"
    )


def check_retire(state: Migration) -> None:
    """Make sure that the source's rows are nobody's any more.

    Raises:
        ConfigError: they are, or may be again.
    """
    if state.phase is not Phase.COMPLETE:
        raise ConfigError(
            f"retire is not possible in {state.phase.value}, only in COMPLETE: until then the rows are the way back"
        )


async def clean(table: PlainTable, *, pace: Pace, execute: bool, told: Callable[[Done], None]) -> Done:
    """Take Crossfade's attributes out of a table's rows, and its tombstones out of the table.

    Args:
        table: whose rows they are.
        pace: rows a second that are written.
        execute: whether to write; else only what would be written is counted.
        told: called after each page.
    """
    done = Done()
    async for key, image in _rows(table, done, told):
        fence = fence_of(image)
        if fence is None:
            continue  # the fence is what says that a row was Crossfade's
        done.found += 1
        done.write_units += _units(image)
        dead = is_tombstone(image, table.shape)
        done.tombstones += dead
        if not execute:
            continue
        await pace.take(1)
        names = [name for name in image if name.startswith(PROTOCOL_PREFIX)]
        is_written = (
            await table.delete_tombstone(key, fence=fence) if dead else await table.strip(key, names, fence=fence)
        )
        done.written += is_written
        if not is_written:
            done.keep(key, "it was changed meanwhile: run clean again")
    return done


async def retire(
    table: PlainTable,
    *,
    mapping: MigrationMapping,
    keep: Collection[Key],
    changed: Collection[Key],
    pace: Pace,
    execute: bool,
    told: Callable[[Done], None],
) -> Done:
    """Delete the migrated rows of the source table; what others wrote since, and what never moved, stays.

    Args:
        table: the source.
        mapping: of the migration; says which rows belong.
        keep: keys that were left out of the migration.
        changed: keys that were written to since COMPLETE (`written_since`).
        pace, execute, told: as of `clean`.
    """
    done = Done()
    reader, rows = mapping.protocol.reader(table.shape), mapping.protocol.rows(complete=True)
    async for key, image in _rows(table, done, told):
        row: Row | None = None
        try:
            row = reader.row(image)
        except PoisonRecord as error:
            done.keep(key, f"it can't be read: {error}")
            continue
        if key in keep or rows.is_held_out(row):
            done.keep(key, "it was left out of the migration, and is the only one")
            continue
        if key in changed:
            done.keep(key, "it was written to after COMPLETE")
            continue
        if len(image) > MOST_ATTRIBUTES:
            done.keep(key, f"it has {len(image)} attributes, too many for a condition on each")
            continue
        done.found += 1
        done.write_units += _units(image)
        if not execute:
            continue
        await pace.take(1)
        is_gone = await table.delete(image)
        done.written += is_gone
        if not is_gone:
            done.keep(key, "it was changed while it was being deleted")
    return done


async def written_since(shards: StreamReader, stream: str, mapping: MigrationMapping, *, at_s: float) -> frozenset[Key]:
    """Return the keys of the source whose content was changed since a moment, by its stream.

    Args:
        shards: reads streams.
        stream: the source's.
        mapping: of the migration.
        at_s: of arrival, seconds since the epoch.

    Raises:
        StoreUnavailable: the stream's end was not reached.
        ConfigError: a record can't be read, so that its key is unknown.
    """
    shape, found = mapping.shape(Side.SOURCE), set()
    for shard in await shards.list_shards(stream):
        iterator: str | None = await shards.shard_iterator(stream, shard.shard_id, at_s=at_s)
        for _ in range(MAX_CALLS):
            if iterator is None:
                break
            fetched = await shards.get_records(iterator, PAGE)
            for record in fetched.records:
                try:
                    change = decode_change(record.data, shape.key)
                    if change.new is not None and not _is_ours(change.new, change.old, mapping):
                        found.add(change.key)
                except PoisonRecord as error:
                    raise ConfigError(
                        f"a record of {stream} can't be read, so that its key is unknown: {error}"
                    ) from error
            iterator = fetched.next_iterator
            if fetched.behind_ms == 0 and len(fetched.records) < PAGE:
                break
        else:
            raise StoreUnavailable(f"{stream} {shard.shard_id}: end not reached after {MAX_CALLS} reads")
    return frozenset(found)


def _is_ours(new: Image, old: Image | None, mapping: MigrationMapping) -> bool:
    """Say whether a change left the content as it was: `clean` makes such."""
    shape = mapping.shape(Side.SOURCE)
    return old is not None and same(parse(new, shape), parse(old, shape))


async def _rows(table: PlainTable, done: Done, told: Callable[[Done], None]) -> AsyncIterator[tuple[Key, Image]]:
    start: bytes | None = None
    while True:
        page = await table.scan_page(start=start)
        for key, image in page.rows:
            done.rows += 1
            yield key, image
        told(done)
        start = page.next
        if start is None:
            return


def _units(image: Mapping[str, Any]) -> int:
    return -(-len(encode_image(image)) // UNIT_BYTES)
