"""Operations through the API on both tables: exactly once, whichever pod and flag; every refusal with its facts."""

from __future__ import annotations

import pytest
from google.rpc import error_details_pb2
from grpc import StatusCode
from msgspec import Raw

from api_world import ALL_NEW, BACK_TO_SOURCE, SOURCE_ONLY, Aborted, World, context, detail_of
from crossfade.core.ownership.ramp import FlagDocument
from crossfade.core.protocol.events import decode_events
from crossfade.core.protocol.keyed.item import Item
from crossfade.core.values.shape import Side
from crossfade.gen.engagement.v1 import engagement_service_pb2 as pb
from crossfade.gen.engagement.v1 import errors_pb2
from engagement_api.keys import wallet_key

KEY = wallet_key("7", "chan")


def reason(aborted: Aborted) -> str:
    info = aborted.detail(error_details_pb2.ErrorInfo)
    assert info.domain == "crossfade.engagement.v1"
    assert f"ERROR_REASON_{info.reason}" in errors_pb2.ErrorReason.keys()  # noqa: SIM118 - an enum wrapper, no dict
    return str(info.reason)


def owners(world: World) -> list[Side]:
    return [
        side
        for side, table in world.tables.items()
        if (item := table.item(KEY)) and item.role and item.role.value == "A"
    ]


def item_of(world: World, side: Side) -> Item:
    item = world.tables[side].item(KEY)
    assert item is not None
    return item


async def test_earn_spend_read_and_delete() -> None:
    pod = await World().pod()
    earned = await pod.earn(20)
    assert (earned.balance, earned.replayed, earned.version > 10**17) == (20, False, True)
    spent = await pod.spend(8)
    assert (spent.balance, spent.version) == (12, earned.version + 1)
    assert await pod.balance() == 12
    assert (await pod.delete()).balance == 0
    assert await pod.balance() == 0


async def test_section_4_a_retry_on_another_pod_and_the_other_table_applies_once() -> None:
    world = World()
    stale, fresh = await world.pod(SOURCE_ONLY), await world.pod(ALL_NEW)
    transaction_id = world.clock.ulid()
    first = await stale.earn(5, transaction_id=transaction_id)
    again = await fresh.earn(5, transaction_id=transaction_id)
    assert (first.replayed, again.replayed, again.balance) == (False, True, 5)
    moved = await fresh.earn(1)
    assert owners(world) == [Side.TARGET]
    once_more = await stale.earn(5, transaction_id=transaction_id)
    assert (once_more.replayed, once_more.balance, once_more.version) == (True, 6, moved.version)


async def test_section_4_a_pod_with_flags_minutes_old_follows_the_owner() -> None:
    world = World()
    stale, fresh = await world.pod(SOURCE_ONLY), await world.pod(ALL_NEW)
    await stale.earn(5)
    await fresh.earn(5)
    world.clock.pass_s(5)
    for pod, balance in ((stale, 15), (fresh, 20), (stale, 25)):
        assert (await pod.earn(5)).balance == balance
    assert await stale.balance() == await fresh.balance() == 25
    assert owners(world) == [Side.TARGET]


async def test_section_4_a_rollback_hands_back_and_the_pod_of_before_follows() -> None:
    world = World()
    pod, behind = await world.pod(ALL_NEW), await world.pod(ALL_NEW)
    transaction_id = world.clock.ulid()
    await pod.earn(5, transaction_id=transaction_id)
    await pod.flip(BACK_TO_SOURCE)
    assert (await pod.earn(5)).balance == 10
    assert owners(world) == [Side.SOURCE]
    assert (await behind.spend(4)).balance == 6
    assert (await behind.earn(5, transaction_id=transaction_id)).replayed
    assert owners(world) == [Side.SOURCE]


