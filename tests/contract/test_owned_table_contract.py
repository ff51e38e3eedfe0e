"""One contract of an owned table, on the memory fake and on the embedded AWS: each write means what `perform` says."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.wire import Credentials, StaticCredentials, Wire, WireConfig
from crossfade.core.protocol.keyed.item import Item, Role, build_image, parse_item
from crossfade.core.protocol.keyed.writes import (
    Activate,
    Bury,
    Fence,
    Lift,
    Merge,
    Operate,
    OperateAndTrim,
    Reinstate,
    Reseal,
    Seal,
    TakeBack,
    Write,
)
from crossfade.core.protocol.limits import MAX_ITEM_BYTES, item_size
from crossfade.core.protocol.writing import Applied, Unfit
from crossfade.core.values.keys import Key, key_image, key_of_strings
from crossfade.core.values.shape import Side
from crossfade_verifier.reading.pages import Reading
from engagement_api.operations import BALANCE, LARGEST_BALANCE, Kind
from engagement_migration import MAPPING
from engine_tables import create_plain_table
from localaws import Endpoints
from owned_benches import EmbeddedBench, OpenBench, check
from ownership_cases import (
    IDS,
    SEED,
    comparable,
    content,
    items,
    live,
    number,
    operation,
    stamped,
    tombstone,
    ulid,
    writes,
)
from property_examples import examples

SIDES = pytest.mark.parametrize("side", list(Side))
FORMS = pytest.mark.parametrize("together", [False, True], ids=["alone", "in a batch"])


@SIDES
@FORMS
@pytest.mark.parametrize("kind", list(Kind))
async def test_an_operation_is_refused_by_each_condition_that_its_meaning_names(
    open_bench: OpenBench, side: Side, together: bool, kind: Kind
) -> None:
    op = operation(kind)
    full = frozenset(ulid(n) for n in range(100, 132))
    active = stamped(side, Role.ACTIVE, 2)
    befores = {
        "applies": active,
        "replay": active._replace(recent=active.recent | {op.transaction_id}),
        "replay, though also standby": active._replace(recent=full | {op.transaction_id}, role=Role.STANDBY),
        "standby": active._replace(role=Role.STANDBY),
        "below the floor": active._replace(floor=ulid(2)),
        "at the floor": active._replace(floor=op.transaction_id),
        "just above the floor": active._replace(floor=ulid(0)),
        "poor": live(side, balance=2, version=SEED, role=Role.ACTIVE, generation=2),
        "poor, with ids": stamped(side, Role.ACTIVE, 2, content=content(side, 2)),
        "full": active._replace(recent=full),
        "full of points": active._replace(content=content(side, LARGEST_BALANCE - 3)),
        "too full of points": active._replace(content=content(side, LARGEST_BALANCE - 2)),
        "too full of points, by a fraction": active._replace(content=content(side, f"{LARGEST_BALANCE - 3}.5")),
        "a fraction": active._replace(content=content(side, "12.5")),
        "beyond 64 bits": active._replace(content=content(side, 99999999999999999999)),
        "beyond 64 bits, below": active._replace(content=content(side, -99999999999999999999)),
        "unstamped": live(side),
        "unstamped standby": live(side, role=Role.STANDBY, generation=1),
        "imported": live(side, version=0, role=Role.STANDBY),
        "tombstone": tombstone(Role.ACTIVE, 2),
        "tombstone that a stray writer wrote to": active._replace(deleted=True),
        "lacks a part of the zero item": active._replace(content=active.content[:1]),
        "lacks a balance": active._replace(content=content(side, None, tier=b'{"S":"gold"}')),
        "expires": active._replace(ttl=b'{"N":"4102444800"}'),
        "absent": None,
    }
    write = Operate(op.key, op, 32, generation=4)
    await check(open_bench(side), [(before, write) for before in befores.values()], together=together)


@SIDES
@FORMS
@pytest.mark.parametrize("kind", list(Kind))
async def test_a_trimming_write_holds_for_the_item_it_was_planned_for_and_raises_the_floor(
    open_bench: OpenBench, side: Side, together: bool, kind: Kind
) -> None:
    op = operation(kind)
    active = stamped(side, Role.ACTIVE, 2, floor=ulid(0, age_ms=90_000))
    trims = [OperateAndTrim(op.key, op, SEED, frozenset({ulid(90)}), floor) for floor in (ulid(91), b"")]
    befores: list[Item | None] = [
        active,
        active._replace(floor=b""),
        active._replace(version=SEED + 1),
        active._replace(version=None),
    ]
    befores += [active._replace(role=Role.STANDBY), tombstone(Role.ACTIVE, 2), live(side), None]
    befores += [active._replace(content=content(side, balance)) for balance in (2, LARGEST_BALANCE - 2, "2.5", 10**30)]
    pairs = [(before, write) for write in trims for before in befores]
    answers = await check(open_bench(side), pairs, together=together)
    assert isinstance(answers[0], Applied)
    assert (answers[0].item.floor, answers[0].item.recent) == (ulid(91), frozenset({ulid(90), op.transaction_id}))


@SIDES
@FORMS
async def test_a_handover_write_holds_under_its_condition_and_under_no_other(
    open_bench: OpenBench, side: Side, together: bool
) -> None:
    key, ttl, balance = operation().key, b'{"N":"4102444800"}', MAPPING.shape(side).own(BALANCE)
    active, standby = stamped(side, Role.ACTIVE, 2, ttl=ttl), stamped(side, Role.STANDBY, 2, ttl=ttl)
    sealed = stamped(side, Role.STANDBY, 3, SEED + 4, ttl=ttl)
    befores = [None, live(side), live(side, ttl=ttl), active, active._replace(ttl=b""), standby]
    befores += [live(side, role=Role.STANDBY)]
    befores += [tombstone(Role.ACTIVE, 2), tombstone(Role.STANDBY, 2), standby._replace(version=SEED + 9)]
    befores += [stamped(side, role, generation) for role in Role for generation in (3, 4)]
    handovers: list[Write] = [
        Seal(key, 3, SEED + 50, stamped=stamped_, expires=expires)
        for stamped_ in (True, False)
        for expires in (True, False)
    ]
    handovers += [
        Activate(key, sealed),
        Activate(key, sealed._replace(ttl=b"", floor=ulid(0))),
        Activate(key, tombstone(Role.STANDBY, 3, SEED + 4)),
        Activate(key, sealed, complete=True),
        Reseal(key, 2, SEED, SEED + 10),
        Fence(key, 3),
        Fence(key, 3, complete=True),
        TakeBack(key, standby, 3, SEED + 10),
        TakeBack(key, standby._replace(ttl=b""), 3, SEED + 10),
        Lift(key, SEED, SEED + 10),
        Lift(key, None, SEED + 10),
        Merge(key, SEED, SEED, b"\xff" * 16, ((balance, number(9)), ("tier", b'{"S":"iron"}')), ("badges",)),
        Merge(key, SEED, SEED, ulid(90), ((balance, number(9)),), ()),
        Merge(key, None, SEED, b"\xff" * 16, ((balance, number(9)),), ("tier",)),
        Reinstate(key, standby),
        Reinstate(key, active._replace(floor=ulid(0))),
        Reinstate(key, tombstone(Role.STANDBY, 2)),
        Bury(key, SEED, SEED + 1),
        Bury(key, None, SEED + 1),
    ]
    pairs = [(before, write) for write in handovers for before in befores]
    await check(open_bench(side), pairs, together=together)


@SIDES
@FORMS
@settings(max_examples=examples(12), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs_of=st.data())
async def test_every_write_means_on_the_engine_what_perform_says(
    open_bench: OpenBench, side: Side, together: bool, pairs_of: st.DataObject
) -> None:
    pairs = pairs_of.draw(st.lists(st.tuples(items(side), writes(side)), min_size=1, max_size=30))
    await check(open_bench(side), pairs, together=together)


@SIDES
@FORMS
async def test_adr_0014_a_write_that_the_store_will_never_take_is_unfit_and_says_nothing_of_the_others(
    open_bench: OpenBench, side: Side, together: bool
) -> None:
    bench = open_bench(side)
    sealed = stamped(side, Role.STANDBY, 2, SEED + 1)
    long = sealed._replace(content=(*sealed.content, ("tier", b'{"S":"%b"}' % (b"x" * 410_000))))
    keys = [key_of_strings(f"USER#{n}", "POINTS#c") for n in range(3)]
    for key in keys:
        await bench.put(key, live(side, role=Role.STANDBY, version=0))
    writes = [Activate(keys[0], sealed), Activate(keys[1], long), Activate(keys[2], sealed)]
    if together:
        answers = await bench.table.perform_many(writes)
    else:
        answers = [await bench.table.perform(write) for write in writes]
    assert [type(answer) for answer in answers] == [Applied, Unfit, Applied]
    refused = answers[1]
    assert isinstance(refused, Unfit)
    assert "bytes" in refused.because or "size" in refused.because, "the store's own words"
    met = await bench.table.read(keys[1])
    assert comparable(met) == comparable(live(side, role=Role.STANDBY, version=0)), "and nothing was written"
    fenced = await bench.table.perform(Fence(keys[1], 3))
    assert isinstance(fenced, Applied)
    assert fenced.item.generation == 3


@SIDES
async def test_adr_0014_a_fence_fits_where_no_other_write_does(open_bench: OpenBench, side: Side) -> None:
    """It changes the generation alone, so it takes no more room than the row already has."""
    bench = open_bench(side)
    row = stamped(side, Role.STANDBY, 2, SEED + 1)
    key = operation().key
    room = MAX_ITEM_BYTES - item_size(build_image(row, bench.table.shape, key_image(key, bench.table.shape.key)))
    filling = ("tier", b'{"S":"%b"}' % (b"x" * (room - len("tier"))))
    row = row._replace(content=tuple(sorted((*row.content, filling))))
    await bench.put(key, row)
    answer = await bench.table.perform(Fence(key, 3))
    assert isinstance(answer, Applied)
    assert comparable(answer.item) == comparable(row._replace(generation=3))


@SIDES
async def test_rule_10_two_writes_of_one_key_in_a_batch_are_performed_in_order(
    open_bench: OpenBench, side: Side
) -> None:
    bench, before = open_bench(side), stamped(side, Role.ACTIVE, 1)
    ops = [operation(amount=n, transaction_id=ulid(n)) for n in (1, 2, 3)]
    await bench.put(ops[0].key, before)
    answers = await bench.table.perform_many([Operate(op.key, op, 32) for op in ops])
    assert [answer.item.version for answer in answers if isinstance(answer, Applied) and answer.item] == [
        SEED + 1,
        SEED + 2,
        SEED + 3,
    ]


async def test_rule_3_a_seal_takes_the_ttl_value_where_it_can_not_fire_and_activation_puts_it_back(
    open_bench: OpenBench,
) -> None:
    bench, ttl = open_bench(Side.SOURCE), b'{"N":"4102444800"}'
    key = operation().key
    await bench.put(key, live(Side.SOURCE, ttl=ttl))
    answer = await bench.table.perform(Seal(key, 1, SEED))
    assert isinstance(answer, Applied)
    sealed = answer.item
    asleep = await bench.image(key)
    assert asleep is not None
    assert "expires_at" not in asleep
    assert b"4102444800" in bytes(asleep["cf_ttl"])
    assert sealed is not None
    await bench.table.perform(Activate(key, sealed._replace(generation=2)))
    awake = await bench.image(key)
    assert awake is not None
    assert "cf_ttl" not in awake
    assert b"4102444800" in bytes(awake["expires_at"])


@SIDES
async def test_a_scan_returns_every_row_of_the_migration_once_and_no_other(open_bench: OpenBench, side: Side) -> None:
    bench = open_bench(side)
    keys = {key_of_strings(f"USER#{n}", "POINTS#chan-3") for n in range(40)}
    others = [key_of_strings(f"USER#{n}", "WALLET#EUR") for n in range(10)]
    await asyncio.gather(*(bench.put(key, live(side)) for key in (*keys, *others)))
    found, scanned = [], 0
    for segment in range(3):
        start = None
        while True:
            page = await bench.table.scan_page(segment=segment, segments=3, start=start, limit=7)
            found += [key for key, _ in page.items]
            scanned += page.scanned
            start = page.next
            if start is None:
                break
    assert sorted(found) == sorted(keys)
    assert scanned == 50


@SIDES
async def test_answers_as_they_came_bring_each_row_once_and_go_on_where_they_ended(
    open_bench: OpenBench, side: Side
) -> None:
    """What the verifier's own reading makes of the bytes: the same rows as `scan_page` and `read_many` return."""
    bench = open_bench(side)
    reading = Reading(MAPPING.declared)
    keys = [key_of_strings(f"USER#{n}", "POINTS#c") for n in range(130)]
    others = [key_of_strings(f"USER#{n}", "WALLET#EUR") for n in range(10)]
    await asyncio.gather(*(bench.put(key, live(side)) for key in (*keys, *others)))
    found, scanned = [], 0
    for segment in range(3):
        start = None
        while True:
            answer = await bench.table.scan_answer(segment=segment, segments=3, start=start, limit=19)
            page = reading.page(side, answer)
            found += page.rows
            scanned += page.scanned
            start = page.next
            if start is None:
                break
    assert sorted(key for key, _ in found) == sorted(keys)
    assert scanned == 140
    items = await bench.table.read_many(keys)
    for key, row in found:
        seen, item = reading.seen(side, row), items[Key(key)]
        assert (seen.version, seen.generation, seen.ids) == (item.version, item.generation, item.recent)
    gone = reading.asks(side, [key_of_strings("USER#gone", "POINTS#c")])
    answers = await bench.table.read_answers([*reading.asks(side, keys), *gone])
    assert sorted(reading.batch(side, answers)) == sorted(keys)
    assert reading.batch(side, await bench.table.read_answers([])) == {}


