"""Three rows that a target table refuses, on the real engine: held out before the seal, given back after it."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

import pytest
from msgspec import Raw
from msgspec.structs import replace

from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.memory.clock import MemoryClock
from crossfade.adapters.owner_requests import render
from crossfade.adapters.tables import DynamoTable
from crossfade.adapters.update_expression import Standing
from crossfade.adapters.wire import Credentials, StaticCredentials, Wire, WireConfig
from crossfade.application.ownership import Ownership
from crossfade.core.mapping.rules import Keep, Rename, RuleMapping, Table
from crossfade.core.ownership.decisions import Done, Outcome, StepKind
from crossfade.core.protocol.keyed.item import Item, Role, build_image, is_held_out
from crossfade.core.protocol.keyed.operation import counted
from crossfade.core.protocol.keyed.writes import Activate, Seal
from crossfade.core.protocol.limits import MAX_ITEM_BYTES, item_size
from crossfade.core.protocol.seam import Aim
from crossfade.core.protocol.writing import Applied, Refused, Unfit
from crossfade.core.values import image as wire
from crossfade.core.values.errors import StoreRefused
from crossfade.core.values.image import Image, encode_image
from crossfade.core.values.keys import key_image, key_of_strings
from crossfade.core.values.shape import IndexKey, Side, TableShape, direction_to
from engine_tables import create_table
from localaws import Endpoints
from ownership_cases import NOW_MS, SEED, counting, number, operation, ulid

pytestmark = pytest.mark.embedded

L, N = Side.SOURCE, Side.TARGET
KEY = key_of_strings("USER#7", "POINTS#chan-3")
WIDE = tuple(f"h{n:04}" for n in range(500))
"""An open mapping puts such a row whole by now; the shared table of a closed one, on the way back, never may."""


class Case(NamedTuple):
    """A row that the other table refuses.

    Attributes:
        mapping: by the tables' name; with what it declares.
        undeclared: the same mapping by a release that doesn't know what speaks against the row.
        source: where the row stands.
        row: its attributes, beside the key and 5 points.
        cured: the attributes of a row that the other table takes.
        words: of the engine's own refusal.
    """

    mapping: Callable[[str], RuleMapping]
    undeclared: Callable[[str], RuleMapping]
    source: Side
    row: Callable[[TableShape], Image]
    cured: Image
    words: str


def _mapping(name: str, rules: list[Keep | Rename], *, is_open: bool = False, indexed: bool = False) -> RuleMapping:
    keys = (IndexKey("tier", "S", sorts=False),) if indexed else ()
    return RuleMapping(
        name,
        source=Table(f"old-{name}", ("pk", "sk")),
        target=Table(f"new-{name}", ("pk", "sk"), index_keys=keys),
        rules=[Keep("points"), *rules],
        belongs=lambda _key: True,
        zero={"points": wire.of_number(0)},
        is_open=is_open,
    )


def _tier(name: str, *, indexed: bool) -> RuleMapping:
    return _mapping(name, [Keep("tier")], indexed=indexed)


def _longer(name: str) -> RuleMapping:
    return _mapping(name, [Rename("a", "a" * 1000)])


def _to_the_brim(shape: TableShape) -> Image:
    """A row so close to 400 KB that it takes a few operations more, and no longer name."""
    owner = Item(SEED, Role.ACTIVE, 2, content=(("a", b'{"S":""}'), ("points", number(5))))
    taken = item_size(build_image(owner, shape, key_image(KEY, shape.key)))
    return {"a": Raw(b'{"S":"%b"}' % (b"x" * (MAX_ITEM_BYTES - taken - 700)))}


def _wide(_shape: TableShape) -> Image:
    return {name: Raw(b'{"N":"1"}') for name in WIDE}


def _closed(name: str) -> RuleMapping:
    return _mapping(name, list(map(Keep, WIDE)))


CASES = {
    "500 number attributes": Case(_closed, _closed, N, _wide, {}, "Expression size has exceeded"),
    "an index key that is empty": Case(
        lambda name: _tier(name, indexed=True),
        lambda name: _tier(name, indexed=False),
        L,
        lambda _shape: {"tier": Raw(b'{"S":""}')},
        {"tier": Raw(b'{"S":"gold"}')},
        "secondary index key",
    ),
    "a row near 400 KB whose attribute gets a longer name": Case(
        _longer, _longer, L, _to_the_brim, {"a": Raw(b'{"S":"short"}')}, "maximum allowed size"
    ),
}


class Bench:
    """Both tables of a case, on the engine."""

    def __init__(self, dynamodb: DynamoDB, case: Case) -> None:
        name = uuid.uuid4().hex[:12]
        self.dynamodb, self.case = dynamodb, case
        self.mapping = case.mapping(name)
        self.older = case.undeclared(name)
        self.source, self.target = case.source, case.source.other
        self.tables = {side: DynamoTable(dynamodb, self.mapping, side) for side in Side}
        self.ownership = self.release(self.mapping)

    def release(self, mapping: RuleMapping) -> Ownership:
        source, target = DynamoTable(self.dynamodb, mapping, L), DynamoTable(self.dynamodb, mapping, N)
        return Ownership(source, target, mapping, clock=MemoryClock(NOW_MS * 1000), jitter=lambda: 0.0)

    def aim(self, generation: int) -> Aim:
        return Aim(self.target, generation)

    async def put(self, side: Side, attributes: Image, item: Item) -> None:
        shape = self.mapping.shape(side)
        image = build_image(item, shape, key_image(KEY, shape.key)) | attributes
        body = b'{"TableName":%b,"Item":%b}' % (json.dumps(shape.table).encode(), encode_image(image))
        await self.dynamodb.put_item(body)

    async def set_up(self) -> None:
        shape = self.mapping.shape(self.source)
        owner = Item(SEED, Role.ACTIVE, 0 if self.source is L else 2, content=(("points", number(5)),))
        await self.put(self.source, self.case.row(shape), owner)
        await self.put(self.target, {}, Item(SEED - 5, Role.STANDBY, 0, content=(("points", number(1)),)))

    async def cure(self) -> None:
        """The owner's row becomes one that the other table takes."""
        item = await self.item(self.source)
        kept = tuple(pair for pair in item.content if pair[0] == "points")
        await self.put(self.source, self.case.cured, item._replace(content=kept))

    async def item(self, side: Side) -> Item:
        item = await self.tables[side].read(KEY)
        assert item is not None
        return item

    async def owners(self) -> list[Side]:
        return [side for side in Side if (await self.item(side)).role is Role.ACTIVE]

    async def earn(self, number_: int, generation: int) -> Done:
        op = counting("points", operation(amount=3, transaction_id=ulid(number_)))
        return await self.ownership.operate(op, self.aim(generation))


