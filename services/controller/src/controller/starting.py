"""From PLANNED to DUAL_WRITE: capture, snapshot, import, catching up. Each step may be killed and run again."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec

from controller.context import PROGRESS, Context, gates_json
from controller.planning import check_plan
from controller.state import Pending
from crossfade.adapters.s3_export import ExportFile, FileCounts, map_file, read_file, read_manifest
from crossfade.core.mapping.snapshot import LineMapper
from crossfade.core.migration.gates import CATCHING_UP_GATES, GateResult, clock_skew, heartbeats, waiting_for
from crossfade.core.migration.phases import Intent, Phase
from crossfade.core.ownership.carrying import EXCLUDED
from crossfade.core.ownership.ramp import Aim
from crossfade.core.protocol.keyed.item import is_held_out
from crossfade.core.values.clocks import CommitUs
from crossfade.core.values.errors import ConfigError, DriftDetected
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side

MARGIN_S: Final = 60
"""The stream is applied from that much before the export's moment: arrival and commit are of two clocks of AWS's."""


def started(ctx: Context) -> Pending | None:
    """Return the START intent that the controller is at."""
    intent = ctx.state.intent
    return intent if intent is not None and intent.intent is Intent.START else None


async def planned(ctx: Context) -> str:
    """PLANNED: wait for `start`, then make sure that the plan holds."""
    intent = started(ctx)
    if intent is None:
        return "crossfade start"
    if "plan" not in ctx.state.done:
        # What is left out of the migration needn't map or fit.
        excluded = {Key(each.encode()) for each in intent.arguments.get("exclude", [])}
        plan = await check_plan(replace(ctx.world, excluded=ctx.world.excluded | excluded))
        if plan.blocking:
            because = "; ".join(f"{each.name}: {each.because}" for each in plan.blocking)
            return await ctx.settle(intent, "refused", because)
        await ctx.finish("plan", {"checks": gates_json(plan.checks)})
    return ctx.shut([clock_skew]) or await ctx.enter(Phase.CAPTURING)


# Capture.


async def _streams_ready(ctx: Context, names: Sequence[str]) -> str:
    world = ctx.world
    for name in names:
        stream = await world.admin.stream(name)
        if stream is None:
            await world.admin.create_stream(name, shards=world.settings.shards)
            return f"stream {name} to be created"
        if stream.status != "ACTIVE":
            return f"stream {name}, which is {stream.status}"
        await world.admin.raise_retention(name, hours=world.settings.retention_h)
    return ""


async def _capture_ready(ctx: Context, side: Side) -> str:
    """Send a side's changes to its stream; return what to wait for, empty when records flow in µs."""
    world = ctx.world
    name, table = world.stream_of(side), world.mapping.shape(side).table
    stream = await world.admin.stream(name)
    if stream is None or stream.status != "ACTIVE":
        return f"stream {name}"
    await world.admin.enable_destination(table, stream.arn)
    mine = [each for each in await world.admin.destinations(table) if each.stream_arn == stream.arn]
    if not any(each.status == "ACTIVE" and each.precision == "MICROSECOND" for each in mine):
        return f"change records of {table} to reach {name} with MICROSECOND precision"
    return ""


async def capturing(ctx: Context) -> str:
    """CAPTURING: streams, then the legacy table's change records, then a settling time."""
    world, state = ctx.world, ctx.state
    if "streams" not in state.done:
        names = (world.settings.legacy_stream, world.settings.new_stream, world.settings.feed_stream)
        await ctx.begin("streams", {"names": list(names), "retention_h": world.settings.retention_h})
        return await _streams_ready(ctx, names) or await ctx.finish("streams")
    if "capture" not in state.done:
        await ctx.begin("capture", {"table": world.mapping.shape(Side.LEGACY).table})
        waiting = await _capture_ready(ctx, Side.LEGACY)
        if waiting:
            return waiting
        # ACTIVE is what the control plane says; a record that came is what surely flows.
        flows_us = await ctx.markers.moment(Side.LEGACY, purpose="capture")
        return await ctx.finish("capture", {"flows_us": flows_us})
    if "settled" not in state.done:
        return await _settle(ctx, CommitUs(int(state.done["capture"]["flows_us"])))
    return ctx.shut([clock_skew]) or await ctx.enter(Phase.SNAPSHOT, settling_s=world.settings.settling_s)


