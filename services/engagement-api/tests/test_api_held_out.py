"""Wallets that the other table refuses: clients notice nothing; what really can't be served is refused by name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode
from structlog.testing import capture_logs

from api_world import Aborted, Pod, World, detail_of
from crossfade.core.ownership.ramp import FlagDocument
from crossfade.core.protocol.keyed.item import Item, Role, build_image, is_held_out
from crossfade.core.protocol.keyed.writes import Activate, Fence, Operate, TakeBack, Write
from crossfade.core.values.errors import StoreRefused
from crossfade.core.values.keys import key_image
from crossfade.core.values.shape import Side
from crossfade.gen.engagement.v1 import errors_pb2
from engagement_api.keys import wallet_key
from engagement_migration import MAPPING

KEY = wallet_key("7", "chan")
RAMPING = FlagDocument(share=10_000, target_gen=2)
COMPLETE = FlagDocument(share=10_000, target_gen=2, complete=True)
WORDS = "Item size to update has exceeded the maximum allowed size"


def refuses(*kinds: type[Write]) -> Callable[[Write], str]:
    return lambda write: WORDS if isinstance(write, kinds) else ""


async def wallet_of_5(world: World) -> Pod:
    pod = await world.pod()
    await pod.earn(5)
    return pod


def assert_not_served(status: status_pb2.Status, cause: str) -> None:
    assert status.code == StatusCode.FAILED_PRECONDITION.value[0]
    info = detail_of(status, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == ("WALLET_NOT_SERVED", "crossfade.engagement.v1")
    wallet = detail_of(status, error_details_pb2.ResourceInfo)
    assert wallet.resource_name == "users/7/channels/chan"
    assert cause in detail_of(status, errors_pb2.WalletNotServed).cause


@pytest.mark.parametrize("together", [False, True])
async def test_a_wallet_that_the_target_table_refuses_is_given_back_and_its_client_notices_nothing(
    together: bool,
) -> None:
    world = World()
    await wallet_of_5(world)
    world.tables[Side.TARGET].unfit = refuses(Activate)
    pod = await world.pod(RAMPING)
    with capture_logs() as logs:
        if together:
            outcomes = await pod.earn_many(pod.earning(3), pod.earning(1, user="8"), pod.earning(2))
            assert [each.response.balance for each in outcomes] == [8, 1, 10]
        else:
            assert (await pod.earn(3)).balance == 8
            assert (await pod.spend(1)).balance == 7
    said = {(each["key"], each["reason"]) for each in logs if each["event"] == "key held out"}
    assert (KEY.decode(), WORDS) in said, "and the operator reads which key, and why"
    assert is_held_out(world.tables[Side.SOURCE].item(KEY))
    assert pod.tally.steps["given back"] == (2 if together else 1), "once a wallet, and not with each call"
    assert await pod.balance() == (10 if together else 7)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("refused", [(Activate, Fence), (Activate, TakeBack), (Operate,)])
async def test_what_really_cannot_be_served_is_refused_by_name_with_its_cause(
    refused: tuple[type[Write], ...], together: bool
) -> None:
    world = World()
    await wallet_of_5(world)
    for table in world.tables.values():
        table.unfit = refuses(*refused)
    pod = await world.pod(RAMPING)
    if together:
        (outcome,) = await pod.earn_many(pod.earning(3))
        assert_not_served(outcome.error, WORDS)
    else:
        with pytest.raises(Aborted) as aborted:
            await pod.earn(3)
        assert_not_served(aborted.value.status, WORDS)
        assert pod.figures.counts()["failed"] == 1, "the gates see it"
    assert await pod.balance() == 5, "and it can still be read"
    for table in world.tables.values():
        table.unfit = refuses()
    assert (await pod.earn(3)).balance == 8, "once the cause is gone"


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("reason", ["AccessDeniedException", "ResourceNotFoundException"])
async def test_a_wallet_left_behind_after_complete_is_refused_by_name(together: bool, reason: str) -> None:
    world = World()
    old = await wallet_of_5(world)
    await old.earn(1, user="8")
    await (await world.pod(RAMPING)).earn(1, user="8")
    new = world.tables[Side.TARGET]
    fence = Item(version=0, role=Role.STANDBY, generation=3, deleted=True)  # the controller leaves it before `complete`
    new.put(build_image(fence, new.shape, key_image(KEY, new.shape.key)))

    async def denied() -> None:
        raise StoreRefused("not authorized to perform: dynamodb:UpdateItem", reason=reason)

    world.tables[Side.SOURCE].first = denied
    pod = await world.pod(COMPLETE)
    if together:
        theirs, ours = await pod.earn_many(pod.earning(3), pod.earning(1, user="8"))
        assert_not_served(theirs.error, "not authorized")
        assert ours.response.balance == 3, "the others are served"
    else:
        with pytest.raises(Aborted) as aborted:
            await pod.earn(3)
        assert_not_served(aborted.value.status, "not authorized")
    assert await pod.balance() == 5, "it may still be read, and is no empty wallet"
    assert (await pod.earn(1, user="8")).balance == (4 if together else 3)


async def test_a_denied_right_before_complete_is_still_a_fault_of_ours() -> None:
    """It says nothing of one wallet: a deployment is wrong, and the alert on INTERNAL has to see it."""
    world = World()
    pod = await wallet_of_5(world)

    async def denied() -> None:
        raise StoreRefused("not authorized", reason="AccessDeniedException")

    world.tables[Side.SOURCE].first = denied
    with pytest.raises(Aborted) as aborted:
        await pod.earn(3)
    assert aborted.value.code is StatusCode.INTERNAL


async def test_a_wallet_that_nobody_can_tell_the_owner_of_is_refused_by_name() -> None:
    world = World()
    pod = await wallet_of_5(world)
    for side, table in world.tables.items():
        item = Item(version=1, role=Role.STANDBY, generation=2)
        table.put(build_image(item, MAPPING.shape(side), key_image(KEY, table.shape.key)))
    for call in (pod.earn(3), pod.balance()):
        with pytest.raises(Aborted) as aborted:
            await call
        assert_not_served(aborted.value.status, "both sides are standby in one generation")
