"""`plan`: can this migration run at all, what does it take, and what do its settings mean?

Nothing here writes. A call that IAM refuses makes what it would have told unknown, by the right that is missing; a
check that stands on it is shut, since what is unknown isn't safe.
"""

from __future__ import annotations

from collections.abc import Awaitable, Collection
from contextlib import suppress
from typing import Any, Final, NamedTuple, TypeVar

from crossfade.adapters.admin import facts_of
from crossfade.adapters.describing import REFUSED
from crossfade.core.mapping.facts import why_inexact
from crossfade.core.mapping.proving import prove_round_trip, why_not_one_to_one
from crossfade.core.migration.capacity import Estimate, Load, WindowMeaning, estimate, window_meaning
from crossfade.core.migration.gates import GateResult
from crossfade.core.migration.keyed import phases_of
from crossfade.core.migration.phases import Phase
from crossfade.core.migration.state import Migration, fold
from crossfade.core.ownership.trim import FULL_SIZE, SOFT_SIZE, WINDOW_MS
from crossfade.core.plan.attached import Attached, attached
from crossfade.core.plan.carry import Carry, carry_over
from crossfade.core.plan.costs import Move, costs
from crossfade.core.plan.described import Answers, Unknown, peak_per_s, unknowns
from crossfade.core.plan.refused import refusals
from crossfade.core.plan.sizes import RECORD_BYTES, RECORD_MOST_BYTES, Sizes, sizes
from crossfade.core.plan.sizes import Row as Sized
from crossfade.core.plan.stop import How, Stop, stop_of
from crossfade.core.protocol.limits import item_size
from crossfade.core.protocol.plain.fit import FENCE_BYTES
from crossfade.core.protocol.plain.protocol import PLAIN
from crossfade.core.values.errors import PoisonRecord, StoreRefused
from crossfade.core.values.image import Image, encode_image
from crossfade.core.values.keys import encode_key
from crossfade.core.values.shape import Direction, Side
from crossfade.ports.admin import StreamFacts, TableFacts
from crossfade_controller import plan_checks as checks_of
from crossfade_controller.fitting import fits, indexes, why_unfit
from crossfade_controller.history import missing_state
from crossfade_controller.sampling import Rows, Sample
from crossfade_controller.world import World

SAMPLES: Final = 5
KINESIS: Final = frozenset({"DescribeStreamSummary", "ListShards"})
"""Operations of Kinesis that a plan calls through the wire client; the others are DynamoDB's."""

T = TypeVar("T")


class Plan(NamedTuple):
    """What `plan` found.

    Attributes:
        checks: each with its verdict.
        sample: the rows it read.
        estimates: capacity and cost.
        window: what W and K mean for one key; None under the plain protocol, which has neither.
        canary: the canary's key; empty where none is named.
        carry_over: what the target has of the source.
        attached: who else is attached to the source.
        sizes: of sampled rows and their records.
        stop: how long the write stop of a flip lasts; None under the keyed protocol, which has none.
        unknown: what couldn't be found out, by question.
    """

    checks: list[GateResult]
    sample: Sample
    estimates: list[Estimate]
    window: WindowMeaning | None
    canary: str
    carry_over: list[Carry]
    attached: list[Attached]
    sizes: Sizes
    stop: Stop | None
    unknown: dict[str, Unknown]

    @property
    def blocking(self) -> list[GateResult]:
        """The checks that a start would refuse."""
        return [each for each in self.checks if not each.open]

    def as_json(self) -> dict[str, Any]:
        """Return the plan as JSON."""
        window = self.window
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
            "window": window and {"window_s": WINDOW_MS / 1000, "most_ids": FULL_SIZE, **window._asdict()},
            "canary": self.canary,
            "carry_over": [each.as_json() for each in self.carry_over],
            "attached": [each.as_json() for each in self.attached],
            "sizes": self.sizes.as_json(),
            "stop": self.stop and self.stop.as_json(),
            "unknown": {name: each._asdict() for name, each in self.unknown.items()},
        }


BEFORE_A_START: Final = ("table", "ttl", "recovery")
"""Questions whose answers may refuse a start; the others are for people."""


