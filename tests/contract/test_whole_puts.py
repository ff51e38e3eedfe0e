"""A row too wide for an expression goes as a whole put: it leaves what an update would, and overwrites nobody."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.owner_requests import render_put, whole
from crossfade.adapters.tables import DynamoTable
from crossfade.adapters.transfers import DynamoTransfers
from crossfade.adapters.wire import Credentials, StaticCredentials, Wire, WireConfig
from crossfade.core.mapping.rules import Keep, RuleMapping, Table
from crossfade.core.protocol.keyed.fence import judge
from crossfade.core.protocol.keyed.fit import RESERVE_BYTES, needs_put
from crossfade.core.protocol.keyed.item import Item, Role, build_image, parse_item
from crossfade.core.protocol.keyed.perform import perform
from crossfade.core.protocol.keyed.protocol import KEYED
from crossfade.core.protocol.keyed.replacing import activation, transferred
from crossfade.core.protocol.keyed.writes import Activate, Operate
from crossfade.core.protocol.limits import MAX_ITEM_BYTES, item_size
from crossfade.core.protocol.writing import Applied, Refused, Transfer, Unfit, Verdict
from crossfade.core.values import image as wire
from crossfade.core.values.image import Image, decode_image, encode_image
from crossfade.core.values.keys import Key, key_image, key_of_strings
from crossfade.core.values.shape import Side, TableShape
from engagement_api.operations import Kind
from engine_tables import create_table
from localaws import Endpoints
from ownership_cases import SEED, comparable, number, operation, stamped, tombstone, ulid
from property_examples import examples

pytestmark = pytest.mark.embedded

L, N = Side.SOURCE, Side.TARGET
NAMES = tuple(f"h{n:04}" for n in range(500))
KINDS = ["open-source", "open-target", "closed-target"]
THEIRS = ("theirs", b'{"M":{"of":{"S":"another tenant"}}}')


def mapping(name: str, *, is_open: bool, names: tuple[str, ...] = NAMES) -> RuleMapping:
    return RuleMapping(
        name,
        source=Table(f"old-{name}", ("pk", "sk")),
        target=Table(f"new-{name}", ("pk", "sk")),
        rules=[Keep("points")] if is_open else [Keep("points"), *map(Keep, names)],
        belongs=lambda _key: True,
        zero={"points": wire.of_number(0)},
        is_open=is_open,
    )


class Racing(DynamoDB):
    """DynamoDB, with somebody who writes between the first read and whatever comes after it."""

    def __init__(self, client: Wire) -> None:
        super().__init__(client)
        self.meanwhile: Callable[[], Awaitable[object]] | None = None
        self.puts = 0

    async def get_item(self, table: str, key: Image, *, consistent: bool = True) -> Image | None:
        found = await super().get_item(table, key, consistent=consistent)
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
        return found

    async def put_item(self, request: bytes, *, timeout_s: float | None = None, attempts: int | None = None) -> None:
        self.puts += 1
        await super().put_item(request, timeout_s=timeout_s, attempts=attempts)


class Bench:
    """One table under a mapping, and a way around the protocol."""

    def __init__(self, dynamodb: Racing, mapped: RuleMapping, side: Side) -> None:
        self.dynamodb, self.shape = dynamodb, mapped.shape(side)
        self.table = DynamoTable(dynamodb, mapped, side)
        self.side = side

    async def set(self, key: Key, item: Item | None, **more: Raw) -> None:
        if item is not None:
            image = build_image(item, self.shape, key_image(key, self.shape.key)) | more
            await DynamoDB.put_item(
                self.dynamodb, b'{"TableName":%b,"Item":%b}' % (_name(self.shape.table), encode_image(image))
            )

    async def image(self, key: Key) -> Image | None:
        return await self.dynamodb.get_item(self.shape.table, key_image(key, self.shape.key))

    async def item(self, key: Key) -> Item | None:
        image = await self.image(key)
        return None if image is None else parse_item(image, self.shape)

    async def fence(self, key: Key, generation: int) -> None:
        """What a give-back does to the refusing side: the generation alone."""
        body = {
            "TableName": self.shape.table,
            "Key": json.loads(encode_image(key_image(key, self.shape.key))),
            "UpdateExpression": "SET cf_gen = :g",
            "ExpressionAttributeValues": {":g": {"N": str(generation)}},
        }
        await self.dynamodb.update_item(json.dumps(body).encode())


def _name(table: str) -> bytes:
    return json.dumps(table).encode()


@pytest.fixture
async def open_bench(local_aws: Endpoints) -> AsyncIterator[Callable[..., Awaitable[Bench]]]:
    keys = StaticCredentials(Credentials(local_aws.access_key_id, local_aws.secret_access_key))
    async with Wire("dynamodb", WireConfig(local_aws.region, local_aws.aws_endpoint), keys) as client:

        async def opened(kind: str, names: tuple[str, ...] = NAMES) -> Bench:
            mode, _, side = kind.partition("-")
            mapped = mapping(uuid.uuid4().hex[:12], is_open=mode == "open", names=names)
            bench = Bench(Racing(client), mapped, Side(side))
            table = {
                "TableName": bench.shape.table,
                "KeySchema": [
                    {"AttributeName": "pk", "KeyType": "HASH"},
                    {"AttributeName": "sk", "KeyType": "RANGE"},
                ],
                "AttributeDefinitions": [{"AttributeName": each, "AttributeType": "S"} for each in ("pk", "sk")],
                "BillingMode": "PAY_PER_REQUEST",
            }
            await create_table(client, json.dumps(table).encode())
            return bench

        yield opened


OpenBench = Callable[..., Awaitable[Bench]]
KEY = key_of_strings("USER#7", "POINTS#chan-3")


def wide(role: Role, generation: int, version: int = SEED, *, count: int = 500, **more: bytes) -> Item:
    content = {name: number(n) for n, name in enumerate(NAMES[:count])} | {"points": number(5)} | more
    return stamped(N, role, generation, version)._replace(content=tuple(sorted(content.items())))


SEALED = wide(Role.STANDBY, 4, SEED + 5)
STANDBY = wide(Role.STANDBY, 2, SEED + 1, count=3)._replace(
    content=tuple(sorted([*wide(Role.STANDBY, 2, count=3).content, THEIRS]))
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("before", [None, STANDBY, tombstone(Role.STANDBY, 2, SEED + 1)], ids=["absent", "row", "gone"])
async def test_a_wide_row_is_activated_whole(open_bench: OpenBench, kind: str, before: Item | None) -> None:
    bench = await open_bench(kind)
    if before is None and bench.side is L:
        before = tombstone(Role.STANDBY, 2, SEED + 1)  # absent means active there
    await bench.set(KEY, before, cf_future=wire.of_string("of a later release"))
    assert needs_put(activation(SEALED, bench.shape)), "the case isn't wide"
    meant = perform(Activate(KEY, SEALED), await bench.item(KEY), bench.shape)
    answer = await bench.table.perform(Activate(KEY, SEALED))
    assert isinstance(meant, Applied)
    assert isinstance(answer, Applied)
    assert comparable(answer.item) == comparable(meant.item) == comparable(await bench.item(KEY))
    image = await bench.image(KEY)
    assert image is not None
    assert ("cf_future" in image) == (before is not None)
    kept = dict(answer.item.content).get("theirs")
    assert (kept is not None) == (kind == "closed-target" and before is STANDBY)
    assert bench.dynamodb.puts == 1


async def test_a_batch_takes_a_wide_row_alone_and_the_others_together(open_bench: OpenBench) -> None:
    bench = await open_bench("closed-target")
    keys = [key_of_strings(f"USER#{n}", "POINTS") for n in range(4)]
    activations = [Activate(key, SEALED if n == 2 else wide(Role.STANDBY, 4, count=3)) for n, key in enumerate(keys)]
    answers = await bench.table.perform_many(activations)
    assert [type(each) for each in answers] == [Applied] * 4
    assert bench.dynamodb.puts == 1


async def test_the_shared_table_of_a_closed_mapping_never_takes_a_whole_put(open_bench: OpenBench) -> None:
    bench = await open_bench("closed-source")
    await bench.set(KEY, STANDBY)
    answer = await bench.table.perform(Activate(KEY, SEALED))
    assert isinstance(answer, Unfit)
    assert "Expression size has exceeded" in answer.because
    assert bench.dynamodb.puts == 0
    assert comparable(await bench.item(KEY)) == comparable(STANDBY)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_item_near_400_kb_goes_as_a_put_since_an_update_is_charged_for_its_clauses(
    open_bench: OpenBench, kind: str
) -> None:
    bench = await open_bench(kind)
    sealed = wide(Role.STANDBY, 4, SEED + 5, count=9, h0009=b'{"S":""}')
    await bench.set(KEY, tombstone(Role.STANDBY, 2, SEED + 1))
    meant = perform(Activate(KEY, sealed), await bench.item(KEY), bench.shape)
    assert isinstance(meant, Applied)
    free = MAX_ITEM_BYTES - RESERVE_BYTES - item_size(whole(None, meant.item, bench.shape, KEY))
    sealed = wide(Role.STANDBY, 4, SEED + 5, count=9, h0009=b'{"S":"%b"}' % (b"x" * free))
    answer = await bench.table.perform(Activate(KEY, sealed))
    assert isinstance(answer, Applied)
    image = await bench.image(KEY)
    assert image is not None
    assert item_size(image) == MAX_ITEM_BYTES - RESERVE_BYTES
    assert bench.dynamodb.puts == 1


@pytest.mark.parametrize("kind", ["open-source", "open-target"])
async def test_a_wide_row_of_an_open_mapping_is_deleted(open_bench: OpenBench, kind: str) -> None:
    bench = await open_bench(kind)
    many = {f"w{n:04}": number(n) for n in range(700)} | {"points": number(5)}
    owner = stamped(N, Role.ACTIVE, 2)._replace(content=tuple(sorted(many.items())))
    await bench.set(KEY, owner)
    answer = await bench.table.perform(Operate(KEY, operation(Kind.DELETE, transaction_id=ulid(5)), 32))
    assert isinstance(answer, Applied)
    found = await bench.item(KEY)
    assert comparable(found) == comparable(answer.item)
    assert found is not None
    assert found.deleted
    assert not found.content


# A whole put and an update leave the same item. The rows are narrow, so that the update is possible at all.

SMALL = NAMES[:4]
_values = st.sampled_from([number(1), b'{"S":"x"}', b'{"L":[{"NULL":true}]}', b'{"SS":["a","b"]}'])
_contents = st.dictionaries(st.sampled_from(["points", *SMALL, "theirs", "more"]), _values, max_size=6)


@st.composite
def rows(draw: st.DrawFn, *, mapped: bool) -> Item:
    content = draw(_contents)
    if mapped:
        content = {name: raw for name, raw in content.items() if name in ("points", *SMALL)}
    deleted = draw(st.booleans())
    return Item(
        version=SEED if mapped else draw(st.sampled_from([None, 0, SEED - 1, SEED])),
        role=Role.STANDBY,
        generation=4 if mapped else draw(st.sampled_from([0, 2])),
        recent=draw(st.frozensets(st.sampled_from([ulid(1), ulid(2)]))),
        floor=draw(st.sampled_from([b"", ulid(3)])),
        events=draw(st.sampled_from([b"", b'{"L":[]}'])),
        event_version=draw(st.sampled_from([0, SEED - 2])),
        deleted=deleted,
        ttl=draw(st.sampled_from([b"", b'{"N":"4102444800"}'])),
        content=() if deleted and mapped else tuple(sorted(content.items())),
    )


Whole = Callable[[Image | None, Item, TableShape, Key], Image]


async def left_by_both(bench: Bench, before: Item | None, sealed: Item, by_put: Whole) -> tuple[Image, Image]:
    """Activate over the same row twice: by the update, and by a put of the whole; return what each leaves."""
    updated, put = key_of_strings(uuid.uuid4().hex, "updated"), key_of_strings(uuid.uuid4().hex, "put")
    for key in (updated, put):
        await bench.set(key, before, **({} if before is None else {"cf_future": wire.of_number(1)}))
    found = await bench.image(put)
    expected = perform(Activate(put, sealed), None if found is None else parse_item(found, bench.shape), bench.shape)
    assert isinstance(expected, Applied)
    assert isinstance(await bench.table.perform(Activate(updated, sealed)), Applied)
    assert bench.dynamodb.puts == 0
    after = by_put(found, expected.item, bench.shape, put)
    await DynamoDB.put_item(bench.dynamodb, render_put(found, after, bench.shape))
    images = []
    for key in (updated, put):
        image = await bench.image(key)
        assert image is not None
        images.append({name: raw for name, raw in image.items() if name not in bench.shape.key})
    return images[0], images[1]


def comparable_image(image: Image, bench: Bench) -> object:
    return comparable(parse_item(image, bench.shape)), "cf_future" in image


@pytest.mark.parametrize("kind", KINDS)
async def test_a_put_and_an_update_leave_the_same_item(open_bench: OpenBench, kind: str) -> None:
    bench = await open_bench(kind, SMALL)
    loop = asyncio.get_running_loop()

    @settings(max_examples=examples(60), deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.one_of(st.none() if bench.side is N else rows(mapped=False), rows(mapped=False)), rows(mapped=True))
    def same(before: Item | None, sealed: Item) -> None:
        both = asyncio.run_coroutine_threadsafe(left_by_both(bench, before, sealed, whole), loop).result(30)
        assert comparable_image(both[0], bench) == comparable_image(both[1], bench)

    await asyncio.to_thread(same)


async def test_a_put_that_drops_unmapped_attributes_is_found(open_bench: OpenBench) -> None:
    def dropping(found: Image | None, item: Item, shape: TableShape, key: Key) -> Image:
        return {name: raw for name, raw in whole(found, item, bench.shape, key).items() if name != "theirs"}

    bench = await open_bench("closed-target", SMALL)
    sealed = wide(Role.STANDBY, 4, SEED + 5, count=3)
    both = await left_by_both(bench, STANDBY, sealed, dropping)
    assert comparable_image(both[0], bench) != comparable_image(both[1], bench)
    both = await left_by_both(bench, STANDBY, sealed, whole)
    assert comparable_image(both[0], bench) == comparable_image(both[1], bench)


@given(rows(mapped=False), rows(mapped=True), st.booleans())
def test_the_list_behind_both_forms_leaves_what_a_transfer_means(before: Item, incoming: Item, absent: bool) -> None:
    """`Replacement.onto` is the put of a transfer; `judge` is what it means, whichever form it takes."""
    shape = mapping("m", is_open=True).shape(N)
    before = before._replace(version=SEED - 1)
    image = build_image(incoming._replace(version=None, role=None, generation=0), shape, {})
    transfer = Transfer(KEY, SEED, image)
    key = key_image(KEY, shape.key)
    found = None if absent else build_image(before, shape, key)
    meant = judge(transfer, None if found is None else parse_item(found, shape), shape)
    assert meant.verdict is Verdict.APPLIED
    left = parse_item(transferred(transfer, shape, found).onto(found, key), shape)
    assert comparable(left) == comparable(meant.item)


# What somebody writes between the read and the put is never overwritten.


@pytest.mark.parametrize("kind", KINDS)
async def test_a_fence_between_read_and_put_stands(open_bench: OpenBench, kind: str) -> None:
    bench = await open_bench(kind)
    await bench.set(KEY, STANDBY)
    bench.dynamodb.meanwhile = lambda: bench.fence(KEY, 5)
    answer = await bench.table.perform(Activate(KEY, SEALED))
    assert isinstance(answer, Refused)
    assert comparable(await bench.item(KEY)) == comparable(STANDBY._replace(generation=5))


@pytest.mark.parametrize("kind", KINDS)
async def test_an_activation_between_read_and_put_stands(open_bench: OpenBench, kind: str) -> None:
    bench = await open_bench(kind)
    await bench.set(KEY, STANDBY)
    other = wide(Role.ACTIVE, 4, SEED + 9, count=2)
    bench.dynamodb.meanwhile = lambda: bench.set(KEY, other)
    assert isinstance(await bench.table.perform(Activate(KEY, SEALED)), Refused)
    assert comparable(await bench.item(KEY)) == comparable(other)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_transfer_between_read_and_put_is_merged_or_stands(open_bench: OpenBench, kind: str) -> None:
    bench = await open_bench(kind)
    await bench.set(KEY, STANDBY)
    newer = STANDBY._replace(version=SEED + 3, content=tuple(sorted([*STANDBY.content, ("added", number(1))])))
    bench.dynamodb.meanwhile = lambda: bench.set(KEY, newer)
    answer = await bench.table.perform(Activate(KEY, SEALED))
    assert isinstance(answer, Applied)
    assert ("added" in dict(answer.item.content)) == (kind == "closed-target")
    assert bench.dynamodb.puts == 2
    above = STANDBY._replace(version=SEED + 8)
    await bench.set(KEY, STANDBY)
    bench.dynamodb.meanwhile = lambda: bench.set(KEY, above)
    assert isinstance(await bench.table.perform(Activate(KEY, SEALED)), Refused)
    assert comparable(await bench.item(KEY)) == comparable(above)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_row_that_appears_between_read_and_put_stands(open_bench: OpenBench, kind: str) -> None:
    bench = await open_bench(kind)
    owner = wide(Role.ACTIVE, 4, SEED + 9, count=2)
    bench.dynamodb.meanwhile = lambda: bench.set(KEY, owner)
    answer = await bench.table.perform(Activate(KEY, SEALED, complete=bench.side is L))
    assert isinstance(answer, Refused)
    assert comparable(await bench.item(KEY)) == comparable(owner)


# Transfers of an open shape.

WIDE_TRANSFER = Transfer(KEY, SEED + 5, {name: wire.of_number(n) for n, name in enumerate(NAMES)}, 2)


@pytest.mark.parametrize("kind", ["open-source", "open-target"])
async def test_a_wide_transfer_goes_as_a_put_and_keeps_role_and_generation(open_bench: OpenBench, kind: str) -> None:
    bench = await open_bench(kind)
    transfers = DynamoTransfers(bench.dynamodb, bench.shape, KEYED)
    first = {} if bench.side is N else {"before": tombstone(Role.STANDBY, 6, SEED + 1)}
    await bench.set(KEY, first.get("before"))
    assert await transfers.transfer([WIDE_TRANSFER]) == [Verdict.APPLIED]
    found = await bench.item(KEY)
    assert found is not None
    assert (found.role, found.generation, found.version) == (Role.STANDBY, 6 if first else 2, SEED + 5)
    assert dict(found.content).keys() == set(NAMES)
    assert bench.dynamodb.puts == 1
    assert await transfers.transfer([WIDE_TRANSFER]) == [Verdict.DUPLICATE]
    later = replace(WIDE_TRANSFER, version=SEED + 6, image=WIDE_TRANSFER.image | {"h0000": wire.of_string("x")})
    assert await transfers.transfer([later]) == [Verdict.APPLIED]


@pytest.mark.parametrize("kind", ["open-source", "open-target"])
async def test_nothing_between_read_and_put_of_a_transfer_is_overwritten(open_bench: OpenBench, kind: str) -> None:
    bench = await open_bench(kind)
    transfers = DynamoTransfers(bench.dynamodb, bench.shape, KEYED)
    await bench.set(KEY, STANDBY)
    bench.dynamodb.meanwhile = lambda: bench.fence(KEY, 5)
    assert await transfers.transfer([WIDE_TRANSFER]) == [Verdict.APPLIED]
    found = await bench.item(KEY)
    assert found is not None
    assert found.generation == 5, "the fence was undone"
    owner = wide(Role.ACTIVE, 6, SEED + 2, count=2)
    await bench.set(KEY, STANDBY)
    bench.dynamodb.meanwhile = lambda: bench.set(KEY, owner)
    assert await transfers.transfer([WIDE_TRANSFER]) == [Verdict.OWNED]
    assert comparable(await bench.item(KEY)) == comparable(owner)


def test_a_put_is_rendered_under_all_three_conditions() -> None:
    shape = mapping("m", is_open=True).shape(N)
    found = build_image(STANDBY, shape, key_image(KEY, shape.key))
    body = json.loads(render_put(found, found, shape))
    for name in ("cf_mv", "cf_role", "cf_gen"):
        assert f"{name} = :{name}" in body["ConditionExpression"]
    bare = decode_image(b'{"pk":{"S":"a"},"sk":{"S":"b"}}')
    for name in ("cf_mv", "cf_role", "cf_gen"):
        assert f"attribute_not_exists({name})" in json.loads(render_put(bare, bare, shape))["ConditionExpression"]
