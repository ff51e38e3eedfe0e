"""A DynamoDB table as the ownership protocol uses it: what is sent, and what each answer of a batch means."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec import Raw

from crossfade.adapters.batch_text import BatchText
from crossfade.adapters.dynamodb import DynamoDB, StatementResult
from crossfade.adapters.owner_requests import render
from crossfade.adapters.tables import DynamoTable
from crossfade.adapters.update_expression import Standing
from crossfade.adapters.wire import ConditionFailed, Wire, WireConfig
from crossfade.core.mapping.rules import Constant, Keep, RuleMapping, Table
from crossfade.core.protocol.keyed.item import Item, Role, build_image, parse_item
from crossfade.core.protocol.keyed.perform import perform
from crossfade.core.protocol.keyed.writes import Activate, Lift, Operate, Seal, SealAbsent, Write
from crossfade.core.protocol.writing import Applied, Refused
from crossfade.core.values.errors import ConfigError, CrossfadeError, StoreRefused, StoreUnavailable, Throttled
from crossfade.core.values.image import Image, of_string
from crossfade.core.values.keys import key_image, key_of_strings
from crossfade.core.values.shape import Side
from engagement_api.operations import Kind
from engagement_migration import MAPPING
from ownership_cases import KEY, SEED, content, live, operation, stamped, tombstone, ulid

L, N = Side.SOURCE, Side.TARGET
KEYS = [key_of_strings(f"USER#{n}", "POINTS#c") for n in range(60)]


def image(item: Item, side: Side = L) -> Image:
    return build_image(item, MAPPING.shape(side), key_image(KEY, MAPPING.shape(side).key))


class Engine(DynamoDB):
    """Answers as told, and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(Wire("dynamodb", WireConfig("eu-central-1", "http://127.0.0.1:1")))
        self.batches: list[list[dict[str, Any]]] = []
        self.alone: list[dict[str, Any]] = []
        self.results: list[list[StatementResult] | CrossfadeError] = []
        self.stands: Item | None = stamped(L, Role.ACTIVE, 1)

    async def execute(
        self, statements: Sequence[bytes], *, timeout_s: float | None = None, attempts: int | None = None
    ) -> list[StatementResult]:
        self.batches.append([json.loads(each) for each in statements])
        if not self.results:
            return [StatementResult(None, image(stamped(L, Role.ACTIVE, 1)))] * len(statements)
        result = self.results.pop(0)
        if isinstance(result, CrossfadeError):
            raise result
        return result

    async def update_item(
        self, request: bytes, *, timeout_s: float | None = None, attempts: int | None = None
    ) -> Image | None:
        self.alone.append(json.loads(request))
        if self.stands is None:
            raise ConditionFailed("", item=None)
        return image(self.stands)


def bench() -> tuple[Engine, DynamoTable, list[float]]:
    engine, waits_s = Engine(), list[float]()

    async def sleep(wait_s: float) -> None:
        waits_s.append(wait_s)

    return engine, DynamoTable(engine, MAPPING, L, jitter=lambda: 1.0, sleep=sleep), waits_s


def earns(count: int) -> list[Write]:
    return [Operate(key, operation(key=key), 32) for key in KEYS[:count]]


OK = StatementResult(None, image(stamped(L, Role.ACTIVE, 1)))
REFUSING = stamped(L, Role.STANDBY, 1)


async def test_rule_10_a_batch_goes_out_in_requests_of_25() -> None:
    engine, table, _ = bench()
    answers = await table.perform_many(earns(60))
    assert sorted(map(len, engine.batches)) == [10, 25, 25]
    assert all(isinstance(answer, Applied) for answer in answers)


async def test_rule_10_success_of_the_request_is_not_success_of_each_statement() -> None:
    engine, table, _ = bench()
    unstamped, standing = live(L), REFUSING
    engine.results = [
        [
            OK,
            StatementResult("ConditionalCheckFailed", image(standing)),
            StatementResult("ConditionalCheckFailed", image(unstamped)),
            StatementResult("ConditionalCheckFailed", None),
            StatementResult("ValidationError", None),
            StatementResult("InternalServerError", None),
            StatementResult(None, None),
        ]
    ]
    answers = await table.perform_many(earns(7))
    assert answers[1] == Refused(standing), "the item itself refuses"
    assert len(engine.alone) == 3, "unstamped, absent and unreadable: each goes alone"
    assert [type(answers[n]) for n in (0, 2, 3, 4)] == [Applied] * 4
    assert isinstance(answers[5], StoreUnavailable)
    assert isinstance(answers[6], StoreUnavailable), "an answer without the item says nothing"


