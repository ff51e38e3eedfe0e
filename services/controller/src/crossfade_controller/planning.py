"""`plan`: can this migration run at all, what does it take, and what do its settings mean?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from crossfade.contracts.journal import Entry
from crossfade.core.mapping.facts import INEXACT_CURE, why_inexact
from crossfade.core.mapping.rules import prove_round_trip
from crossfade.core.migration.capacity import Estimate, Load, WindowMeaning, estimate, window_meaning
from crossfade.core.migration.control import begun_before, control_tables
from crossfade.core.migration.gates import GateResult
from crossfade.core.migration.keyed import phases_of
from crossfade.core.migration.state import Migration, fold
from crossfade.core.ownership.trim import FULL_SIZE, SOFT_SIZE, WINDOW_MS
from crossfade.core.values.errors import ConfigError, PoisonRecord
from crossfade.core.values.image import Image, encode_image
from crossfade.core.values.keys import encode_key
from crossfade.core.values.shape import Direction, Side
from crossfade.ports.admin import TableFacts
from crossfade_controller.fitting import fits, indexes, why_unfit
from crossfade_controller.history import missing_state, owned_rows, traces
from crossfade_controller.sampling import Rows
from crossfade_controller.world import World

SAMPLES = 5
VERIFIER_TRIES = 3
"""One that is busy may miss a deadline."""


class Sample(NamedTuple):
    """What some rows of the source table told.

    Attributes:
        read: rows read.
        ours: those that belong.
        broken: rows whose mapping doesn't come back the same, with the reason; the first ones.
        broken_count: how many there are.
        item_bytes: mean size of ours.
        highest_generation: that any of them carries.
        unfit: rows that a table would never take, with the cause; the first ones.
        unfit_count: how many there are.
        inexact: rows with numbers that the domain can't answer exactly, with the cause; the first ones.
        inexact_count: how many there are.
        table: rows of the whole table, by DynamoDB's own count, which is up to six hours old.
        whole: whether all rows of the table were read.
        units: read units that the sample took, at most.
    """

    read: int
    ours: int
    broken: tuple[str, ...]
    broken_count: int
    item_bytes: int
    highest_generation: int
    unfit: tuple[str, ...] = ()
    unfit_count: int = 0
    inexact: tuple[str, ...] = ()
    inexact_count: int = 0
    table: int = 0
    whole: bool = False
    units: int = 0

    @property
    def looked_at(self) -> str:
        """How many rows of how many."""
        return f"all {self.read} rows" if self.whole else f"{self.read} of about {max(self.table, self.read)} rows"

    @property
    def staying(self) -> int:
        """Rows of the sample that belong to somebody else."""
        return self.read - self.ours


class Plan(NamedTuple):
    """What `plan` found.

    Attributes:
        checks: each with its verdict.
        sample: the rows it read.
        estimates: capacity and cost.
        window: what W and K mean for one key.
        canary: the canary's key.
    """

    checks: list[GateResult]
    sample: Sample
    estimates: list[Estimate]
    window: WindowMeaning
    canary: str

    @property
    def blocking(self) -> list[GateResult]:
        """The checks that a start would refuse."""
        return [each for each in self.checks if not each.open]

    def as_json(self) -> dict[str, Any]:
        """Return the plan as JSON."""
        return {
            "checks": [each.as_json() for each in self.checks],
            "sample": {
                **self.sample._asdict(),
                "broken": list(self.sample.broken),
                "unfit": list(self.sample.unfit),
                "inexact": list(self.sample.inexact),
                "staying": self.sample.staying,
            },
            "estimates": [each._asdict() for each in self.estimates],
            "window": {"window_s": WINDOW_MS / 1000, "most_ids": FULL_SIZE, **self.window._asdict()},
            "canary": self.canary,
        }


async def check_plan(world: World, *, writes_per_s: float | None = None) -> Plan:
    """Look at everything that can be known beforehand.

    Args:
        world: the ports.
        writes_per_s: owner writes at the peak, for the estimates; None when nobody told.
    """
    source = await world.admin.table(world.mapping.shape(Side.SOURCE).table)
    rows = await world.rows(Side.SOURCE, lambda row: _is_ours(world, row)) if source else Rows((), 0, 0, whole=True)
    sample = _sampled(world, rows, table=source.item_count if source else 0)
    canary, canary_check = _canary(world)
    missing = await missing_state(world)
    entries = [] if missing else await world.journal.entries()
    checks = [
        GateResult("control_tables", not missing, None, None, missing or "they exist"),
        await _history(world, entries),
        _source_exists(world, source),
        _key_schema(world, source),
        _recoverable(source),
        _ttl(world, source),
        await _new_is_free(world),
        *[await _stream(world, side) for side in Side],
        await _destination_free(world, source),
        *[await indexes(world, side) for side in Side],
        _round_trip(sample),
        fits(sample.unfit, sample.unfit_count, sample.ours),
        _whole_numbers(world, sample),
        _shared(sample),
        _generations(entries, sample),
        _retention(world),
        canary_check,
        await _bucket(world),
        await _verifier(world),
    ]
    items = round((source.item_count if source else 0) * sample.ours / sample.read) if sample.read else 0
    load = Load(
        items=max(items, sample.ours),
        item_bytes=sample.item_bytes,
        table_bytes=source.size_bytes if source else 0,
        writes_per_s=writes_per_s,
    )
    window = window_meaning(sample.item_bytes, window_s=WINDOW_MS / 1000, soft=SOFT_SIZE, most=FULL_SIZE)
    return Plan(checks, sample, estimate(load), window, canary)


def _is_ours(world: World, row: Image) -> bool:
    """Say whether a sampled row is the mapping's; one without a readable key is looked at, too."""
    try:
        return world.mapping.belongs(encode_key(row, world.mapping.shape(Side.SOURCE).key))
    except PoisonRecord:
        return True