async def check_plan(world: World, *, writes_per_s: float | None = None, questions: Collection[str] = ()) -> Plan:
    """Look at everything that can be known beforehand.

    Args:
        world: the ports.
        writes_per_s: owner writes at the peak, for the estimates; None when nobody told.
        questions: which of `crossfade.core.plan.described` to ask; all by default.
    """
    shapes = {side: world.mapping.shape(side) for side in Side}
    described = await world.describe(Side.SOURCE, questions)
    facts = await _source(world, described)
    source = None if isinstance(facts, Unknown) else facts
    target = await _told(world.admin.table(shapes[Side.TARGET].table))
    there = await world.describe(Side.TARGET, questions) if target and not isinstance(target, Unknown) else None
    rows = Rows((), 0, 0, whole=True)
    if source is not None:
        sampled = await _told(world.rows(Side.SOURCE, lambda row: _is_ours(world, row)))
        rows = Rows((), 0, 0, whole=False) if isinstance(sampled, Unknown) else sampled
    sample = _sampled(world, rows, table=source.item_count if source else 0)
    canary, canary_check = checks_of.canary(world)
    is_plain = world.mapping.protocol is PLAIN
    has_canary = bool(canary) and (world.settings.has_canary or not is_plain)
    state, phase = await _state(world, sample, is_plain=is_plain)
    checks = [
        *state,
        _unseen("source_table", facts) or checks_of.source_exists(world, source),
        checks_of.key_schema(world, source),
        _unseen("point_in_time_recovery", described["recovery"]) or checks_of.recoverable(source),
        _unseen("ttl", described["ttl"]) or checks_of.ttl(world, source),
        await _tried("target_table", checks_of.new_is_free(world, phase if is_plain else Phase.PLANNED)),
        *[await _tried(f"{side.value}_stream", checks_of.stream(world, side)) for side in Side],
        await _tried("capture", checks_of.destination_free(world, source)),
        *[await _tried(f"{side.value}_indexes", indexes(world, side)) for side in Side],
        *_refusals(world, described, there),
        checks_of.round_trip(sample),
        _one_to_one(world, rows),
        fits(sample.unfit, sample.unfit_count, sample.ours),
        *([] if is_plain else [checks_of.whole_numbers(world, sample)]),
        checks_of.shared(sample),
        _write_quota(described, sample, writes_per_s, is_plain=is_plain),
        checks_of.retention(world),
        *([] if is_plain and not world.settings.has_canary else [canary_check]),
        await checks_of.bucket(world),
        await checks_of.verifier(world),
    ]
    items = round((source.item_count if source else 0) * sample.ours / sample.read) if sample.read else 0
    items, table_bytes = max(items, sample.ours), source.size_bytes if source else 0
    peak = peak_per_s(described)
    measured = writes_per_s is None and peak is not None
    found = _sizes(world, rows, await _told(world.admin.stream(world.stream_of(Side.SOURCE))))
    if is_plain:
        move = Move(
            items=items,
            item_bytes=sample.item_bytes,
            table_bytes=table_bytes,
            indexes=_index_count(described),
            writes_per_s=peak if measured else writes_per_s,
            is_measured=measured,
            written=world.settings.load == "write",
            record_bytes=2 * sample.item_bytes + 600,
        )
        estimates, window = costs(move, fence_bytes=FENCE_BYTES), None
    else:
        load = Load(items=items, item_bytes=sample.item_bytes, table_bytes=table_bytes, writes_per_s=writes_per_s)
        estimates = estimate(load)
        window = window_meaning(sample.item_bytes, window_s=WINDOW_MS / 1000, soft=SOFT_SIZE, most=FULL_SIZE)
    return Plan(
        checks,
        sample,
        estimates,
        window,
        canary if has_canary else "",
        carry_over(described, there, table=shapes[Side.TARGET].table, renamed=_renamed(world)),
        attached(described),
        found,
        stop_of(_how(world, items, has_canary)) if is_plain else None,
        unknowns(described),
    )


async def _told(asked: Awaitable[T]) -> T | Unknown:
    """Return an answer, or the right that it needs."""
    try:
        return await asked
    except StoreRefused as error:
        if error.reason not in REFUSED:
            raise
        operation = str(error).partition(":")[0]
        return Unknown(f"{'kinesis' if operation in KINESIS else 'dynamodb'}:{operation}")


async def _tried(name: str, asked: Awaitable[GateResult]) -> GateResult:
    """Return a check; shut when IAM refuses what it looks at."""
    found = await _told(asked)
    return found if isinstance(found, GateResult) else GateResult(name, False, None, None, str(found))


def _unseen(name: str, found: object) -> GateResult | None:
    """Return a check that is shut because IAM hides what it looks at; None where it doesn't."""
    hidden = isinstance(found, Unknown) and not found.because
    return GateResult(name, False, None, None, str(found)) if hidden else None


async def _source(world: World, described: Answers) -> TableFacts | Unknown | None:
    """Return what is known of the source: a call that is refused hides what it tells, and nothing else."""
    table, ttl, recovery = told = [described[name] for name in ("table", "ttl", "recovery")]
    unasked = any(isinstance(each, Unknown) and each.because for each in told)
    if unasked or not isinstance(table, dict):
        return await _told(world.admin.table(world.mapping.shape(Side.SOURCE).table))
    hidden = (each if isinstance(each, dict) else {} for each in (ttl, recovery))
    return facts_of(world.mapping.shape(Side.SOURCE).table, table, *hidden)