@SIDES
async def test_reads_return_what_is_there_and_leave_out_what_is_not(open_bench: OpenBench, side: Side) -> None:
    bench = open_bench(side)
    here, gone = key_of_strings("USER#1", "POINTS#c"), key_of_strings("USER#2", "POINTS#c")
    await bench.put(here, stamped(side, Role.ACTIVE, 1))
    assert set(await bench.table.read_many([here, gone])) == {here}
    assert await bench.table.read(gone) is None
    image = await bench.image(here)
    assert image is not None
    assert await bench.table.read(here, consistent=False) == parse_item(image, bench.table.shape)


class Counting(DynamoDB):
    """Counts the requests that write."""

    statements = 0
    alone = 0

    async def execute(self, statements, **options):  # type: ignore[no-untyped-def]  # passes all on
        self.statements += 1
        return await super().execute(statements, **options)

    async def update_item(self, request, **options):  # type: ignore[no-untyped-def]  # passes all on
        self.alone += 1
        return await super().update_item(request, **options)


@SIDES
@pytest.mark.embedded
async def test_rule_10_writes_on_items_of_the_protocol_share_requests_of_25(local_aws: Endpoints, side: Side) -> None:
    ttl = b'{"N":"4102444800"}' if side is Side.SOURCE else b""
    recent = frozenset(IDS[:2])
    sealed = stamped(side, Role.STANDBY, 3, SEED + 4, ttl=ttl)
    earn, spend = operation(), operation(Kind.SPEND)
    cases: list[tuple[Item, Write]] = [
        (stamped(side, Role.ACTIVE, 1, recent=recent), Operate(earn.key, earn, 32)),
        (stamped(side, Role.ACTIVE, 1, recent=recent), Operate(spend.key, spend, 32)),
        (stamped(side, Role.ACTIVE, 1, ttl=ttl), Seal(earn.key, 2, SEED, expires=bool(ttl))),
        (live(side, role=Role.ACTIVE), Seal(earn.key, 2, SEED, stamped=False)),
        (stamped(side, Role.STANDBY, 1, SEED + 4), Activate(earn.key, sealed)),
        (stamped(side, Role.STANDBY, 3), Reseal(earn.key, 3, SEED, SEED + 5)),
    ]
    keys = StaticCredentials(Credentials(local_aws.access_key_id, local_aws.secret_access_key))
    async with Wire("dynamodb", WireConfig(local_aws.region, local_aws.aws_endpoint), keys) as client:
        dynamodb = Counting(client)
        bench = EmbeddedBench(dynamodb, MAPPING, side)
        await create_plain_table(client, bench.table.shape)
        answers = await check(bench, cases * 8, together=True)
    assert all(isinstance(answer, Applied) for answer in answers)
    assert (dynamodb.statements, dynamodb.alone) == (2, 0)
