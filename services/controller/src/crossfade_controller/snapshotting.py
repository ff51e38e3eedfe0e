"""Export, mapping and import, as the state machine asks for them. Each may be killed and done again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from crossfade.adapters.s3_export import ExportFile, FileCounts, map_file, read_file, read_manifest
from crossfade.core.mapping.snapshot import LineMapper
from crossfade.core.migration.deeds import (
    Deed,
    Export,
    ExportSeen,
    Import,
    ImportSeen,
    LookAtExport,
    LookAtImport,
    MapFiles,
    Mapped,
)
from crossfade.core.values.errors import ConfigError
from crossfade.core.values.shape import Side
from crossfade.ports.admin import TableFacts
from crossfade_controller.context import Context
from crossfade_controller.world import World

NAMED: Final = 3
"""Rows that can't be mapped which a status names; all are in the file."""

INEXACT: Final = ".inexact.jsonl.gz"
"""Beside an export file's counts: its rows with numbers that the domain can't answer exactly."""

LISTED_BYTES: Final = 64 * 1024 * 1024
"""How much of that file is kept in memory, packed: some millions of rows."""


class Snapshots:
    """Exports, maps and imports. Belongs to the one task that drives the migration."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._unmappable: dict[str, str] = {}

    async def do(self, deed: Deed[Any]) -> Any:
        """Carry out a deed of the snapshot's; return what came of it."""
        world = self._ctx.world
        match deed:
            case Export(at_s, prefix, token):
                arn = (await self._source()).arn
                bucket = world.settings.bucket
                return await world.admin.export(arn, at_s=at_s, bucket=bucket, prefix=prefix, token=token)
            case LookAtExport(arn):
                exported = await world.admin.export_facts(arn)
                return ExportSeen(exported.status, exported.manifest, exported.failure)
            case MapFiles():
                return await self._map(deed)
            case Import(prefix, token):
                # Values of keys are the same on both sides; only the names may differ.
                shape, source = world.mapping.shape(Side.TARGET), await self._source()
                key = [(to, kind) for to, (_, kind) in zip(shape.key, source.key, strict=True)]
                bucket = world.settings.bucket
                return await world.admin.import_table(shape.table, key, bucket=bucket, prefix=prefix, token=token)
            case LookAtImport(arn):
                imported = await world.admin.import_facts(arn)
                table = await world.admin.table(world.mapping.shape(Side.TARGET).table)
                is_active = table is not None and table.status == "ACTIVE"
                return ImportSeen(imported.status, imported.imported, imported.errors, imported.failure, is_active)
        raise NotImplementedError(f"nobody does {deed}")

    async def _source(self) -> TableFacts:
        name = self._ctx.world.mapping.shape(Side.SOURCE).table
        table = await self._ctx.world.admin.table(name)
        if table is None:
            raise ConfigError(f"there is no table {name}")
        return table

    async def _map(self, deed: MapFiles) -> Mapped:
        world = self._ctx.world
        stopped = self._unmappable.get(deed.destination)
        if stopped is not None:  # until a restart, which may bring another mapping, or another choice of rows
            return Mapped(stopped)
        counts, listed = await _map_files(world, await read_manifest(world.objects, deed.manifest), deed.destination)
        if counts.unmappable:
            self._unmappable[deed.destination] = await _unmappable(world, counts, listed, deed.unmappable)
            return Mapped(self._unmappable[deed.destination])
        await self._ctx.reserve(counts.highest_generation, "rows of an earlier migration")
        files_of_them = f"s3://{world.settings.bucket}/{_notes(deed.destination)}*{INEXACT}"
        listing = {"inexact_files": files_of_them} if counts.inexact else {}
        return Mapped("", {**counts.as_json(), **listing})


def _notes(target: str) -> str:
    """Return where what became of each file is noted: not among the import files, since all of those are imported."""
    return target.replace("/import-", "/mapped-")


async def _unmappable(world: World, counts: FileCounts, listed: bytes, key: str) -> str:
    """Write a file of all rows that can't be mapped, over the one of an earlier try; say where it is, and the cures."""
    await world.objects.put(key, listed)
    return (
        f"{counts.unmappable} rows can't be mapped: {'; '.join(counts.samples[:NAMED])}. All of them, with their "
        f"reasons: s3://{world.settings.bucket}/{key}. Correct the rows, then: crossfade start --fresh-export "
        "--execute; or correct the mapping and restart the controller; or leave rows out: crossfade start "
        "--exclude-from FILE --execute"
    )


async def _map_files(world: World, files: Sequence[ExportFile], target: str) -> tuple[FileCounts, bytes]:
    """Map those files that are not mapped yet; each leaves its counts beside the import files when it is done.

    Returns:
        What became of all rows; and a gzip file of those that can't be mapped, up to `LISTED_BYTES`.
    """
    mapper = LineMapper(world.mapping, frozenset(world.excluded))
    objects = world.objects
    limit = asyncio.Semaphore(world.settings.map_at_once)
    listed: list[bytes] = []

    async def one(number: int, file: ExportFile) -> FileCounts:
        note = f"{_notes(target)}{number:06d}"
        async with limit:
            known = await objects.get(f"{note}.json")
            if known is not None:
                counts = FileCounts.of_json(msgspec.json.decode(known))
                if not counts.unmappable:  # the mapping may have been fixed since
                    return counts
            body = await read_file(objects, file)
            mapped = await asyncio.to_thread(map_file, body, file, mapper)
            if mapped.counts.mapped:
                await objects.put(f"{target}{number:06d}.json.gz", mapped.body)
            if mapped.inexact:
                await objects.put(note + INEXACT, mapped.inexact)
            await objects.put(f"{note}.json", msgspec.json.encode(mapped.counts.as_json()))
            if sum(map(len, listed)) < LISTED_BYTES:
                listed.append(mapped.unmappable)
            return mapped.counts

    total = FileCounts()
    for counts in await asyncio.gather(*(one(number, file) for number, file in enumerate(files))):
        total = total.plus(counts)
    return total, b"".join(listed)
