"""Guards on the embedded AWS, whose policies deny by the principal of the access key."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import pytest

from crossfade.adapters.resource_policy import PolicyGuards
from crossfade.adapters.wire import Credentials, StaticCredentials, Wire, WireConfig
from crossfade.core.values.errors import LeaseLost, StoreRefused
from crossfade.core.values.shape import Side
from crossfade.ports.admin import TableFacts
from localaws.fixture import Emulator

pytestmark = pytest.mark.embedded

OURS = "arn:aws:iam::000000000000:role/crossfade-controller"
_numbers = count()


class Guarded:
    """Two tables, and guards of theirs."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.names = {side: f"guarded-{side.value}-{next(_numbers)}" for side in Side}
        for name in self.names.values():
            emulator.dynamodb.create_table(
                TableName=name,
                KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "at", "KeyType": "RANGE"}],
                AttributeDefinitions=[
                    {"AttributeName": "pk", "AttributeType": "B"},
                    {"AttributeName": "at", "AttributeType": "N"},
                ],
                BillingMode="PAY_PER_REQUEST",
            )
        emulator.control.post("access", principals={"controller": OURS})
        self.ours, self.theirs = self.wire("controller"), self.wire("application")
        self.guards = self.made()

    def wire(self, key_id: str) -> Wire:
        config = WireConfig(region="us-east-1", endpoint_url=self.emulator.endpoints.aws_endpoint)
        return Wire("dynamodb", config, StaticCredentials(Credentials(key_id, "secret", None)))

    def made(self) -> PolicyGuards:
        return PolicyGuards(dict.fromkeys(Side, self.ours), dict.fromkeys(Side, self.theirs), self.facts, [OURS])

    async def facts(self, side: Side) -> TableFacts:
        name = self.names[side]
        key = (("pk", "B"), ("at", "N"))
        return TableFacts(name, self.arn(side), "ACTIVE", key, 0, 0, None, recoverable=True)

    def arn(self, side: Side) -> str:
        return f"arn:aws:dynamodb:us-east-1:000000000000:table/{self.names[side]}"

    def statements(self, side: Side) -> list[dict[str, Any]]:
        told = self.emulator.dynamodb.get_resource_policy(ResourceArn=self.arn(side))
        return list(json.loads(told["Policy"])["Statement"])

    async def write(self, wire: Wire, side: Side) -> None:
        item = {"pk": {"B": "AA=="}, "at": {"N": "1"}}
        await wire.call("PutItem", json.dumps({"TableName": self.names[side], "Item": item}).encode())


@pytest.fixture
async def guarded(emulator: Emulator) -> AsyncIterator[Guarded]:
    made = Guarded(emulator)
    yield made
    await made.ours.close()
    await made.theirs.close()
    emulator.control.post("access", policy_delay_s=0, policy_pause_s=0)


async def on(guarded: Guarded, side: Side, epoch: int) -> None:
    """A change is told as something to wait for; the next look finds it."""
    assert "changed just now" in await guarded.guards.put(side, epoch=epoch)
    assert await guarded.guards.put(side, epoch=epoch) == ""


async def off(guarded: Guarded, side: Side, epoch: int) -> None:
    assert "changed just now" in await guarded.guards.take_off(side, epoch=epoch)
    assert await guarded.guards.take_off(side, epoch=epoch) == ""


async def test_a_guard_denies_the_application_and_lets_crossfade_write_and_is_proven_without_a_trace(
    guarded: Guarded,
) -> None:
    assert not await guarded.guards.is_denied(Side.SOURCE)
    await on(guarded, Side.SOURCE, 2)
    assert await guarded.guards.is_denied(Side.SOURCE)
    assert not await guarded.guards.is_denied(Side.TARGET), "the other table is as it was"
    await guarded.write(guarded.ours, Side.SOURCE)
    with pytest.raises(StoreRefused, match="AccessDenied"):
        await guarded.write(guarded.theirs, Side.SOURCE)
    await off(guarded, Side.SOURCE, 3)
    assert not await guarded.guards.is_denied(Side.SOURCE)
    await guarded.write(guarded.theirs, Side.SOURCE)
    rows = guarded.emulator.dynamodb.scan(TableName=guarded.names[Side.SOURCE])["Items"]
    assert len(rows) == 1, "no probe left a row"


async def test_what_others_have_in_the_policy_stays(guarded: Guarded) -> None:
    theirs = {
        "Sid": "Analytics",
        "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::000000000000:root"},
        "Action": ["dynamodb:Scan"],
        "Resource": guarded.arn(Side.TARGET),
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": theirs})  # one statement needs no list
    guarded.emulator.dynamodb.put_resource_policy(ResourceArn=guarded.arn(Side.TARGET), Policy=policy)
    await on(guarded, Side.TARGET, 5)
    assert [each["Sid"] for each in guarded.statements(Side.TARGET)] == ["Analytics", "CrossfadeGuard5"]
    await off(guarded, Side.TARGET, 6)
    assert [each["Sid"] for each in guarded.statements(Side.TARGET)] == ["Analytics", "CrossfadeEpoch6"]
    assert guarded.statements(Side.TARGET)[0] == theirs


async def test_a_coordinator_that_was_replaced_puts_no_guard_back(guarded: Guarded) -> None:
    await off(guarded, Side.SOURCE, 7)  # nothing stood there, and still the policy knows the epoch
    with pytest.raises(LeaseLost, match="changed at epoch 7, after 6"):
        await guarded.guards.put(Side.SOURCE, epoch=6)
    assert not await guarded.guards.is_denied(Side.SOURCE)


async def test_a_change_that_read_an_older_policy_fails(guarded: Guarded) -> None:
    read = await guarded.guards._read(Side.SOURCE, guarded.arn(Side.SOURCE))
    await off(guarded, Side.SOURCE, 9)

    class Late(PolicyGuards):
        async def _read(self, _side: Side, _arn: str) -> tuple[dict[str, Any], str]:
            return read  # before the replacement's change

    late = Late(dict.fromkeys(Side, guarded.ours), dict.fromkeys(Side, guarded.theirs), guarded.facts, [OURS])
    assert "to take a change" in await late.put(Side.SOURCE, epoch=8)
    assert not await guarded.guards.is_denied(Side.SOURCE)


async def test_a_policy_that_was_changed_just_now_is_waited_for(guarded: Guarded) -> None:
    await on(guarded, Side.SOURCE, 2)
    guarded.emulator.control.post("access", policy_pause_s=15)
    assert "to take a change" in await guarded.guards.take_off(Side.SOURCE, epoch=3)
    guarded.emulator.control.post("access", policy_pause_s=0)
    await off(guarded, Side.SOURCE, 3)


async def test_a_policy_that_is_not_in_force_yet_proves_nothing(guarded: Guarded) -> None:
    guarded.emulator.control.post("access", policy_delay_s=3600)
    await on(guarded, Side.SOURCE, 2)
    assert not await guarded.guards.is_denied(Side.SOURCE)