async def test_a_retry_after_a_delete_applies_nothing() -> None:
    world = World()
    pod, other = await world.pod(SOURCE_ONLY), await world.pod(ALL_NEW)
    transaction_id = world.clock.ulid()
    await pod.earn(5, transaction_id=transaction_id)
    await pod.delete()
    again = await other.earn(5, transaction_id=transaction_id)
    assert (again.replayed, again.balance) == (True, 0)
    assert await other.balance() == 0


async def test_spending_more_than_there_is_says_how_much_there_is() -> None:
    pod = await World().pod()
    await pod.earn(5)
    with pytest.raises(Aborted) as refused:
        await pod.spend(6)
    assert (refused.value.code, reason(refused.value)) == (StatusCode.FAILED_PRECONDITION, "INSUFFICIENT_POINTS")
    assert refused.value.detail(errors_pb2.InsufficientPoints) == errors_pb2.InsufficientPoints(balance=5, asked=6)
    assert await pod.balance() == 5


async def test_a_wallet_that_never_was_has_no_points_and_cannot_be_deleted() -> None:
    world = World()
    pod = await world.pod(ALL_NEW)
    with pytest.raises(Aborted) as refused:
        await pod.spend(6)
    assert refused.value.detail(errors_pb2.InsufficientPoints) == errors_pb2.InsufficientPoints(balance=0, asked=6)
    with pytest.raises(Aborted) as refused:
        await pod.delete()
    assert (refused.value.code, reason(refused.value)) == (StatusCode.NOT_FOUND, "WALLET_NOT_FOUND")
    assert refused.value.detail(error_details_pb2.ResourceInfo).resource_name == "users/7/channels/chan"
    assert [table.images for table in world.tables.values()] == [{}, {}]