def _sampled(world: World, rows: Rows, *, table: int) -> Sample:
    shape, protocol = world.mapping.shape(Side.SOURCE), world.mapping.protocol
    read, standing_of, key_names = protocol.reader(shape).row, protocol.rows().standing_of, shape.key
    ours, size_bytes, highest, broken, unfit, inexact = 0, 0, 0, [], [], []
    for row in rows.found:
        try:
            key = encode_key(row, key_names)
        except PoisonRecord as error:
            broken.append(f"a row without a readable key: {error}")
            continue
        if key in world.excluded:
            continue
        ours += 1
        size_bytes += len(encode_image(row))
        try:
            highest = max(highest, standing_of(read(row)))
            changed = prove_round_trip(world.mapping, Direction.FORWARD, row)
            cause = why_unfit(world.mapping, key, row)
        except PoisonRecord as error:
            broken.append(f"{key.decode()}: {error}")
            continue
        if changed:
            broken.append(f"{key.decode()}: comes back with different {', '.join(changed)}")
        if cause:
            unfit.append(f"{key.decode()}: {cause}")
        if cause := why_inexact(world.mapping.wholes, row):
            inexact.append(f"{key.decode()}: {cause}")
    mean_bytes = size_bytes // ours if ours else 400
    return Sample(
        read=rows.read,
        ours=ours,
        broken=tuple(broken[:SAMPLES]),
        broken_count=len(broken),
        item_bytes=mean_bytes,
        highest_generation=highest,
        unfit=tuple(unfit[:SAMPLES]),
        unfit_count=len(unfit),
        inexact=tuple(inexact[:SAMPLES]),
        inexact_count=len(inexact),
        table=max(table, rows.read),
        whole=rows.whole,
        units=rows.units,
    )


def _source_exists(world: World, source: TableFacts | None) -> GateResult:
    name = world.mapping.shape(Side.SOURCE).table
    status = source.status if source else None
    because = f"{name} is {status}" if status else f"there is no table {name} in {world.settings.region}"
    return GateResult("source_table", status == "ACTIVE", status, "ACTIVE", because)


def _key_schema(world: World, source: TableFacts | None) -> GateResult:
    wanted = list(world.mapping.shape(Side.SOURCE).key)
    found = [name for name, _ in source.key] if source else None
    because = (
        "the mapping's key matches the table's" if found == wanted else f"the mapping says {wanted}, it is {found}"
    )
    if source is None:
        because = "there is no source table"
    return GateResult("key_schema", found == wanted, found, wanted, because)


def _recoverable(source: TableFacts | None) -> GateResult:
    on = source is not None and source.recoverable
    because = "on" if on else "off: an export needs point-in-time recovery; turn it on, then wait a few minutes"
    return GateResult("point_in_time_recovery", on, on, True, because)


