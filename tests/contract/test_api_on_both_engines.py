"""ADR 0023, through the real servicer on both engines: what was applied is never answered as a failure, nor twice.

The balances are what writers outside the API may have left: a little below 64 bits, a fraction, far beyond 64 bits.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, NamedTuple, cast

import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode

from api_world import ALL_NEW, BACK_TO_SOURCE, SOURCE_ONLY, Aborted, Pod, World, context, detail_of
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.tables import DynamoTable
from crossfade.adapters.transfers import DynamoTransfers
from crossfade.adapters.wire import Credentials, StaticCredentials, Wire, WireConfig
from crossfade.core.ownership.ramp import FlagDocument
from crossfade.core.values.image import decode_image, encode_image
from crossfade.core.values.shape import Side
from crossfade.gen.engagement.v1 import engagement_service_pb2 as pb
from crossfade.gen.engagement.v1 import errors_pb2
from engagement_migration import MAPPING
from engine_tables import create_table
from localaws import Endpoints

LIMIT = 9223372036854775807
NEARLY_FULL, FRACTION, BEYOND = "9223372036854775805", "12.5", "99999999999999999999"


class Stage(NamedTuple):
    """A world, and a way to put a source row there as a writer outside the API does."""

    world: World
    put: Callable[[bytes], Awaitable[None]]

    async def wallet(self, user: str, balance: str) -> None:
        row = {
            "pk": {"S": f"USER#{user}"},
            "sk": {"S": "POINTS#chan"},
            "balance": {"N": balance},
            "wallet_type": {"S": "ENGAGEMENT"},
        }
        await self.put(json.dumps(row).encode())


def _definition(name: str) -> bytes:
    request = {
        "TableName": name,
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        "AttributeDefinitions": [{"AttributeName": each, "AttributeType": "S"} for each in ("pk", "sk")],
        "BillingMode": "PAY_PER_REQUEST",
    }
    return json.dumps(request).encode()


@pytest.fixture(params=["memory", pytest.param("embedded", marks=pytest.mark.embedded)])
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    world = World()

    async def put_in_memory(row: bytes) -> None:
        world.tables[Side.SOURCE].put(decode_image(row))

    if request.param == "memory":
        yield Stage(world, put_in_memory)
        return
    aws: Endpoints = request.getfixturevalue("local_aws")
    keys = StaticCredentials(Credentials(aws.access_key_id, aws.secret_access_key))
    name = uuid.uuid4().hex[:12]
    mapping = MAPPING.with_tables(source=f"wallet-{name}", target=f"engagement-{name}")
    async with Wire("dynamodb", WireConfig(aws.region, aws.aws_endpoint), keys) as client:
        dynamodb = DynamoDB(client)
        for side in Side:
            await create_table(client, _definition(mapping.shape(side).table))

        async def put_in_dynamodb(row: bytes) -> None:
            source = json.dumps(mapping.shape(Side.SOURCE).table).encode()
            await dynamodb.put_item(b'{"TableName":%b,"Item":%b}' % (source, encode_image(decode_image(row))))

        world.tables = cast("Any", {side: DynamoTable(dynamodb, mapping, side) for side in Side})
        world.copies = cast(
            "Any", {side: DynamoTransfers(dynamodb, mapping.shape(side), mapping.protocol) for side in Side}
        )
        yield Stage(world, put_in_dynamodb)


DOCUMENTS = pytest.mark.parametrize("document", [SOURCE_ONLY, ALL_NEW], ids=["at home", "after a handover"])


async def seen(pod: Pod, user: str) -> pb.GetBalanceResponse:
    return await pod.servicer.GetBalance(pb.GetBalanceRequest(user=user, channel="chan"), context())


async def seen_many(pod: Pod, *users: str) -> list[pb.Balance]:
    wallets = [pb.Wallet(user=user, channel="chan") for user in users]
    return list((await pod.servicer.BatchGetBalances(pb.BatchGetBalancesRequest(wallets=wallets), context())).balances)


def exact(answer: pb.EarnPointsResponse | pb.SpendPointsResponse | pb.GetBalanceResponse) -> tuple[int, bool, str]:
    return answer.balance, answer.balance_inexact, answer.balance_decimal


@DOCUMENTS
async def test_an_earn_that_would_pass_64_bits_is_refused_by_name_and_applies_nothing_retries_included(
    stage: Stage, document: FlagDocument
) -> None:
    await stage.wallet("7", NEARLY_FULL)
    pod = await stage.world.pod(document)
    transaction_id = stage.world.clock.ulid()
    for _ in range(2):
        with pytest.raises(Aborted) as refused:
            await pod.earn(5, transaction_id=transaction_id)
        assert refused.value.code is StatusCode.FAILED_PRECONDITION
        assert refused.value.detail(error_details_pb2.ErrorInfo).reason == "BALANCE_LIMIT_EXCEEDED"
        assert refused.value.detail(errors_pb2.BalanceLimitExceeded) == errors_pb2.BalanceLimitExceeded(
            balance=int(NEARLY_FULL), asked=5, limit=LIMIT
        )
        assert str(LIMIT) in str(refused.value)
        assert exact(await seen(pod, "7")) == (int(NEARLY_FULL), False, "")
    assert exact(await pod.earn(2)) == (LIMIT, False, "")
    assert exact(await pod.spend(10)) == (LIMIT - 10, False, "")
    assert (await pod.earn(5, transaction_id=transaction_id)).balance == LIMIT - 5, "the id was never spent"


@DOCUMENTS
@pytest.mark.parametrize("dual_write", [False, True], ids=["", "dual write"])
async def test_a_fraction_is_applied_to_and_answered_truly_retries_included(
    stage: Stage, document: FlagDocument, dual_write: bool
) -> None:
    await stage.wallet("7", FRACTION)
    pod = await stage.world.pod(document, dual_write=dual_write, budget_s=5.0)
    earn, spend = stage.world.clock.ulid(), stage.world.clock.ulid()
    assert exact(await seen(pod, "7")) == (12, True, "12.5")
    assert exact(await pod.earn(5, transaction_id=earn)) == (17, True, "17.5")
    again = await pod.earn(5, transaction_id=earn)
    assert (exact(again), again.replayed) == ((17, True, "17.5"), True)
    assert exact(await pod.spend(17, transaction_id=spend)) == (0, True, "0.5")
    with pytest.raises(Aborted) as refused:
        await pod.spend(1)
    assert refused.value.detail(errors_pb2.InsufficientPoints) == errors_pb2.InsufficientPoints(
        balance=0, asked=1, balance_inexact=True, balance_decimal="0.5"
    )
    other = await stage.world.pod(ALL_NEW)
    retried = await other.spend(17, transaction_id=spend)
    assert (exact(retried), retried.replayed) == ((0, True, "0.5"), True)


@DOCUMENTS
async def test_what_is_beyond_64_bits_is_answered_truly_can_be_spent_and_never_grows(
    stage: Stage, document: FlagDocument
) -> None:
    await stage.wallet("7", BEYOND)
    pod = await stage.world.pod(document)
    assert exact(await seen(pod, "7")) == (LIMIT, True, BEYOND)
    transaction_id = stage.world.clock.ulid()
    for replayed in (False, True):
        spent = await pod.spend(5, transaction_id=transaction_id)
        assert (exact(spent), spent.replayed) == ((LIMIT, True, "99999999999999999994"), replayed)
    with pytest.raises(Aborted) as refused:
        await pod.earn(1)
    assert refused.value.detail(errors_pb2.BalanceLimitExceeded) == errors_pb2.BalanceLimitExceeded(
        balance=LIMIT, asked=1, limit=LIMIT, balance_inexact=True, balance_decimal="99999999999999999994"
    )


@DOCUMENTS
async def test_in_a_batch_each_wallet_has_its_own_outcome_written_or_read(stage: Stage, document: FlagDocument) -> None:
    users = {"full": NEARLY_FULL, "odd": FRACTION, "vast": BEYOND, "plain": "1"}
    for user, balance in users.items():
        await stage.wallet(user, balance)
    pod = await stage.world.pod(document)
    for warm in users:  # a role and a version, as any wallet has that was written to before: then a statement does it
        if warm in ("odd", "plain"):
            await pod.earn(1, user=warm)
    requests = [pod.earning(5, user) for user in users]
    for replayed in (False, True):
        full, odd, vast, plain = await pod.earn_many(*requests)
        assert (exact(odd.response), odd.response.replayed) == ((18, True, "18.5"), replayed)
        assert (exact(plain.response), plain.response.replayed) == ((7, False, ""), replayed)
        for refused in (full, vast):
            assert refused.error.code == StatusCode.FAILED_PRECONDITION.value[0]
            assert detail_of(refused.error, error_details_pb2.ErrorInfo).reason == "BALANCE_LIMIT_EXCEEDED"
    assert await seen_many(pod, *users) == [
        pb.Balance(points=int(NEARLY_FULL), version=(await seen(pod, "full")).version),
        pb.Balance(points=18, version=(await seen(pod, "odd")).version, points_inexact=True, points_decimal="18.5"),
        pb.Balance(points=LIMIT, version=(await seen(pod, "vast")).version, points_inexact=True, points_decimal=BEYOND),
        pb.Balance(points=7, version=(await seen(pod, "plain")).version),
    ]


async def test_a_wallet_whose_balance_is_not_a_number_fails_no_other_of_its_batch(stage: Stage) -> None:
    await stage.wallet("plain", "1")
    await stage.put(
        b'{"pk":{"S":"USER#text"},"sk":{"S":"POINTS#chan"},"balance":{"S":"many"},"wallet_type":{"S":"ENGAGEMENT"}}'
    )
    pod = await stage.world.pod()
    plain, text = await seen_many(pod, "plain", "text")
    assert (plain.points, plain.HasField("error")) == (1, False)
    assert detail_of(text.error, error_details_pb2.ErrorInfo).reason == "WALLET_NOT_SERVED"
    text_, plain_ = await pod.earn_many(pod.earning(5, "text"), pod.earning(5, "plain"))
    assert plain_.response.balance == 6
    assert detail_of(text_.error, error_details_pb2.ErrorInfo).reason == "WALLET_NOT_SERVED"
    with pytest.raises(Aborted) as refused:
        await seen(pod, "text")
    assert refused.value.detail(error_details_pb2.ResourceInfo).resource_name == "users/text/channels/chan"


@pytest.mark.parametrize("readable", [1, 6])
async def test_a_row_that_the_protocol_can_not_read_fails_no_other_of_its_batch(stage: Stage, readable: int) -> None:
    users = [f"plain-{n}" for n in range(readable)]
    for user in users:
        await stage.wallet(user, "1")
    await stage.put(
        b'{"pk":{"S":"USER#odd"},"sk":{"S":"POINTS#chan"},"balance":{"N":"1"},"wallet_type":{"S":"ENGAGEMENT"},'
        b'"cf_mv":{"S":"not a version"}}'
    )
    pod = await stage.world.pod()
    *plain, odd = await seen_many(pod, *users, "odd")
    assert [(each.points, each.HasField("error")) for each in plain] == [(1, False)] * readable
    assert detail_of(odd.error, error_details_pb2.ErrorInfo).reason == "WALLET_NOT_SERVED"
    *earned, refused = await pod.earn_many(*(pod.earning(5, user) for user in users), pod.earning(5, "odd"))
    assert [each.response.balance for each in earned] == [6] * readable
    assert detail_of(refused.error, error_details_pb2.ErrorInfo).reason == "WALLET_NOT_SERVED"


def mismatch(
    transaction_id: str, applied: tuple[str, int], asked: tuple[str, int]
) -> tuple[str, errors_pb2.TransactionMismatch]:
    did, wants = (errors_pb2.TransactionMismatch.Payload(kind=kind, amount=amount) for kind, amount in (applied, asked))
    told = errors_pb2.TransactionMismatch(transaction_id=transaction_id, applied=did, asked=wants)
    return "TRANSACTION_MISMATCH", told


def told(status: status_pb2.Status) -> tuple[str, errors_pb2.TransactionMismatch]:
    assert status.code == StatusCode.FAILED_PRECONDITION.value[0]
    reason = str(detail_of(status, error_details_pb2.ErrorInfo).reason)
    return reason, detail_of(status, errors_pb2.TransactionMismatch)


@pytest.mark.parametrize(
    ("before", "after"),
    [(SOURCE_ONLY, SOURCE_ONLY), (SOURCE_ONLY, ALL_NEW), (ALL_NEW, SOURCE_ONLY), (ALL_NEW, BACK_TO_SOURCE)],
    ids=["at home", "before a handover", "on a stale pod", "before a rollback"],
)
async def test_an_id_that_comes_back_with_another_payload_is_refused_with_both_named_and_applies_nothing(
    stage: Stage, before: FlagDocument, after: FlagDocument
) -> None:
    await stage.wallet("7", "100")
    first, second = await stage.world.pod(before), await stage.world.pod(after)
    id_ = stage.world.clock.ulid()
    await first.earn(5, transaction_id=id_)
    for pod in (first, second):
        with pytest.raises(Aborted) as refused:
            await pod.earn(6, transaction_id=id_)
        assert told(refused.value.status) == mismatch(id_, ("earn", 5), ("earn", 6))
        assert all(each in str(refused.value) for each in (id_, "earn of 5", "earn of 6"))
        with pytest.raises(Aborted) as refused:
            await pod.spend(5, transaction_id=id_)
        assert told(refused.value.status) == mismatch(id_, ("earn", 5), ("spend", 5))
        with pytest.raises(Aborted) as refused:
            await pod.delete(transaction_id=id_)
        assert told(refused.value.status) == mismatch(id_, ("earn", 5), ("delete", 0))
        (outcome,) = await pod.earn_many(pod.earning(7, transaction_id=id_))
        assert told(outcome.error) == mismatch(id_, ("earn", 5), ("earn", 7))
        retried = await pod.earn(5, transaction_id=id_)
        assert (retried.replayed, retried.balance) == (True, 105)
    assert (await second.earn(1)).balance == 106, "and now the id is an older one"
    older = await second.earn(6, transaction_id=id_)
    assert (older.replayed, older.balance) == (True, 106)
    with suppress(Aborted):  # a standby that the owner left behind may still know what the id did
        assert (await first.earn(6, transaction_id=id_)).replayed
    assert await second.balance("7") == 106


async def test_in_a_batch_an_id_given_to_two_operations_of_one_wallet_does_the_first(stage: Stage) -> None:
    pod = await stage.world.pod()
    for user in ("7", "8"):
        await pod.earn(1, user=user)
    id_ = stage.world.clock.ulid()
    requests = [pod.earning(5, user, id_) for user in ("7", "8")] + [pod.earning(6, "7", id_)]
    for replayed in (False, True):
        seven, eight, again = await pod.earn_many(*requests)
        for each in (seven, eight):
            assert (each.response.balance, each.response.replayed) == (6, replayed)
        assert told(again.error) == mismatch(id_, ("earn", 5), ("earn", 6))
    assert await pod.balance("7") == 6


async def test_an_id_that_deleted_can_not_earn_and_one_that_spent_can_not_spend_more(stage: Stage) -> None:
    pod = await stage.world.pod()
    await pod.earn(50)
    spend, delete = stage.world.clock.ulid(), stage.world.clock.ulid()
    await pod.spend(3, transaction_id=spend)
    with pytest.raises(Aborted) as refused:
        await pod.spend(4, transaction_id=spend)
    assert told(refused.value.status) == mismatch(spend, ("spend", 3), ("spend", 4))
    await pod.delete(transaction_id=delete)
    with pytest.raises(Aborted) as refused:
        await pod.earn(4, transaction_id=delete)
    assert told(refused.value.status) == mismatch(delete, ("delete", 0), ("earn", 4))
    assert (await pod.delete(transaction_id=delete)).replayed