async def test_a_wrong_field_is_named() -> None:
    pod = await World().pod()
    with pytest.raises(Aborted) as refused:
        await pod.earn(0)
    assert (refused.value.code, reason(refused.value)) == (StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    [violation] = refused.value.detail(error_details_pb2.BadRequest).field_violations
    assert (violation.field, violation.description) == ("amount", "must be 1 to 1000000000, not 0")


async def test_section_4_an_id_below_the_floor_is_expired_with_the_servers_time() -> None:
    world = World()
    pod = await world.pod()
    forgotten = world.clock.ulid(age_s=200)
    await pod.earn(1, transaction_id=forgotten)
    for _ in range(40):
        await pod.earn(1, transaction_id=world.clock.ulid(age_s=100))
    with pytest.raises(Aborted) as refused:
        await pod.earn(1, transaction_id=forgotten)
    assert (refused.value.code, reason(refused.value)) == (StatusCode.ABORTED, "TRANSACTION_EXPIRED")
    told = refused.value.detail(errors_pb2.TransactionExpired)
    assert told.transaction_id == forgotten
    assert told.server_time.ToMicroseconds() == world.clock.now_us
    assert await pod.balance() == 41


async def test_section_4_an_id_from_the_future_is_refused_with_the_wait() -> None:
    world = World()
    pod = await world.pod()
    early = world.clock.ulid(age_s=-7)
    with pytest.raises(Aborted) as refused:
        await pod.earn(1, transaction_id=early)
    assert (refused.value.code, reason(refused.value)) == (StatusCode.OUT_OF_RANGE, "TRANSACTION_FROM_FUTURE")
    told = refused.value.detail(errors_pb2.TransactionFromFuture)
    assert (told.transaction_id, told.tolerance.ToMilliseconds()) == (early, 5000)
    assert refused.value.detail(error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() == 2000
    assert refused.value.detail(error_details_pb2.BadRequest).field_violations[0].field == "transaction_id"
    world.clock.pass_s(2)
    assert (await pod.earn(1, transaction_id=early)).balance == 1


async def test_section_4_too_many_operations_on_one_wallet_are_refused_before_anything_is_applied() -> None:
    world = World()
    pod = await world.pod()
    for _ in range(1000):
        await pod.earn(1)
    with pytest.raises(Aborted) as refused:
        await pod.earn(1)
    assert (refused.value.code, reason(refused.value)) == (StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_OPERATIONS")
    told = refused.value.detail(errors_pb2.TooManyOperations)
    assert (told.remembered, told.window.seconds) == (1000, 60)
    wait_s = refused.value.detail(error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() / 1000
    assert 0 < wait_s <= 60
    assert await pod.balance() == 1000
    world.clock.pass_s(5)
    assert (await pod.earn(1, user="8")).balance == 1


async def test_a_store_that_does_not_answer_is_unavailable_with_a_wait_and_the_retry_applies_once() -> None:
    world = World()
    pod = await world.pod(operation_s=0.1)
    await pod.earn(5)
    world.tables[Side.SOURCE].down = True
    transaction_id = world.clock.ulid()
    with pytest.raises(Aborted) as refused:
        await pod.earn(5, transaction_id=transaction_id)
    assert (refused.value.code, reason(refused.value)) == (StatusCode.UNAVAILABLE, "UNAVAILABLE")
    assert refused.value.detail(error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() > 0
    world.tables[Side.SOURCE].down = False
    assert (await pod.earn(5, transaction_id=transaction_id)).balance == 10


async def test_section_4_a_pod_that_cannot_renew_refuses_owner_writes_and_still_reads() -> None:
    world = World()
    pod = await world.pod()
    await pod.earn(5)
    world.clock.pass_s(7)
    for attempt in (pod.earn(5), pod.spend(1), pod.delete(), pod.earn_many(pod.earning())):
        with pytest.raises(Aborted) as refused:
            await attempt
        assert refused.value.code is StatusCode.UNAVAILABLE
        assert refused.value.detail(error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() > 0
    assert await pod.balance() == 5
    await pod.pulse.beat()
    assert (await pod.earn(5)).balance == 10


async def test_section_4_an_operation_holds_back_the_heartbeat_until_it_ends() -> None:
    world = World()
    pod = await world.pod()
    seen: list[FlagDocument] = []

    async def flags_change() -> None:
        await pod.flip(ALL_NEW)
        await pod.pulse.beat()
        seen.extend(each.document for each in await pod.heartbeats.all())

    world.tables[Side.SOURCE].first = flags_change
    await pod.earn()
    assert seen == [SOURCE_ONLY]
    await pod.pulse.beat()
    assert [each.document for each in await pod.heartbeats.all()] == [ALL_NEW]


async def test_an_unexpected_error_tells_the_caller_nothing_of_the_inside() -> None:
    world = World()
    pod = await world.pod()

    async def breaks() -> None:
        raise RuntimeError("secret")

    world.tables[Side.SOURCE].first = breaks
    with pytest.raises(Aborted) as refused:
        await pod.earn()
    assert refused.value.code is StatusCode.INTERNAL
    assert "secret" not in str(refused.value.status)
    assert pod.epochs.settled.running == 0


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("sent", "kept"), [(TRACE, TRACE), ("", ""), ("00-" + "0" * 32 + "-b7ad6b7169203331-01", ""), ("nonsense", "")]
)
async def test_the_event_carries_the_trace_context_of_the_call_if_it_is_one(sent: str, kept: str) -> None:
    world = World()
    pod = await world.pod()
    await pod.earn(5, **({"traceparent": sent} if sent else {}))
    item = item_of(world, Side.SOURCE)
    [event] = decode_events(Raw(item.events))
    assert (event.kind, event.delta, event.reason, event.traceparent) == ("earn", 5, "watched", kept)
    assert item.event_version == item.version


async def test_each_operation_of_a_batch_has_its_own_outcome_in_order() -> None:
    world = World()
    pod = await world.pod()
    applied = world.clock.ulid()
    await pod.earn(1, transaction_id=applied)
    outcomes = await pod.earn_many(
        pod.earning(5, "8"),
        pod.earning(0, "9"),
        pod.earning(1, "7", applied),
        pod.earning(1, "9", world.clock.ulid(age_s=-60)),
        pod.earning(3, "8"),
        pod.earning(5, "8"),
    )
    assert [each.WhichOneof("outcome") for each in outcomes] == [
        "response",
        "error",
        "response",
        "error",
        "response",
        "response",
    ]
    assert [outcomes[n].response.balance for n in (0, 4, 5)] == [5, 8, 13]
    assert outcomes[2].response.replayed
    wrong = detail_of(outcomes[1].error, error_details_pb2.BadRequest).field_violations[0]
    assert (outcomes[1].error.code, wrong.field) == (StatusCode.INVALID_ARGUMENT.value[0], "operations[1].amount")
    assert outcomes[3].error.code == StatusCode.OUT_OF_RANGE.value[0]
    assert detail_of(outcomes[3].error, errors_pb2.TransactionFromFuture)
    assert await pod.balance("9") == 0


async def test_a_batch_moves_wallets_as_single_calls_do() -> None:
    world = World()
    old, target = await world.pod(SOURCE_ONLY), await world.pod(ALL_NEW)
    users = [str(number) for number in range(30)]
    ids = {user: world.clock.ulid() for user in users}
    await old.earn_many(*(old.earning(1, user, ids[user]) for user in users))
    again = await target.earn_many(*(target.earning(1, user, ids[user]) for user in users))
    assert all(each.response.replayed and each.response.balance == 1 for each in again)
    more = await target.earn_many(*(target.earning(2, user) for user in users for _ in range(3)))
    assert [each.response.balance for each in more] == [3, 5, 7] * 30
    assert all(world.tables[Side.TARGET].item(wallet_key(user, "chan")).role.value == "A" for user in users)  # type: ignore[union-attr] # they exist


async def test_a_batch_out_of_bounds_is_refused_whole() -> None:
    pod = await World().pod()
    for operations in ([], [pod.earning()] * 501):
        with pytest.raises(Aborted) as refused:
            await pod.earn_many(*operations)
        assert refused.value.detail(error_details_pb2.BadRequest).field_violations[0].field == "operations"


async def test_many_balances_come_in_the_order_asked_for() -> None:
    world = World()
    pod = await world.pod()
    await pod.earn(3, user="a")
    await pod.earn(4, user="b")
    wallets = [pb.Wallet(user=user, channel="chan") for user in ("b", "nobody", "a", "b")]
    response = await pod.servicer.BatchGetBalances(pb.BatchGetBalancesRequest(wallets=wallets), context())
    assert [each.points for each in response.balances] == [4, 0, 3, 4]
    assert response.balances[1].version == 0
    with pytest.raises(Aborted) as refused:
        await pod.servicer.BatchGetBalances(
            pb.BatchGetBalancesRequest(wallets=[*wallets, pb.Wallet(user="a")]), context()
        )
    assert refused.value.detail(error_details_pb2.BadRequest).field_violations[0].field == "wallets[4].channel"


@pytest.mark.parametrize(
    ("asked", "consistent"),
    [
        (pb.READ_CONSISTENCY_UNSPECIFIED, True),
        (pb.READ_CONSISTENCY_STRONG, True),
        (pb.READ_CONSISTENCY_EVENTUAL, False),
    ],
)
async def test_section_4_reads_are_strongly_consistent_unless_asked_otherwise(
    asked: pb.ReadConsistency.ValueType, consistent: bool
) -> None:
    world = World()
    pod = await world.pod()
    source = world.tables[Side.SOURCE]
    await pod.servicer.GetBalance(pb.GetBalanceRequest(user="7", channel="chan", consistency=asked), context())
    assert source.last_read_consistent is consistent
    source.last_read_consistent = None
    wallets = [pb.Wallet(user="7", channel="chan")]
    await pod.servicer.BatchGetBalances(pb.BatchGetBalancesRequest(wallets=wallets, consistency=asked), context())
    assert source.last_read_consistent is consistent