async def _state(world: World, sample: Sample, *, is_plain: bool) -> tuple[list[GateResult], Phase]:
    """Check what the migration remembers, and say in which phase it is as far as that is known."""
    missing = await _told(missing_state(world))
    if isinstance(missing, Unknown):
        return [GateResult("control_tables", False, None, None, str(missing))], Phase.PLANNED
    entries = [] if missing else await _told(world.journal.entries())
    found = [GateResult("control_tables", not missing, None, None, missing or "they exist")]
    if isinstance(entries, Unknown):
        return [*found, GateResult("history", False, None, None, str(entries))], Phase.PLANNED
    found.append(await _tried("history", checks_of.history(world, entries)))
    phase = fold(Migration(phases_of(world.mapping.protocol)), entries).phase
    return (found if is_plain else [*found, checks_of.generations(entries, sample)]), phase


def _refusals(world: World, described: Answers, there: Answers | None) -> list[GateResult]:
    """Check that the source is of a kind that can be migrated; a world that describes nothing leaves that open."""
    facts = described["table"]
    if isinstance(facts, Unknown) and facts.because:
        return []
    return refusals(described, written=world.settings.load == "write", target_is_there=there is not None)


def _write_quota(described: Answers, sample: Sample, writes_per_s: float | None, *, is_plain: bool) -> GateResult:
    """Hold what the standby is written to, at the peak, against the account's quota for one table."""
    most, peak = described["limits"], writes_per_s or peak_per_s(described)
    if isinstance(most, Unknown) or most is None or peak is None:
        hidden = str(most) if isinstance(most, Unknown) and not most.because else ""
        because = hidden or "not held against the peak of writes, which nobody gave and no metric tells"
        return GateResult("write_quota", True, None, None, because)
    row_bytes = sample.item_bytes + (FENCE_BYTES if is_plain else 0)
    units = round(peak * max(1, -(-row_bytes // 1024)))
    because = f"{units:,} write units a second at the peak; a table may have {most:,}"
    if units > most:
        because += ": raise the quota of table-level write throughput (Service Quotas) for the target's account first"
    return GateResult("write_quota", units <= most, units, most, because)


def _index_count(described: Answers) -> int:
    facts = described["table"]
    return 0 if isinstance(facts, Unknown) or not facts else len(facts.get("GlobalSecondaryIndexes") or ())


def _renamed(world: World) -> dict[str, str]:
    keys = (world.mapping.shape(side).key for side in (Side.SOURCE, Side.TARGET))
    return dict(zip(*keys, strict=False))


def _one_to_one(world: World, rows: Rows) -> GateResult:
    """Check that no two sampled rows go to one key of the target."""
    key_names, keys = world.mapping.shape(Side.SOURCE).key, []
    for row in rows.found:
        with suppress(PoisonRecord):  # the round trip names it
            keys.append(encode_key(row, key_names))
    wrong = why_not_one_to_one(world.mapping, [each for each in keys if each not in world.excluded])
    because = f"{len(keys)} sampled rows have {len(keys)} keys in the target"
    if wrong:
        because = (
            f"{len(wrong)} of {len(keys)} sampled rows can't be told apart in the target: {'; '.join(wrong[:SAMPLES])}"
        )
    return GateResult("one_to_one", not wrong, len(wrong), 0, because)


def _sizes(world: World, rows: Rows, stream: StreamFacts | Unknown | None) -> Sizes:
    """Hold the sample against the limits; a stream that isn't there yet is created for the largest records."""
    key_names, found = world.mapping.shape(Side.SOURCE).key, []
    for row in rows.found:
        try:
            found.append(Sized(encode_key(row, key_names).decode(), item_size(row), len(encode_image(row))))
        except PoisonRecord:
            continue  # the round trip names it
    limit_bytes = RECORD_MOST_BYTES if stream is None else RECORD_BYTES
    if isinstance(stream, StreamFacts):
        limit_bytes = stream.record_bytes
    return sizes(found, fence_bytes=FENCE_BYTES, limit_bytes=limit_bytes)


def _how(world: World, items: int, has_canary: bool) -> How:
    """Say how a flip will be made, as far as the settings tell."""
    settings = world.settings
    return How(
        hook=bool(settings.hold_command),
        settle_s=settings.settle_s or 0.0,
        guard=settings.guard,
        marker=has_canary,
        metric_period_s=settings.metric_period_s,
        listed=0,
        rows=items,
    )


def _is_ours(world: World, row: Image) -> bool:
    """Say whether a sampled row is the mapping's; one without a readable key is looked at, too, a tombstone isn't."""
    protocol = world.mapping.protocol
    try:
        if protocol.spelling.deleted in row and protocol.stands_for_nothing(row, world.mapping.shape(Side.SOURCE)):
            return False
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
