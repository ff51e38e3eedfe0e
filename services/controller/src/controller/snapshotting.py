"""SNAPSHOT: export at a moment, map and filter, import into a new table. Each step may be killed and run again."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from controller.asking import FRESH
from controller.context import PROGRESS, Context
from controller.excluding import excluded_keys, why_not_excluded
from controller.starting import started
from controller.state import Pending
from crossfade.adapters.s3_export import ExportFile, FileCounts, map_file, read_file, read_manifest
from crossfade.core.mapping.snapshot import LineMapper
from crossfade.core.migration.gates import STARTING_GATES, waiting_for
from crossfade.core.migration.phases import Phase
from crossfade.core.values.errors import ConfigError, SnapshotBroken
from crossfade.core.values.shape import Side

MARGIN_S: Final = 60
"""The stream is applied from that much before the export's moment: arrival and commit are of two clocks of AWS's."""

STEPS: Final = ("export-arn", "export", "map")
"""What a fresh export does once more."""

NAMED: Final = 3
"""Rows that can't be mapped which a status names; all are in the file."""

INEXACT: Final = ".inexact.jsonl.gz"
"""Beside an export file's counts: its rows with numbers that the domain can't answer exactly."""

LISTED_BYTES: Final = 64 * 1024 * 1024
"""How much of that file is kept in memory, packed: some millions of rows."""


async def snapshot(ctx: Context) -> str:
    """SNAPSHOT: export at a moment, map and filter, import into a new table."""
    intent = started(ctx)
    if intent is not None and intent.arguments.get(FRESH) and ctx.state.exported_again < intent.number:
        return await _export_again(ctx, intent)
    for step, run in (("export", _export), ("map", _map), ("import", _import)):
        if step not in ctx.state.done:
            return await run(ctx)
    results = ctx.judge(STARTING_GATES)
    return waiting_for(results) or await ctx.enter(Phase.CATCHING_UP, results)


def _token(ctx: Context, what: str) -> str:
    """Return a token that is the same for the same step of the same phase, however often it is tried."""
    text = f"{ctx.world.mapping.name} {what} {_round(ctx)}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _prefix(ctx: Context, what: str) -> str:
    return f"{ctx.world.settings.bucket_prefix}/{ctx.world.mapping.name}/{_round(ctx)}/{what}"


def _round(ctx: Context) -> str:
    """Name the snapshot that is being taken: a fresh export must not find the files of the one before."""
    again = ctx.state.exported_again
    return f"{ctx.state.since_us}-{again}" if again else str(ctx.state.since_us)


async def _export_again(ctx: Context, intent: Pending) -> str:
    """Begin the snapshot from its beginning, at a later moment, so that rows that were corrected since are in it.

    The stream has been carrying records since before the first moment, so a later one is as good. Only the keys that
    this command excludes are left out of it.
    """
    wanted = sorted(set(intent.arguments.get("exclude", [])))
    world = ctx.world
    refusal = await why_not_excluded(world.mapping, world.tables[Side.LEGACY], ctx.state, intent.arguments)
    if refusal:
        return await ctx.settle(intent, "refused", refusal)
    moment_us = await ctx.markers.moment(Side.LEGACY, purpose=f"export {intent.number}")
    evidence = {"intent": intent.number, "steps": STEPS, "moment_us": moment_us, "exclude": wanted, "who": intent.who}
    await ctx.append("again", evidence)
    ctx.world.excluded.clear()
    ctx.world.excluded.update(excluded_keys(ctx.state))
    return PROGRESS


async def _export(ctx: Context) -> str:
    world = ctx.world
    if not world.settings.bucket:
        return "CROSSFADE_BUCKET to be set"
    # The moment is journaled before the call: a repeated call must ask for the same one.
    at_s = int(ctx.state.facts["settled"]["moment_us"]) // 1_000_000
    begun = await ctx.begin("export", {"at_s": at_s, "prefix": _prefix(ctx, "export")})
    if "export-arn" not in ctx.state.done:
        table = await world.admin.table(world.mapping.shape(Side.LEGACY).table)
        if table is None:
            raise ConfigError(f"there is no table {world.mapping.shape(Side.LEGACY).table}")
        arn = await world.admin.export(
            table.arn,
            at_s=int(begun["at_s"]),
            bucket=world.settings.bucket,
            prefix=str(begun["prefix"]),
            token=_token(ctx, "export"),
        )
        return await ctx.finish("export-arn", {"arn": arn})
    arn = str(ctx.state.done["export-arn"]["arn"])
    facts = await world.admin.export_facts(arn)
    if facts.status == "FAILED":
        raise SnapshotBroken(f"the export {arn} failed: {facts.failure}")
    if facts.status != "COMPLETED":
        return f"the export of {world.mapping.shape(Side.LEGACY).table}, which is {facts.status}"
    return await ctx.finish(
        "export",
        {
            "arn": arn,
            "at_s": begun["at_s"],
            "replay_from_s": int(begun["at_s"]) - MARGIN_S,
            "manifest": facts.manifest,
        },
    )