@pytest.fixture
async def open_bench(local_aws: Endpoints) -> AsyncIterator[Callable[[str], Awaitable[Bench]]]:
    keys = StaticCredentials(Credentials(local_aws.access_key_id, local_aws.secret_access_key))
    async with Wire("dynamodb", WireConfig(local_aws.region, local_aws.aws_endpoint), keys) as client:

        async def opened(name: str) -> Bench:
            bench = Bench(DynamoDB(client), CASES[name])
            for side in Side:
                await create_table(client, _table(bench.mapping.shape(side)))
            await bench.set_up()
            return bench

        yield opened


def _table(shape: TableShape) -> bytes:
    attributes = ["pk", "sk", *(key.name for key in shape.index_keys)]
    request: dict[str, object] = {
        "TableName": shape.table,
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        "AttributeDefinitions": [{"AttributeName": each, "AttributeType": "S"} for each in attributes],
        "BillingMode": "PAY_PER_REQUEST",
    }
    if shape.index_keys:
        request["GlobalSecondaryIndexes"] = [
            {
                "IndexName": "by-tier",
                "KeySchema": [{"AttributeName": "tier", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "ALL"},
            }
        ]
    return json.dumps(request).encode()


OpenBench = Callable[[str], Awaitable[Bench]]
EACH = pytest.mark.parametrize("name", CASES)


@EACH
async def test_issue_8_a_1_a_key_that_the_other_table_would_refuse_is_held_out_before_it_is_sealed(
    open_bench: OpenBench, name: str
) -> None:
    bench = await open_bench(name)
    (swept,) = await bench.ownership.hand_over_many([KEY], bench.aim(4))
    assert isinstance(swept, Done)
    assert (swept.outcome, swept.side, bool(swept.because)) == (Outcome.HELD_OUT, bench.source, True)
    done = await bench.earn(1, 4)
    assert (done.outcome, done.side) == (Outcome.APPLIED, bench.source)
    assert (await bench.item(bench.source)).generation in (0, 2), "it was never sealed"
    assert (await bench.item(bench.target)).generation == 0, "and nothing had to be fenced"


@EACH
async def test_issue_8_a_2_an_activation_of_an_older_release_that_the_engine_refuses_is_handed_back(
    open_bench: OpenBench, name: str
) -> None:
    """The older release seals without asking; then it is refused, and dies. Whoever comes next gives the key back."""
    bench = await open_bench(name)
    sealed = await bench.tables[bench.source].perform(Seal(KEY, 4, SEED))
    assert isinstance(sealed, Applied)
    image = bench.mapping.map_item(direction_to(bench.target), sealed.item)
    late = Activate(KEY, image)
    refused = await bench.tables[bench.target].perform(late)
    assert isinstance(refused, Unfit)
    assert bench.case.words in refused.because
    assert await bench.owners() == [], "here issue 8 began: nobody owned it, and the API said INTERNAL"

    done = await bench.earn(1, 4)
    assert (done.outcome, done.side) == (Outcome.APPLIED, bench.source)
    assert [step.kind for step in done.steps][-2:] == [StepKind.FENCED, StepKind.GIVEN_BACK]
    owner = await bench.item(bench.source)
    assert is_held_out(owner)
    assert (owner.generation, (await bench.item(bench.target)).generation) == (5, 5)
    assert counted("points", owner, bench.mapping.shape(bench.source)) == 8
    assert await bench.owners() == [bench.source]

    small = replace(late, sealed=image._replace(content=(("points", number(5)),)))  # as another release maps it
    assert isinstance(await bench.tables[bench.target].perform(small), Refused), "what was on the wire finds the fence"
    assert (await bench.earn(2, 4)).steps == (), "and no flag of before tries again"

    await bench.cure()
    (swept,) = await bench.ownership.hand_over_many([KEY], bench.aim(6))
    assert isinstance(swept, Done)
    assert (swept.outcome, swept.side) == (Outcome.SETTLED, bench.target)
    assert await bench.owners() == [bench.target]
    assert counted("points", await bench.item(bench.target), bench.mapping.shape(bench.target)) == 11


async def test_issue_8_a_2_what_only_the_engine_knows_is_handed_back_in_the_same_call(open_bench: OpenBench) -> None:
    """A mapping that doesn't declare the index: the check lets the key pass, and the engine's answer is taken."""
    bench = await open_bench("an index key that is empty")
    ownership = bench.release(bench.older)
    done = await ownership.operate(counting("points", operation(amount=3)), bench.aim(4))
    assert (done.outcome, done.side) == (Outcome.APPLIED, bench.source)
    assert [step.kind for step in done.steps] == [
        StepKind.SEALED,
        StepKind.HELD_OUT,
        StepKind.FENCED,
        StepKind.GIVEN_BACK,
    ]
    assert bench.case.words in done.steps[1].reason
    (swept,) = await ownership.hand_over_many([KEY], bench.aim(6))
    assert isinstance(swept, Done)
    assert (swept.outcome, swept.side) == (Outcome.HELD_OUT, bench.source)
    assert bench.case.words in swept.because
    assert (await bench.item(bench.source)).generation == 7


async def test_issue_8_a_2_what_stands_in_the_other_table_may_leave_no_room(open_bench: OpenBench) -> None:
    """The sweeper goes by a scan and knows nothing of the other side, where an unmapped attribute fills the row."""
    bench = await open_bench("an index key that is empty")
    await bench.cure()
    theirs = {"theirs": Raw(b'{"S":"%b"}' % (b"x" * (MAX_ITEM_BYTES - 250)))}
    await bench.put(N, theirs, Item(SEED - 5, Role.STANDBY, 0, content=(("points", number(1)),)))
    fat = {"tier": wire.of_string("g" * 1000)}
    await bench.put(L, fat, Item(SEED, Role.ACTIVE, 0, content=(("points", number(5)),)))
    known = {KEY: await bench.item(L)}
    (swept,) = await bench.ownership.hand_over_many([KEY], bench.aim(4), known=known)
    assert isinstance(swept, Done)
    assert (swept.outcome, swept.side) == (Outcome.HELD_OUT, L)
    assert "maximum allowed size" in swept.because
    assert await bench.owners() == [L]
    assert (await bench.item(N)).generation == 5, "a full row still takes the fence"


async def test_issue_8_a_1_what_an_older_release_cannot_get_in_a_newer_one_completes(local_aws: Endpoints) -> None:
    """An open mapping and 500 numbers: the older release sends an update, is refused and dies; the newer one puts."""
    rows = {f"h{n:04}": Raw(b'{"N":"1"}') for n in range(500)}
    case = Case(lambda name: _mapping(name, [], is_open=True), _longer, L, lambda _shape: rows, {}, "")
    keys = StaticCredentials(Credentials(local_aws.access_key_id, local_aws.secret_access_key))
    async with Wire("dynamodb", WireConfig(local_aws.region, local_aws.aws_endpoint), keys) as client:
        bench = Bench(DynamoDB(client), case)
        for side in Side:
            await create_table(client, _table(bench.mapping.shape(side)))
        await bench.set_up()
        sealed = await bench.tables[L].perform(Seal(KEY, 4, SEED))
        assert isinstance(sealed, Applied)
        write = Activate(KEY, bench.mapping.map_item(direction_to(N), sealed.item))
        update = render(write, bench.mapping.shape(N), Standing(SEED - 5, ("points",)))
        with pytest.raises(StoreRefused, match="Expression size has exceeded"):
            await bench.dynamodb.update_item(update.body)
        done = await bench.earn(1, 4)
        assert (done.outcome, done.side, await bench.owners()) == (Outcome.APPLIED, N, [N])
        assert {name for name, _ in (await bench.item(N)).content} == {"points", *rows}
