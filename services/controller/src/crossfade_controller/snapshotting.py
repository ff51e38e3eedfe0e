"""Export, mapping and import, as the state machine asks for them. Each may be killed and done again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from crossfade.adapters.s3_export import FileCounts, read_manifest
from crossfade.core.mapping.indexes import target_indexes
from crossfade.core.mapping.snapshot import LineMapper
from crossfade.core.migration.deeds import (
    Deed,
    Export,
    ExportSeen,
    Import,
    ImportSeen,
    Load,
    LookAtExport,
    LookAtImport,
    MapFiles,
    Mapped,
)
from crossfade.core.migration.phases import Phase
from crossfade.core.migration.progress import Pace, Progress
from crossfade.core.values.errors import ConfigError
from crossfade.core.values.shape import Side
from crossfade.ports.admin import TableFacts
from crossfade.runtime.pace import Pace as RowPace
from crossfade_controller.context import Context
from crossfade_controller.file_run import Counts, FileRun, Held
from crossfade_controller.load_run import OTHERS, FileLoader, LoadCounts, load_run, loaded
from crossfade_controller.mapping_crew import SMALL_ROWS, Rules, here
from crossfade_controller.mapping_run import (
    REFUSED,
    Folder,
    folder_of,
    joined,
    key_of,
    listings,
    map_run,
    mark_of,
    summed,
)
from crossfade_controller.retaking import AGAIN, Retaking, left_of, retake_run, with_taken_again
from crossfade_controller.world import World

NAMED: Final = 3
"""Rows that can't be mapped which a status names; all are in the file."""

INEXACT: Final = ".inexact.jsonl.gz"
"""Beside an export file's counts: its rows with numbers that the domain can't answer exactly."""

C = TypeVar("C", bound=Counts)

WITHIN_S: Final = 0.2
"""How long a deed waits for work that goes on in the background."""