async def test_rule_11_throttled_statements_are_sent_again_with_growing_waits_and_the_others_are_not() -> None:
    engine, table, waits_s = bench()
    throttled = StatementResult("ThrottlingError", None)
    engine.results = [[OK, throttled, throttled], [throttled, OK], [OK]]
    answers = await table.perform_many(earns(3))
    assert [len(batch) for batch in engine.batches] == [3, 2, 1]
    assert waits_s == [0.05, 0.1]
    assert all(isinstance(answer, Applied) for answer in answers)


async def test_rule_11_a_statement_that_stays_throttled_is_given_back_and_not_dropped() -> None:
    engine, table, _ = bench()
    throttled = StatementResult("ProvisionedThroughputExceeded", None)
    engine.results = [[OK, throttled], *[[throttled]] * 10]
    answers = await table.perform_many(earns(2))
    assert isinstance(answers[0], Applied)
    assert isinstance(answers[1], Throttled)
    assert len(engine.batches) == 5


async def test_one_statement_that_spoils_the_request_does_not_spoil_the_others() -> None:
    engine, table, _ = bench()
    engine.results = [StoreRefused("no", reason="ValidationException")]
    answers = await table.perform_many(earns(3))
    assert len(engine.alone) == 3
    assert all(isinstance(answer, Applied) for answer in answers)


@pytest.mark.parametrize(
    "error", [Throttled("slower"), StoreUnavailable("gone"), StoreRefused("no", reason="AccessDeniedException")]
)
async def test_an_error_of_the_request_is_the_answer_of_each_of_its_writes(error: CrossfadeError) -> None:
    engine, table, _ = bench()
    engine.results = [error]
    assert await table.perform_many(earns(3)) == [error] * 3
    assert engine.alone == []


async def test_a_write_on_its_own_is_one_single_request() -> None:
    engine, table, _ = bench()
    await table.perform_many(earns(1))
    assert (len(engine.alone), engine.batches) == (1, [])


async def test_a_refused_single_write_brings_what_stood_in_its_way() -> None:
    engine, table, _ = bench()
    engine.stands = None
    assert await table.perform(earns(1)[0]) == Refused(None)


# What the requests say.


def test_rule_9_values_are_spliced_into_a_write_as_they_came() -> None:
    odd = b'{ "M" : {"x":{"N":"007.50"}} }'
    sealed = stamped(N, Role.STANDBY, 3, content=content(N, 5, preferences=odd))
    assert odd in render(Activate(KEY, sealed), MAPPING.shape(N)).body
    statement = BatchText(MAPPING.shape(N)).render(Activate(KEY, sealed))
    assert statement is not None
    assert odd in statement