async def _map(ctx: Context) -> str:
    intent = started(ctx)
    wanted = set(intent.arguments.get("exclude", [])) if intent else set()
    known = {key.decode() for key in excluded_keys(ctx.state)}
    if intent is not None and wanted - known:
        world = ctx.world
        is_checked = intent.number < ctx.state.entered  # in PLANNED
        source = world.tables[Side.LEGACY]
        if not is_checked and (refusal := await why_not_excluded(world.mapping, source, ctx.state, intent.arguments)):
            return await ctx.settle(intent, "refused", refusal)
        # Another choice of rows makes other files: what was mapped before doesn't count.
        await ctx.finish("excluded", {"keys": sorted(wanted | known), "who": intent.who})
        ctx.world.excluded.update(excluded_keys(ctx.state))
        return PROGRESS
    export = ctx.state.done["export"]
    files = await read_manifest(ctx.world.objects, str(export["manifest"]))
    number = len(known)
    target = f"{_prefix(ctx, 'import')}-{number}/"
    await ctx.begin("map", {"files": len(files), "items": sum(each.items for each in files)})
    stopped = ctx.unmappable.get(target)
    if stopped is not None:  # until a restart, which may bring another mapping, or another choice of rows
        return stopped
    counts, listed = await _map_files(ctx, files, target)
    if counts.unmappable:
        ctx.unmappable[target] = await _unmappable(ctx, counts, listed, f"{_prefix(ctx, 'unmappable')}-{number}")
        return ctx.unmappable[target]
    await ctx.reserve(counts.highest_generation, "rows of an earlier migration")
    files_of_them = f"s3://{ctx.world.settings.bucket}/{_notes(target)}*{INEXACT}"
    listing = {"inexact_files": files_of_them} if counts.inexact else {}
    return await ctx.finish("map", {"prefix": target, "number": number, **counts.as_json(), **listing})


def _notes(target: str) -> str:
    """Return where what became of each file is noted: not among the import files, since all of those are imported."""
    return target.replace("/import-", "/mapped-")


async def _unmappable(ctx: Context, counts: FileCounts, listed: bytes, name: str) -> str:
    """Write a file of all rows that can't be mapped, over the one of an earlier try; say where it is, and the cures."""
    key = f"{name}.jsonl.gz"
    await ctx.world.objects.put(key, listed)
    return (
        f"{counts.unmappable} rows that can't be mapped: {'; '.join(counts.samples[:NAMED])}. All of them, with their "
        f"reasons: s3://{ctx.world.settings.bucket}/{key}. Correct the rows, then: crossfade start --fresh-export "
        "--execute; or correct the mapping and restart the controller; or leave rows out: crossfade start "
        "--exclude-from FILE --execute"
    )


async def _map_files(ctx: Context, files: Sequence[ExportFile], target: str) -> tuple[FileCounts, bytes]:
    """Map those files that are not mapped yet; each leaves its counts beside the import files when it is done.

    Returns:
        What became of all rows; and a gzip file of those that can't be mapped, up to `LISTED_BYTES`.
    """
    mapper = LineMapper(ctx.world.mapping, excluded_keys(ctx.state))
    objects = ctx.world.objects
    limit = asyncio.Semaphore(ctx.world.settings.map_at_once)
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


async def _import(ctx: Context) -> str:
    world = ctx.world
    mapped: dict[str, Any] = dict(ctx.state.done["map"])
    name = world.mapping.shape(Side.NEW).table
    if not mapped["mapped"]:
        because = (
            f"the export of {world.mapping.shape(Side.LEGACY).table} has no row to move: of {mapped['read']} rows "
            f"{mapped['not_ours']} belong to others, {mapped['excluded']} are left out. When there are some: crossfade "
            "start --fresh-export --execute; to give up: crossfade abort"
        )
        intent = started(ctx)
        return because if intent is None else await ctx.settle(intent, "refused", because)
    await ctx.begin("import", {"table": name, "prefix": mapped["prefix"]})
    if "import-arn" not in ctx.state.done:
        legacy = await world.admin.table(world.mapping.shape(Side.LEGACY).table)
        if legacy is None:
            raise ConfigError(f"there is no table {world.mapping.shape(Side.LEGACY).table}")
        # Values of keys are the same on both sides; only the names may differ.
        key = [(to, kind) for to, (_, kind) in zip(world.mapping.shape(Side.NEW).key, legacy.key, strict=True)]
        arn = await world.admin.import_table(
            name, key, bucket=world.settings.bucket, prefix=str(mapped["prefix"]), token=_token(ctx, "import")
        )
        return await ctx.finish("import-arn", {"arn": arn})
    arn = str(ctx.state.done["import-arn"]["arn"])
    facts = await world.admin.import_facts(arn)
    if facts.status in {"FAILED", "CANCELLED"} or facts.errors:
        raise SnapshotBroken(
            f"the import {arn} is {facts.status} with {facts.errors} errors: {facts.failure}. "
            f"{name} holds a part of the rows and owns none. Abort, and give the next migration another new table"
        )
    if facts.status != "COMPLETED":
        return f"the import of {name}, which is {facts.status} ({facts.imported} of {mapped['mapped']} items)"
    if facts.imported != mapped["mapped"]:
        raise SnapshotBroken(f"{facts.imported} items were imported into {name}, {mapped['mapped']} were mapped")
    table = await world.admin.table(name)
    if table is None or table.status != "ACTIVE":
        return f"table {name} to be ACTIVE"
    return await ctx.finish("import", {"arn": arn, "imported": facts.imported})