async def _settle(ctx: Context, flows_us: CommitUs) -> str:
    """Let the stream settle, and take the moment of the export: a commit time, so that no clock of ours is in it.

    What was committed before it is in the export, and what was committed since `flows_us` is in the stream. The
    export's moment has whole seconds, so it lies in a later second than `flows_us`, too.
    """
    settling_s = ctx.world.settings.settling_s
    left_s = settling_s - await ctx.markers.elapsed_s(Side.LEGACY, flows_us)
    if left_s > 0:
        return f"the stream to settle, {left_s:.0f} s more"
    moment_us = await ctx.markers.moment(Side.LEGACY, purpose="export")
    if moment_us - flows_us < settling_s * 1e6 or moment_us // 1_000_000 * 1_000_000 <= flows_us:
        return f"a moment of the export {settling_s:g} s after the stream began to carry records"
    return await ctx.finish("settled", {"moment_us": moment_us})


# Snapshot.


async def snapshot(ctx: Context) -> str:
    """SNAPSHOT: export at a moment, map and filter, import into a new table."""
    for step, run in (("export", _export), ("map", _map), ("import", _import)):
        if step not in ctx.state.done:
            return await run(ctx)
    return await ctx.enter(Phase.CATCHING_UP)


def _token(ctx: Context, what: str) -> str:
    """Return a token that is the same for the same step of the same phase, however often it is tried."""
    text = f"{ctx.world.mapping.name} {what} {ctx.state.since_us}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _prefix(ctx: Context, what: str) -> str:
    return f"{ctx.world.settings.bucket_prefix}/{ctx.world.mapping.name}/{ctx.state.since_us}/{what}"


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
        raise DriftDetected(f"the export {arn} failed: {facts.failure}")
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


def excluded_keys(ctx: Context) -> frozenset[Key]:
    """Return the keys that START left out, of this intent and the ones before it."""
    return frozenset(Key(each.encode()) for each in ctx.state.facts.get("excluded", {}).get("keys", []))


async def _map(ctx: Context) -> str:
    intent = started(ctx)
    wanted = set(intent.arguments.get("exclude", [])) if intent else set()
    known = {key.decode() for key in excluded_keys(ctx)}
    if wanted - known:
        # Another choice of rows makes other files: what was mapped before doesn't count.
        await ctx.finish("excluded", {"keys": sorted(wanted | known), "who": intent.who if intent else ""})
        ctx.world.excluded.update(excluded_keys(ctx))
        return PROGRESS
    export = ctx.state.done["export"]
    files = await read_manifest(ctx.world.objects, str(export["manifest"]))
    number = len(known)
    target = f"{_prefix(ctx, 'import')}-{number}/"
    await ctx.begin("map", {"files": len(files), "items": sum(each.items for each in files)})
    counts = await _map_files(ctx, files, target)
    if counts.unmappable:
        return (
            f"{counts.unmappable} rows that can't be mapped: {'; '.join(counts.samples[:3])}. Fix the mapping and "
            "restart the controller, or leave them out: crossfade start --exclude KEY --execute"
        )
    await ctx.reserve(counts.highest_generation, "rows of an earlier migration")
    return await ctx.finish("map", {"prefix": target, "number": number, **counts.as_json()})


async def _map_files(ctx: Context, files: Sequence[ExportFile], target: str) -> FileCounts:
    """Map those files that are not mapped yet; each leaves its counts beside the import files when it is done."""
    mapper = LineMapper(ctx.world.mapping, excluded_keys(ctx))
    objects = ctx.world.objects
    limit = asyncio.Semaphore(ctx.world.settings.map_at_once)
    notes = target.replace("/import-", "/mapped-")  # not among the import files: all of those are imported

    async def one(number: int, file: ExportFile) -> FileCounts:
        note = f"{notes}{number:06d}.json"
        async with limit:
            known = await objects.get(note)
            if known is not None:
                counts = FileCounts.of_json(msgspec.json.decode(known))
                if not counts.unmappable:  # the mapping may have been fixed since
                    return counts
            body = await read_file(objects, file)
            mapped, counts = await asyncio.to_thread(map_file, body, file, mapper)
            if counts.mapped:
                await objects.put(f"{target}{number:06d}.json.gz", mapped)
            await objects.put(note, msgspec.json.encode(counts.as_json()))
            return counts

    total = FileCounts()
    for counts in await asyncio.gather(*(one(number, file) for number, file in enumerate(files))):
        total = total.plus(counts)
    return total


