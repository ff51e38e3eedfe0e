"""The checks of `plan`: each looks at one thing, and says what a start would be refused for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from crossfade.contracts.journal import Entry
from crossfade.core.mapping.facts import INEXACT_CURE
from crossfade.core.migration.control import begun_before, control_tables
from crossfade.core.migration.gates import GateResult
from crossfade.core.migration.keyed import phases_of
from crossfade.core.migration.phases import Phase
from crossfade.core.migration.state import Migration, fold
from crossfade.core.values.errors import ConfigError
from crossfade.core.values.shape import Side
from crossfade.ports.admin import TableFacts
from crossfade_controller.history import owned_rows, traces
from crossfade_controller.mapping_run import MERGES
from crossfade_controller.sampling import Sample
from crossfade_controller.world import World

VERIFIER_TRIES = 3
"""One that is busy may miss a deadline."""


def source_exists(world: World, source: TableFacts | None) -> GateResult:
    """The source table is there, and ACTIVE."""
    name = world.mapping.shape(Side.SOURCE).table
    status = source.status if source else None
    because = f"{name} is {status}" if status else f"there is no table {name} in {world.settings.region}"
    return GateResult("source_table", status == "ACTIVE", status, "ACTIVE", because)


def key_schema(world: World, source: TableFacts | None) -> GateResult:
    """The mapping's key is the table's."""
    wanted = list(world.mapping.shape(Side.SOURCE).key)
    found = [name for name, _ in source.key] if source else None
    because = (
        "the mapping's key matches the table's" if found == wanted else f"the mapping says {wanted}, it is {found}"
    )
    if source is None:
        because = "there is no source table"
    return GateResult("key_schema", found == wanted, found, wanted, because)


def recoverable(source: TableFacts | None) -> GateResult:
    """The source can be exported."""
    on = source is not None and source.recoverable
    because = "on" if on else "off: an export needs point-in-time recovery; turn it on, then wait a few minutes"
    return GateResult("point_in_time_recovery", on, on, True, because)


def ttl(world: World, source: TableFacts | None) -> GateResult:
    """The mapping knows the attribute by which the source expires rows."""
    wanted, found = world.mapping.shape(Side.SOURCE).ttl, source.ttl if source else None
    if found is not None and found != wanted:
        because = (
            f"the table expires rows by {found!r}, the mapping knows {wanted!r}: rows that were "
            "handed over would vanish"
        )
        return GateResult("ttl", False, found, wanted, because)
    travels = "which travels as cf_ttl" if world.mapping.protocol.spelling.ttl else "on the source alone until COMPLETE"
    because = f"expires by {found!r}, {travels}" if found else "off"
    return GateResult("ttl", True, found, wanted, because)


NOT_YET: Final = (Phase.PLANNED, Phase.CAPTURING, Phase.SNAPSHOT, Phase.ABORTED)
"""Phases in which a target table that is there isn't known to be this migration's."""


async def new_is_free(world: World, phase: Phase) -> GateResult:
    """There is no target table yet, since an import makes its own; or there is one that writes can fill."""
    name = world.mapping.shape(Side.TARGET).table
    facts = await world.admin.table(name)
    if facts is not None and phase not in NOT_YET:
        because = f"{name} is {facts.status}, and this migration's: it is {phase.value}"
        return GateResult("target_table", facts.status == "ACTIVE", facts.status, "ACTIVE", because)
    if world.settings.load == "write":
        return await _can_be_filled(world, facts)
    if world.mapping.shape(Side.TARGET).kept:
        return GateResult("target_table", False, "import", "write", MERGES)
    if facts is None:
        return GateResult("target_table", True, None, None, f"{name} is free")
    owned = await owned_rows(world)
    because = (
        f"{name} exists, and this table owns keys ({owned}): it may hold the only copy of them. Finish or roll back "
        "the migration that it belongs to"
        if owned.owned
        else f"{name} exists ({owned.read} sampled rows, none of which it owns), and an import creates "
        "its own table: give the mapping's target table another name"
    )
    return GateResult("target_table", False, facts.status, None, because)


async def _can_be_filled(world: World, facts: TableFacts | None) -> GateResult:
    """There is a target table with the mapping's key, and with no row that it owns."""
    shape, wanted = world.mapping.shape(Side.TARGET), world.mapping.shape(Side.TARGET).key
    if facts is None:
        because = f"there is no {shape.table}: CROSSFADE_LOAD=write fills a table that you created"
        return GateResult("target_table", False, None, "ACTIVE", because)
    found = tuple(each for each, _ in facts.key)
    if found != wanted:
        because = f"{shape.table} has the key {', '.join(found)}; the mapping says {', '.join(wanted)}"
        return GateResult("target_table", False, list(found), list(wanted), because)
    owned = await owned_rows(world)
    because = (
        f"{shape.table} owns keys ({owned}): it may hold the only copy of them. Finish or roll back the migration that "
        "it belongs to"
        if owned.owned
        else f"{shape.table} is {facts.status}, and is filled by writes: a row of it that stands in the way stops them"
    )
    return GateResult("target_table", not owned.owned and facts.status == "ACTIVE", facts.status, "ACTIVE", because)