def test_a_write_names_the_table_the_key_and_asks_for_the_item_either_way() -> None:
    request = json.loads(render(Seal(KEY, 3, SEED), MAPPING.shape(L)).body)
    assert request["TableName"] == "wallet"
    assert request["Key"] == {"pk": {"S": "USER#7"}, "sk": {"S": "POINTS#chan-3"}}
    assert request["ReturnValues"] == "ALL_NEW"
    assert request["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD"


def test_the_seed_is_only_used_where_there_is_no_version_and_19_digits_stay_exact() -> None:
    request = json.loads(render(Operate(KEY, operation(), 32), MAPPING.shape(L)).body)
    seeds = [name for name, value in request["ExpressionAttributeValues"].items() if value == {"N": str(SEED)}]
    assert len(seeds) == 1
    assert f"cf_mv = if_not_exists(cf_mv, {seeds[0]})" in request["UpdateExpression"]


@pytest.mark.parametrize("kind", list(Kind))
def test_mapped_names_go_by_placeholders_whatever_words_are_reserved(kind: Kind) -> None:
    reserved = MAPPING.shape(L)._replace(
        names=(("balance", "size"),), zero=(("size", b'{"N":"0"}'),), attributes=("size", "role")
    )
    request = json.loads(render(Operate(KEY, operation(kind), 32), reserved).body)
    text = request["UpdateExpression"] + request["ConditionExpression"].replace("size(cf_recent)", "")
    assert "role" not in text.replace("cf_role", "")
    assert "size" not in text
    assert "size" in request["ExpressionAttributeNames"].values()


def test_every_value_and_name_of_a_request_is_used_since_an_unused_one_is_refused() -> None:
    sealed = stamped(L, Role.STANDBY, 3, ttl=b'{"N":"4102444800"}')
    writes: list[Write] = [Operate(KEY, operation(kind), 32) for kind in Kind]
    writes += [Seal(KEY, 3, SEED), Activate(KEY, sealed), Activate(KEY, tombstone(Role.STANDBY, 3)), Lift(KEY, None, 5)]
    for side in Side:
        for write in writes:
            request = json.loads(render(write, MAPPING.shape(side)).body)
            text = request["UpdateExpression"] + " " + request["ConditionExpression"] + " "
            for placeholder in (*request["ExpressionAttributeValues"], *request.get("ExpressionAttributeNames", {})):
                assert re.search(re.escape(placeholder) + r"\b", text), (placeholder, text)


def test_a_stub_is_put_only_where_nothing_is() -> None:
    rendered = render(SealAbsent(KEY, 3, SEED), MAPPING.shape(L))
    request = json.loads(rendered.body)
    assert rendered.is_put
    assert request["ConditionExpression"] == "attribute_not_exists(#k)"
    assert parse_item({name: Raw(json.dumps(raw)) for name, raw in request["Item"].items()}, MAPPING.shape(L)) == (
        Item(version=SEED + 1, role=Role.STANDBY, generation=3, deleted=True)
    )


def test_a_name_with_a_quote_can_not_leave_its_quotes() -> None:
    shape = MAPPING.shape(N)._replace(names=(("balance", 'po"ints'),), zero=(('po"ints', b'{"N":"0"}'),))
    statement = BatchText(shape).render(Operate(KEY, operation(Kind.SPEND), 32))
    assert statement is not None
    assert '"po""ints"' in json.loads(statement)["Statement"]


def test_the_text_of_a_statement_depends_on_its_form_alone() -> None:
    text = BatchText(MAPPING.shape(N))
    one, other = (
        text.render(Operate(key, operation(key=key, transaction_id=ulid(n)), 32)) for n, key in enumerate(KEYS[:2])
    )
    assert one is not None
    assert other is not None
    assert json.loads(one)["Statement"] == json.loads(other)["Statement"]


# Open shapes.


class OpenMapping:
    """The engagement mapping, as if its list of attributes were not known."""

    def shape(self, side: Side) -> Any:
        return MAPPING.shape(side)._replace(attributes=None)

    def belongs(self, key: object) -> bool:
        return True


def test_an_open_shape_has_to_be_read_before_a_write_that_removes() -> None:
    open_shape = MAPPING.shape(L)._replace(attributes=None)
    delete = Operate(KEY, operation(Kind.DELETE), 32)
    with pytest.raises(ConfigError, match="read first"):
        render(delete, open_shape)
    request = json.loads(render(delete, open_shape, Standing(SEED, ("balance", "whatever"))).body)
    assert "whatever" in request["ExpressionAttributeNames"].values()
    assert {"N": str(SEED)} in request["ExpressionAttributeValues"].values()


async def test_in_an_open_shape_a_delete_that_is_raced_reads_what_it_met_and_tries_again() -> None:
    class Raced(Engine):
        item = stamped(L, Role.ACTIVE, 1, content=content(L, 5, extra=b'{"S":"x"}'))

        async def get_item(self, table: str, key: Image, *, consistent: bool = True) -> Image | None:
            return image(stamped(L, Role.ACTIVE, 1))

        async def update_item(
            self, request: bytes, *, timeout_s: float | None = None, attempts: int | None = None
        ) -> Image | None:
            self.alone.append(json.loads(request))
            if len(self.alone) == 1:
                raise ConditionFailed("", item=image(self.item))
            answer = perform(delete, self.item, MAPPING.shape(L)._replace(attributes=None))
            assert answer.item is not None
            return image(answer.item)

    delete = Operate(KEY, operation(Kind.DELETE), 32)
    engine = Raced()
    table = DynamoTable(engine, OpenMapping(), L)  # type: ignore[arg-type]  # only what the table asks of a mapping
    answer = await table.perform(delete)
    assert isinstance(answer, Applied)
    assert answer.item.content == ()
    assert "extra" in engine.alone[1]["ExpressionAttributeNames"].values()


def test_a_mapping_whose_first_operation_never_fits_an_expression_is_refused_at_once() -> None:
    """Found at the start, not by the first client whose wallet is new."""

    def constants(count: int) -> RuleMapping:
        rules = [Constant(Side.SOURCE, f"kind_{n:03}", of_string(f"{n}")) for n in range(count)]
        return RuleMapping(
            "m",
            source=Table("old", ("pk",)),
            target=Table("target", ("pk",)),
            rules=[Keep("points"), *rules],
            belongs=lambda _key: True,
        )

    nothing_is_sent: Any = object()
    DynamoTable(nothing_is_sent, constants(80), Side.SOURCE)
    DynamoTable(nothing_is_sent, constants(200), Side.TARGET)  # where the constants are not
    with pytest.raises(ConfigError, match="4096"):
        DynamoTable(nothing_is_sent, constants(200), Side.SOURCE)