async def _import(ctx: Context) -> str:
    world = ctx.world
    mapped: dict[str, Any] = dict(ctx.state.done["map"])
    name = world.mapping.shape(Side.NEW).table
    if not mapped["mapped"]:
        return f"a row of {world.mapping.shape(Side.LEGACY).table} that belongs to the mapping: the export has none"
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
        raise DriftDetected(
            f"the import {arn} is {facts.status} with {facts.errors} errors: {facts.failure}. "
            f"{name} holds a part of the rows and owns none. Abort, and give the next migration another new table"
        )
    if facts.status != "COMPLETED":
        return f"the import of {name}, which is {facts.status} ({facts.imported} of {mapped['mapped']} items)"
    if facts.imported != mapped["mapped"]:
        raise DriftDetected(f"{facts.imported} items were imported into {name}, {mapped['mapped']} were mapped")
    table = await world.admin.table(name)
    if table is None or table.status != "ACTIVE":
        return f"table {name} to be ACTIVE"
    return await ctx.finish("import", {"arn": arn, "imported": facts.imported})


# Catching up.


async def catching_up(ctx: Context) -> str:
    """CATCHING_UP: the new table's change records, then the gates, then the API may copy its writes.

    From the moments that the entry into DUAL_WRITE tells on, writers outside the protocol are strays (ADR 0016).
    """
    if "capture-new" not in ctx.state.done:
        await ctx.begin("capture-new", {"table": ctx.world.mapping.shape(Side.NEW).table})
        return await _capture_ready(ctx, Side.NEW) or await ctx.finish("capture-new", {"active_us": ctx.world.now_us()})
    results = ctx.judge(CATCHING_UP_GATES)
    waiting = waiting_for(results)
    if waiting:
        return waiting
    return await enter_dual_write(ctx, results)


async def enter_dual_write(ctx: Context, results: Sequence[GateResult]) -> str:
    """Enter DUAL_WRITE, and journal since when writers outside the protocol are strays: a commit time of each side."""
    since_us = ctx.state.strays_since_us or {
        side.value: await ctx.markers.moment(side, purpose="dual-write") for side in Side
    }
    return await ctx.enter(Phase.DUAL_WRITE, results, strays_since_us=dict(since_us))


async def open_dual_write(ctx: Context) -> str:
    """DUAL_WRITE begins: publish the flag, and see every pod work under it; empty when that is so."""
    if "dual-write" in ctx.state.done:
        return ""
    if not ctx.state.dual_write:
        await ctx.intend(ctx.state.document, dual_write=True)
        return "the pods to see the flag dual-write"
    waiting = ctx.shut([heartbeats])
    if waiting:
        return waiting
    if "held-out" not in ctx.state.done:
        return await _hold_out_excluded(ctx)
    return await ctx.finish("dual-write", {"pods": len(ctx.observer.pods)})


async def _hold_out_excluded(ctx: Context) -> str:
    """Mark the rows of excluded keys, so that all who meet them know that they stay (ADR 0014).

    Before that nobody but us knows of an exclusion, and the verifier would call such keys missing for ever.
    """
    keys = sorted(excluded_keys(ctx))
    if keys:
        aim = Aim(Side.NEW, await ctx.allocate("excluded keys"))
        results = await ctx.world.ownership.hold_out_many(dict.fromkeys(keys, EXCLUDED), aim)
        for key, done in zip(keys, results, strict=True):
            if isinstance(done, Exception):
                raise done
            if done.item is not None and not is_held_out(done.item):
                return f"the excluded row {key.decode()} to take a mark: {done.because or done.outcome.value}"
    return await ctx.finish("held-out", {"keys": len(keys)})
