"""What a table will never take is known before the key is sealed: named by `plan`, and refused by the real driver.

The cases of issue 8 A, on the embedded engine, which refuses what DynamoDB refuses.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from msgspec import Raw
from msgspec.structs import replace

from crossfade.adapters.admin import DynamoAdmin
from crossfade.adapters.clock import SYSTEM
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.tables import DynamoTable
from crossfade.adapters.transfers import DynamoTransfers
from crossfade.adapters.wire import Credentials, StaticCredentials, Wire, WireConfig
from crossfade.application.ownership import Ownership
from crossfade.core.mapping.rules import Keep, Rename, RuleMapping, Table
from crossfade.core.ownership.decisions import Done, Outcome
from crossfade.core.protocol.keyed.fit import RESERVE_BYTES
from crossfade.core.protocol.keyed.item import Item, Role, parse_item
from crossfade.core.protocol.keyed.protocol import KEYED
from crossfade.core.protocol.keyed.writes import Fence
from crossfade.core.protocol.limits import MAX_ITEM_BYTES, item_size
from crossfade.core.protocol.seam import Aim
from crossfade.core.protocol.writing import Applied, Transfer, Unfit, Verdict
from crossfade.core.values import image as wire
from crossfade.core.values.image import Image, encode_image
from crossfade.core.values.keys import Key, key_image, key_of_strings
from crossfade.core.values.shape import IndexKey, Side
from crossfade_controller.fitting import why_unfit
from localaws import Endpoints

pytestmark = pytest.mark.embedded

L, N = Side.SOURCE, Side.TARGET
KEY = key_of_strings("USER#7")
LONG_NAME = "a_name_that_is_longer_than_the_old_one_by_rather_more_than_the_hundred_bytes_that_are_left_" + "x" * 60


class Bench:
    """Both tables of a mapping on the engine, the driver over them, and a way around the protocol."""

    def __init__(self, dynamodb: DynamoDB, admin: DynamoAdmin, mapping: RuleMapping) -> None:
        self.dynamodb, self.admin, self.mapping = dynamodb, admin, mapping
        self.tables = {side: DynamoTable(dynamodb, mapping, side) for side in Side}
        self.ownership = Ownership(self.tables[L], self.tables[N], mapping, clock=SYSTEM)

    async def put(self, row: Image, side: Side = L) -> None:
        name = json.dumps(self.mapping.shape(side).table).encode()
        await self.dynamodb.put_item(b'{"TableName":%b,"Item":%b}' % (name, encode_image(row)))

    async def image(self, side: Side, key: Key = KEY) -> Image | None:
        shape = self.mapping.shape(side)
        return await self.dynamodb.get_item(shape.table, key_image(key, shape.key))

    async def item(self, side: Side, key: Key = KEY) -> Item | None:
        image = await self.image(side, key)
        return None if image is None else parse_item(image, self.mapping.shape(side))

    async def hand_over(self, side: Side, generation: int) -> Done:
        [done] = await self.ownership.hand_over_many([KEY], Aim(side, generation))
        if isinstance(done, Exception):
            raise done
        return done


OpenBench = Callable[..., Awaitable[Bench]]


@pytest.fixture
async def open_bench(local_aws: Endpoints) -> AsyncIterator[OpenBench]:
    keys = StaticCredentials(Credentials(local_aws.access_key_id, local_aws.secret_access_key))
    region, endpoint = local_aws.region, local_aws.aws_endpoint
    async with (
        Wire("dynamodb", WireConfig(region, endpoint), keys) as client,
        Wire("kinesis", WireConfig(region, endpoint), keys) as kinesis,
    ):

        async def opened(*rules: Keep | Rename, is_open: bool = False, index: str = "", declared: bool = True) -> Bench:
            name = uuid.uuid4().hex[:12]
            index_keys = (IndexKey(index, "S"),) if index and declared else ()
            mapping = RuleMapping(
                name,
                source=Table(f"old-{name}", ("pk",)),
                target=Table(f"new-{name}", ("pk",), index_keys=index_keys),
                rules=[Keep("points"), *rules],
                belongs=lambda _key: True,
                zero={"points": wire.of_number(0)},
                is_open=is_open,
            )
            for side in Side:
                indexed = index if side is N else ""
                await client.call("CreateTable", _table(mapping.shape(side).table, indexed))
            return Bench(DynamoDB(client), DynamoAdmin(client, kinesis), mapping)

        yield opened


def _table(name: str, index: str) -> bytes:
    request = {
        "TableName": name,
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": each, "AttributeType": "S"} for each in filter(None, ("pk", index))],
        "BillingMode": "PAY_PER_REQUEST",
    }
    if index:
        request["GlobalSecondaryIndexes"] = [
            {
                "IndexName": "by_it",
                "KeySchema": [{"AttributeName": index, "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"},
            }
        ]
    return json.dumps(request).encode()


def row(**attributes: Raw) -> Image:
    return key_image(KEY, ("pk",)) | {"points": wire.of_number(5)} | attributes


def wide(count: int) -> Image:
    return row(**{f"h{n:04}": wire.of_number(n) for n in range(count)})


@pytest.mark.parametrize("count", [300, 600])
async def test_an_open_mapping_and_a_row_of_many_attributes_moves_there_and_back(
    open_bench: OpenBench, count: int
) -> None:
    """300 attributes fit an expression by now, 600 go as a whole put."""
    bench = await open_bench(is_open=True)
    await bench.put(wide(count))
    assert why_unfit(bench.mapping, KEY, wide(count)) == ""
    there = await bench.hand_over(N, 2)
    assert (there.outcome, there.side) == (Outcome.SETTLED, N)
    item = await bench.item(N)
    assert item is not None
    assert (item.role, item.generation, len(item.content)) == (Role.ACTIVE, 2, count + 1)
    back = await bench.hand_over(L, 4)
    assert (back.outcome, back.side) == (Outcome.SETTLED, L)
    returned = await bench.item(L)
    assert returned is not None
    assert returned.content == parse_item(wide(count), bench.mapping.shape(L)).content


async def test_a_closed_mapping_of_many_attributes_is_refused_on_the_way_back_and_plan_says_so(
    open_bench: OpenBench,
) -> None:
    names = [f"h{n:04}" for n in range(450)]
    bench = await open_bench(*map(Keep, names))
    await bench.put(wide(450))
    said = why_unfit(bench.mapping, KEY, wide(450))
    assert "no way back" in said
    assert "4096" in said
    there = await bench.hand_over(N, 2)  # a whole put, in the table of its own
    assert (there.outcome, there.side) == (Outcome.SETTLED, N)
    before = await bench.image(N)
    back = await bench.hand_over(L, 4)
    assert (back.outcome, back.side) == (Outcome.HELD_OUT, N)
    assert "4096" in back.because
    assert await bench.image(N) == before, "it was sealed, though it was known that the other table can't take it"


@pytest.mark.parametrize(
    ("value", "cause"),
    [(b'{"S":""}', "is empty"), (b'{"N":"7"}', "has to be S; it is N"), (b'{"S":"%b"}' % (b"x" * 2049), "2049 bytes")],
)
async def test_a_value_that_an_index_of_the_target_table_refuses_is_not_sealed(
    open_bench: OpenBench, value: bytes, cause: str
) -> None:
    bench = await open_bench(Keep("email"), index="email")
    await bench.put(row(email=Raw(value)))
    before = await bench.image(L)
    assert cause in why_unfit(bench.mapping, KEY, row(email=Raw(value)))
    done = await bench.hand_over(N, 2)
    assert (done.outcome, done.side) == (Outcome.HELD_OUT, L)
    assert cause in done.because
    assert await bench.image(L) == before
    assert await bench.image(N) is None


async def test_an_index_that_nobody_declared_is_told_by_plan_and_costs_a_give_back_and_no_owner(
    open_bench: OpenBench,
) -> None:
    """The declaration is what makes it known beforehand; without it the table itself refuses, and the key goes back."""
    bench = await open_bench(Keep("email"), index="email", declared=False)
    await bench.put(row(email=Raw(b'{"S":""}')))
    facts = await bench.admin.table(bench.mapping.shape(N).table)
    assert facts is not None
    assert facts.index_keys == (IndexKey("email", "S"),)
    assert why_unfit(bench.mapping, KEY, row(email=Raw(b'{"S":""}'))) == ""
    done = await bench.hand_over(N, 2)
    assert (done.outcome, done.side) == (Outcome.HELD_OUT, L)
    assert "empty string value" in done.because
    owner = await bench.item(L)
    assert owner is not None
    assert (owner.role, owner.generation) == (Role.ACTIVE, 3)


async def test_a_row_some_100_bytes_below_400_kb_whose_attribute_gets_a_longer_name_is_not_sealed(
    open_bench: OpenBench,
) -> None:
    bench = await open_bench(Rename("n", LONG_NAME))
    free = MAX_ITEM_BYTES - 100 - item_size(row(n=Raw(b'{"S":""}')))
    large = row(n=Raw(b'{"S":"%b"}' % (b"x" * free)))
    assert item_size(large) == MAX_ITEM_BYTES - 100
    await bench.put(large)
    before = await bench.image(L)
    assert "DynamoDB allows 409600" in why_unfit(bench.mapping, KEY, large)
    done = await bench.hand_over(N, 2)
    assert (done.outcome, done.side) == (Outcome.HELD_OUT, L)
    assert "DynamoDB allows 409600" in done.because
    assert await bench.image(L) == before
    assert await bench.image(N) is None


async def test_the_same_row_with_a_short_name_moves_and_can_be_moved_again(open_bench: OpenBench) -> None:
    """The reserve is what a later seal needs: a row that took the last byte could never be given up."""
    bench = await open_bench(Keep("n"))
    bare = item_size(row(n=Raw(b'{"S":""}')))
    largest = next(
        size
        for size in range(MAX_ITEM_BYTES - bare, 0, -1)
        if not why_unfit(bench.mapping, KEY, row(n=Raw(b'{"S":"%b"}' % (b"x" * size))))
    )
    await bench.put(row(n=Raw(b'{"S":"%b"}' % (b"x" * largest))))
    assert (await bench.hand_over(N, 2)).side is N
    assert (await bench.hand_over(L, 10**8)).side is L
    assert (await bench.hand_over(N, 10**8 + 2)).side is N


# Transfers are told the same.


def standby(version: int, **attributes: Raw) -> Image:
    role = {"cf_role": wire.of_string("S"), "cf_gen": wire.of_number(0), "cf_mv": wire.of_number(version)}
    return row(**attributes) | role


@pytest.mark.parametrize("is_open", [False, True], ids=["closed", "open"])
@pytest.mark.parametrize("exists", [False, True], ids=["insert", "update"])
async def test_a_transfer_that_an_index_refuses_tells_the_stores_own_words_and_the_others_are_written(
    open_bench: OpenBench, is_open: bool, exists: bool
) -> None:
    bench = await open_bench(Keep("email"), index="email", declared=False, is_open=is_open)
    if exists:
        await bench.put(standby(1, email=wire.of_string("a@b")), N)
    transfers = DynamoTransfers(bench.dynamodb, bench.mapping.shape(N), bench.mapping.protocol)
    image = {"points": wire.of_number(5), "email": wire.of_string("")}
    other = Transfer(key_of_strings("USER#8"), 7, image | {"email": wire.of_string("x@y")})
    refused, applied = await transfers.transfer([Transfer(KEY, 7, image), other])
    assert isinstance(refused, Unfit)
    assert "cannot contain an empty string value" in refused.because
    assert applied is Verdict.APPLIED


@pytest.mark.parametrize("is_open", [False, True], ids=["closed", "open"])
async def test_a_transfer_leaves_the_reserve_free_so_that_a_fence_always_fits(
    open_bench: OpenBench, is_open: bool
) -> None:
    bench = await open_bench(Keep("note"), is_open=is_open)
    shape = bench.mapping.shape(N)
    transfers = DynamoTransfers(bench.dynamodb, shape, KEYED)

    def sized(total: int) -> Transfer:
        free = total - item_size(standby(7, note=wire.of_string("")))
        return Transfer(KEY, 7, {"points": wire.of_number(5), "note": Raw(b'{"S":"%b"}' % (b"x" * free))})

    [refused] = await transfers.transfer([sized(MAX_ITEM_BYTES - RESERVE_BYTES + 1)])
    assert isinstance(refused, Unfit)
    assert "are kept for the protocol" in refused.because
    assert await transfers.transfer([sized(MAX_ITEM_BYTES - RESERVE_BYTES)]) == [Verdict.APPLIED]
    answer = await bench.tables[N].perform(Fence(KEY, 10**20 + 1))
    assert isinstance(answer, Applied)
    assert await transfers.transfer([replace(sized(MAX_ITEM_BYTES + 5), version=6)]) == [Verdict.STALE]