async def history(world: World, entries: Sequence[Entry]) -> GateResult:
    """Only an empty journal has to prove that nothing has happened."""
    state = fold(Migration(phases_of(world.mapping.protocol)), entries)
    if state.has_begun:
        return GateResult("history", True, state.number, None, f"the journal has {state.number} entries")
    found = await traces(world)
    because = begun_before(control_tables(world.mapping.name).journal, found) if found else "no migration has begun"
    return GateResult("history", not found, state.number, None, because)


async def stream(world: World, side: Side) -> GateResult:
    """A side's change stream is there and ACTIVE, or can be created."""
    name = world.stream_of(side)
    facts = await world.admin.stream(name)
    if facts is None:
        because = f"{name} will be created with {world.settings.shards} shards"
        return GateResult(f"{side.value}_stream", True, None, world.settings.shards, because)
    because = f"{name} is {facts.status} with {len(facts.open_shards)} shards"
    return GateResult(f"{side.value}_stream", facts.status == "ACTIVE", facts.status, "ACTIVE", because)


async def destination_free(world: World, source: TableFacts | None) -> GateResult:
    """A table has one Kinesis stream at most: another one's change records can't be shared."""
    if source is None:
        return GateResult("capture", False, None, None, "there is no source table")
    stream = await world.admin.stream(world.settings.source_stream)
    active = [each for each in await world.admin.destinations(source.name) if each.status != "DISABLED"]
    others = [each.stream_arn for each in active if stream is None or each.stream_arn != stream.arn]
    coarse = [each for each in active if each.precision != "MICROSECOND"]
    if others:
        return GateResult("capture", False, others, [], f"the table streams to {others[0]} already: it can have one")
    because = "precision will be raised to MICROSECOND" if coarse else "free, or ours"
    return GateResult("capture", True, [each.precision for each in active], "MICROSECOND", because)


def round_trip(sample: Sample) -> GateResult:
    """Sampled rows come back from the target as they went."""
    if not sample.ours and sample.whole:
        because = (
            f"{sample.looked_at} were looked at, and none belongs to the mapping: there is nothing to move. Check the "
            "mapping's `belongs`, and the table that it names"
        )
        return GateResult("round_trip", False, 0, 0, because)
    if not sample.ours:
        because = (
            f"unproven: none of the {sample.looked_at} that were looked at, across the whole table, belongs to the "
            "mapping. The snapshot maps every row, and stops if any can't be mapped; raise CROSSFADE_PLAN_UNITS to "
            "look at more now"
        )
        return GateResult("round_trip", True, 0, 0, because)
    because = (
        f"{sample.broken_count} of {sample.ours} sampled rows don't survive the round trip: {'; '.join(sample.broken)}"
        if sample.broken_count
        else f"{sample.ours} sampled rows survive the round trip; {sample.looked_at} were looked at, "
        "across the whole table"
    )
    return GateResult("round_trip", not sample.broken_count, sample.broken_count, 0, because)