def _ttl(world: World, source: TableFacts | None) -> GateResult:
    wanted, found = world.mapping.shape(Side.SOURCE).ttl, source.ttl if source else None
    if found is not None and found != wanted:
        because = (
            f"the table expires rows by {found!r}, the mapping knows {wanted!r}: rows that were "
            "handed over would vanish"
        )
        return GateResult("ttl", False, found, wanted, because)
    because = f"expires by {found!r}, which travels as cf_ttl" if found else "off"
    return GateResult("ttl", True, found, wanted, because)


async def _new_is_free(world: World) -> GateResult:
    name = world.mapping.shape(Side.TARGET).table
    facts = await world.admin.table(name)
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


async def _history(world: World, entries: Sequence[Entry]) -> GateResult:
    """Only an empty journal has to prove that nothing has happened."""
    state = fold(Migration(phases_of(world.mapping.protocol)), entries)
    if state.has_begun:
        return GateResult("history", True, state.number, None, f"the journal has {state.number} entries")
    found = await traces(world)
    because = begun_before(control_tables(world.mapping.name).journal, found) if found else "no migration has begun"
    return GateResult("history", not found, state.number, None, because)


async def _stream(world: World, side: Side) -> GateResult:
    name = world.stream_of(side)
    facts = await world.admin.stream(name)
    if facts is None:
        because = f"{name} will be created with {world.settings.shards} shards"
        return GateResult(f"{side.value}_stream", True, None, world.settings.shards, because)
    because = f"{name} is {facts.status} with {len(facts.open_shards)} shards"
    return GateResult(f"{side.value}_stream", facts.status == "ACTIVE", facts.status, "ACTIVE", because)


async def _destination_free(world: World, source: TableFacts | None) -> GateResult:
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


def _round_trip(sample: Sample) -> GateResult:
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


def _whole_numbers(world: World, sample: Sample) -> GateResult:
    """Warn: such a row is carried unchanged, and its operations count, but its clients are told a rounded number."""
    declared = ", ".join(world.mapping.wholes)
    because = f"whole, within 64 bits, in {sample.ours} sampled rows: {declared or 'none declared'}"
    if sample.inexact_count:
        because = (
            f"WARNING: {sample.inexact_count} of {sample.ours} sampled rows have numbers that can't be answered "
            f"exactly: {'; '.join(sample.inexact)}. {INEXACT_CURE}. The snapshot lists them all"
        )
    return GateResult("whole_numbers", True, sample.inexact_count, 0, because)


def _shared(sample: Sample) -> GateResult:
    because = (
        f"{sample.staying} of {sample.read} sampled rows belong to others and stay; {sample.looked_at} were looked at, "
        f"for {sample.units} read units at most; the snapshot counts them all"
    )
    return GateResult("shared_rows", True, sample.staying, None, because)


def _generations(entries: Sequence[Entry], sample: Sample) -> GateResult:
    given = [int(each.body["counter"]) for each in entries if each.kind == "generation"]
    counter = max(given, default=0)
    because = f"the counter stands at {counter}; sampled rows carry up to {sample.highest_generation}"
    if sample.highest_generation > counter:
        because += " from an earlier migration: the snapshot raises it above all rows"
    return GateResult("generations", True, str(counter), str(sample.highest_generation), because)


def _retention(world: World) -> GateResult:
    hours = world.settings.retention_h
    return GateResult("retention", hours >= 48, hours, 48, f"{hours} h; 168 is recommended, less than 48 is refused")


def _canary(world: World) -> tuple[str, GateResult]:
    try:
        key = world.settings.canary(world.mapping).decode()
    except ConfigError as error:
        return "", GateResult("canary", False, world.settings.canary_key, None, str(error))
    return key, GateResult("canary", True, key, None, "no client may use this key")


async def _bucket(world: World) -> GateResult:
    name = world.settings.bucket
    if not name:
        return GateResult("bucket", False, None, None, "CROSSFADE_BUCKET is not set: export and import need it")
    there = await world.objects.exists()
    return GateResult("bucket", there, name, None, f"{name} is there" if there else f"{name} can't be read")


async def _verifier(world: World) -> GateResult:
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