class Snapshots:
    """Exports, maps and imports. Belongs to the one task that drives the migration."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._run: FileRun[Any] | None = None
        self._outcomes: dict[tuple[str, str], Mapping[int, Any]] = {}
        self._asked: tuple[str, str] | None = None
        self._stopped: tuple[tuple[str, str], str] | None = None
        self._paces: Pace | None = None
        self._counted_s = float("-inf")
        self._rows = self._files = 0

    async def do(self, deed: Deed[Any]) -> Any:
        """Carry out a deed of the snapshot's; return what came of it."""
        ctx, world = self._ctx, self._ctx.world
        match deed:
            case Export(at_s, prefix, token):
                arn = (await self._source()).arn
                bucket = world.settings.bucket
                return await world.admin.export(arn, at_s=at_s, bucket=bucket, prefix=prefix, token=token)
            case LookAtExport(arn):
                exported = await world.admin.export_facts(arn)
                ctx.progress = await self._export_progress()
                return ExportSeen(exported.status, exported.manifest, exported.failure, exported.took_s)
            case MapFiles():
                return await self._map(deed)
            case Load():
                return await self._load(deed)
            case Import(prefix, token):
                shape, source = world.mapping.shape(Side.TARGET), await self._source()
                key = await key_of(world.objects, prefix, world.mapping, source)
                indexes = target_indexes(world.mapping, source.indexes).made
                bucket = world.settings.bucket
                return await world.admin.import_table(
                    shape.table, key, indexes=indexes, bucket=bucket, prefix=prefix, token=token
                )
            case LookAtImport(arn):
                imported = await world.admin.import_facts(arn)
                total = int(ctx.state.done["map"]["mapped"])
                pace = self._pace("import", "rows")
                ctx.progress = pace.at(world.clock.monotonic(), imported.imported, total)
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

    async def close(self) -> None:
        """Stop what goes on in the background."""
        if self._run is not None:
            await self._run.close()
        self._run = None

    async def _map(self, deed: MapFiles) -> Mapped:
        world = self._ctx.world
        asked = ("map", f"{deed.destination} {deed.retake}")
        if self._stopped is not None and self._stopped[0] == asked:
            return Mapped(
                self._stopped[1]
            )  # until a restart, which may bring another mapping, or another choice of rows
        files = await self._work(asked, lambda: self._begin(deed))
        if isinstance(files, str):
            return Mapped(f"the export's rows to be mapped: {files}")
        counts, folder = (
            summed(files.values()),
            folder_of(deed.destination, mark_of(world.mapping, world.settings.migration_mapping)),
        )
        left = await listings(world.objects, folder, REFUSED) if counts.unmappable else []
        if counts.unmappable and deed.retake:
            again = await self._taken_again(deed, folder, left, counts.unmappable)
            if isinstance(again, str):
                return Mapped(f"the rows that couldn't be mapped to be read again: {again}")
            counts, left = with_taken_again(counts, again), [left_of(folder, deed.retake)]
        if counts.unmappable:
            await world.objects.write(deed.unmappable, joined(world.objects, left))
            self._stopped = (asked, _unmappable(world, counts, deed.unmappable))
            return Mapped(self._stopped[1])
        await self._ctx.reserve(counts.highest_generation, "rows of an earlier migration")
        files_of_them = f"s3://{world.settings.bucket}/{folder.notes}*{INEXACT}"
        listing = {"inexact_files": files_of_them} if counts.inexact else {}
        indexes = target_indexes(world.mapping, (await self._source()).indexes)
        made = {"indexes": [each.name for each in indexes.made], "indexes_left_out": list(indexes.left_out)}
        return Mapped("", {**counts.as_json(), **listing, **made, "prefix": folder.imports})

    async def _work(self, asked: tuple[str, str], begin: Callable[[], Awaitable[FileRun[C]]]) -> Mapping[int, C] | str:
        """Go on with a piece of work in the background; return its outcome, or how far it is."""
        if asked in self._outcomes:
            return self._outcomes[asked]
        if self._run is None or self._asked != asked:
            await self.close()
            self._asked, self._run = asked, await begin()
        run = self._run
        try:
            outcome = await run.done(WITHIN_S)
        except Held as held:
            self._run = None
            return str(held)
        except Exception:
            self._run = None  # the next tick goes on with the files that are left
            raise
        detail = f"{run.done_files} of {run.files} files"
        pace = self._pace(asked[0], "rows")
        self._ctx.progress = pace.at(self._ctx.world.clock.monotonic(), run.read, run.rows, detail)
        if outcome is None:
            return f"{run.read} of {run.rows}, {detail}"
        self._run = None
        self._outcomes[asked] = outcome
        return outcome

    async def _taken_again(self, deed: MapFiles, folder: Folder, refused: Sequence[str], rows: int) -> FileCounts | str:
        """Take the rows again that couldn't be mapped; return what became of them, or how far it is."""
        world, listed = self._ctx.world, f"{folder.notes}{AGAIN}-{deed.retake}.of-export.jsonl.gz"
        if world.source_rows is None:
            raise ConfigError("this process can't read rows of the source")
        retaking = Retaking(
            world.objects, world.source_rows, await self._mapper(), world.mapping.shape(Side.SOURCE).key
        )

        async def begin() -> FileRun[FileCounts]:
            await world.objects.write(listed, joined(world.objects, refused))
            return retake_run(world.objects, retaking, listed, folder, number=deed.retake, rows=rows)

        done = await self._work(("retake", f"{deed.destination} {deed.retake}"), begin)
        return done if isinstance(done, str) else done[0]

    async def _mapper(self) -> LineMapper:
        world = self._ctx.world
        indexes = target_indexes(world.mapping, (await self._source()).indexes)
        return LineMapper(world.mapping, frozenset(world.excluded), indexes.keys)

    async def _load(self, deed: Load) -> Mapped:
        world, target = self._ctx.world, self._ctx.world.mapping.shape(Side.TARGET).table
        asked = ("load", deed.prefix)
        if self._stopped is not None and self._stopped[0] == asked:
            return Mapped(self._stopped[1])
        facts = await world.admin.table(target)
        if facts is None or facts.status != "ACTIVE":
            return Mapped(
                f"the table {target} to be created by you and ACTIVE: CROSSFADE_LOAD=write fills one that is there"
            )
        if world.loader is None:
            raise ConfigError("this process can't write rows")
        opened = world.loader
        pace = RowPace(world.settings.load_rows_per_s, now_s=world.clock.monotonic, sleep=world.clock.sleep)

        @asynccontextmanager
        async def load() -> AsyncIterator[FileLoader]:
            async with opened() as loader:
                yield FileLoader(world.objects, world.mapping, loader, pace, world.clock)

        files = await self._work(asked, lambda: load_run(world.objects, deed.prefix, load, is_held=self._is_held))
        if isinstance(files, str):
            return Mapped(f"the rows to be written to {target}: {files}")
        counts = loaded(list(files.values()))
        if counts.other:
            key = f"{deed.prefix.rstrip('/').replace('/import-', '/in-the-way-')}.jsonl.gz"
            noted = [
                each
                for each in await world.objects.keys(deed.prefix.replace("/import-", "/loaded-"))
                if each.endswith(OTHERS)
            ]
            await world.objects.write(key, joined(world.objects, noted))
            self._stopped = (asked, _in_the_way(world, counts, key))
            return Mapped(self._stopped[1])
        return Mapped("", counts.as_json())

    def _is_held(self) -> bool:
        """Say whether no further file may be begun."""
        return self._ctx.state.paused or self._ctx.state.phase is not Phase.SNAPSHOT

    async def _begin(self, deed: MapFiles) -> FileRun[FileCounts]:
        world = self._ctx.world
        files = await read_manifest(world.objects, deed.manifest)
        indexes = target_indexes(world.mapping, (await self._source()).indexes)
        rules = Rules(frozenset(world.excluded), indexes.keys)
        workers = max(1, min(world.settings.map_at_once, len(files)))
        if world.map_beside is not None and sum(each.items for each in files) > SMALL_ROWS:
            crew = world.map_beside(rules, workers)
        else:
            crew = here(world.objects, LineMapper(world.mapping, rules.excluded, rules.index_keys))
        folder = folder_of(deed.destination, mark_of(world.mapping, world.settings.migration_mapping))
        return map_run(world.objects, files, folder, crew, at_once=workers, is_held=self._is_held)

    def _pace(self, step: str, unit: str, *, expected_s: float | None = None) -> Pace:
        """Return the pace of a step, from when it was first looked at."""
        if self._paces is None or self._paces.step != step:
            self._paces = Pace(step, unit, self._ctx.world.clock.monotonic(), expected_s=expected_s)
        return self._paces

    async def _export_progress(self) -> Progress:
        """Tell how far the export is: AWS doesn't, but its files can be counted as they come, and the last one's time
        is a measure for this one's.
        """
        world, state = self._ctx.world, self._ctx.state
        took_s = state.facts.get("exported", {}).get("took_s")
        pace = self._pace("export", "rows", expected_s=None if took_s is None else float(took_s))
        now_s = world.clock.monotonic()
        if now_s - self._counted_s >= world.settings.facts_s:
            self._counted_s = now_s
            self._rows = (await self._source()).item_count
            keys = await world.objects.keys(f"{state.begun['export']['prefix']}/")
            self._files = sum(each.endswith(".json.gz") for each in keys)
        return pace.at(now_s, None, self._rows, f"{self._files} files written so far, and AWS tells no more")


def _in_the_way(world: World, counts: LoadCounts, key: str) -> str:
    """Say for how many rows another one stands there, where they are all listed, and the cures."""
    return (
        f"for {counts.other} rows another one stands in {world.mapping.shape(Side.TARGET).table}, which is never "
        f"overwritten: {'; '.join(counts.samples[:NAMED])}. All of them, with their reasons: "
        f"s3://{world.settings.bucket}/{key}. See whose they are. If they are nobody's, move them away and restart the "
        "controller; else crossfade abort, and another target table or other keys"
    )


def _unmappable(world: World, counts: FileCounts, key: str) -> str:
    """Say how many rows can't be mapped, where they are all listed, and the cures."""
    return (
        f"{counts.unmappable} rows can't be mapped: {'; '.join(counts.samples[:NAMED])}. All of them, with their "
        f"reasons: s3://{world.settings.bucket}/{key}. Correct the rows, then: crossfade start --retake --execute, "
        "which reads these rows again (or crossfade start --fresh-export, for the whole table); or correct the mapping "
        "and restart the controller; or leave rows out: crossfade start --exclude-from FILE --execute"
    )