def whole_numbers(world: World, sample: Sample) -> GateResult:
    """Warn: such a row is carried unchanged, and its operations count, but its clients are told a rounded number."""
    declared = ", ".join(world.mapping.wholes)
    because = f"whole, within 64 bits, in {sample.ours} sampled rows: {declared or 'none declared'}"
    if sample.inexact_count:
        because = (
            f"WARNING: {sample.inexact_count} of {sample.ours} sampled rows have numbers that can't be answered "
            f"exactly: {'; '.join(sample.inexact)}. {INEXACT_CURE}. The snapshot lists them all"
        )
    return GateResult("whole_numbers", True, sample.inexact_count, 0, because)


def shared(sample: Sample) -> GateResult:
    """Says how many rows of the sample belong to others; never shut."""
    because = (
        f"{sample.staying} of {sample.read} sampled rows belong to others and stay; {sample.looked_at} were looked at, "
        f"for {sample.units} read units at most; the snapshot counts them all"
    )
    return GateResult("shared_rows", True, sample.staying, None, because)


def generations(entries: Sequence[Entry], sample: Sample) -> GateResult:
    """Says which generations the sample carries, and where the counter stands; never shut."""
    given = [int(each.body["counter"]) for each in entries if each.kind == "generation"]
    counter = max(given, default=0)
    because = f"the counter stands at {counter}; sampled rows carry up to {sample.highest_generation}"
    if sample.highest_generation > counter:
        because += " from an earlier migration: the snapshot raises it above all rows"
    return GateResult("generations", True, str(counter), str(sample.highest_generation), because)


def retention(world: World) -> GateResult:
    """The streams keep records long enough to be caught up with."""
    hours = world.settings.retention_h
    return GateResult("retention", hours >= 48, hours, 48, f"{hours} h; 168 is recommended, less than 48 is refused")


def canary(world: World) -> tuple[str, GateResult]:
    """Return the canary's key, empty where there is none, and the check that it belongs."""
    try:
        key = world.settings.canary(world.mapping).decode()
    except ConfigError as error:
        return "", GateResult("canary", False, world.settings.canary_key, None, str(error))
    return key, GateResult("canary", True, key, None, "no client may use this key")


async def bucket(world: World) -> GateResult:
    """There is a bucket for export and import."""
    name = world.settings.bucket
    if not name:
        return GateResult("bucket", False, None, None, "CROSSFADE_BUCKET is not set: export and import need it")
    there = await world.objects.exists()
    unread = f"{name} can't be read: there is no such bucket, or this needs s3:ListBucket on it"
    return GateResult("bucket", there, name, None, f"{name} is there" if there else unread)


async def verifier(world: World) -> GateResult:
    """Ask it: an address says nothing of whether anybody listens there."""
    url = world.settings.verifier_url
    if not url:
        because = "CROSSFADE_VERIFIER_URL is not set: the gates before RAMPING would stay shut"
        return GateResult("verifier", False, url, None, because)
    parity = await world.parity()
    for _ in range(VERIFIER_TRIES - 1):
        if parity.reachable:
            break
        await world.clock.sleep(1.0)
        parity = await world.parity()
    if not parity.reachable:
        because = (
            f"nobody answers for {world.mapping.name} at {url}: {parity.detail}. Start the verifier, or correct "
            "CROSSFADE_VERIFIER_URL; the gates before RAMPING would stay shut"
        )
        return GateResult("verifier", False, url, None, because)
    return GateResult("verifier", True, url, None, f"{url} answers: {parity.detail or 'no verdict yet'}")
