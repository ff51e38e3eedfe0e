"""A repair by real processes on the embedded AWS: one is killed in the middle, and the next goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from crossfade.core.migration.phases import Phase
from crossfade.core.protocol.keyed.item import Role
from crossfade.core.values.shape import Side
from engagement_migration.samples import legacy_wallet
from localaws import Endpoints
from replicator_world import World, open_world, wallet
from verifier_process import Verifier

pytestmark = pytest.mark.embedded

WALLETS = 30


@pytest.fixture
async def world(local_aws: Endpoints) -> AsyncIterator[World]:
    async with open_world(local_aws) as opened:
        yield opened


async def test_a_repair_goes_on_where_a_killed_verifier_left_it_while_owners_write(world: World) -> None:
    await world.phase(Phase.BOTH_WAYS)
    for number in range(WALLETS):
        await world.put(Side.SOURCE, legacy_wallet(str(number), "1", 10))
        await world.earn(wallet(number), 5)  # and nothing replicates: the target table is empty
    first = Verifier(world, continuous="false", repairs_per_s="3", pod="first")
    await first.ready()
    keys = [wallet(number).decode() for number in range(WALLETS)]
    plan = await first.call("/repairs", {"keys": keys, "who": "ann"})
    name, shown = plan["id"], plan["steps"]
    assert (plan["state"], plan["by_class"]) == ("planned", {"missing": WALLETS})
    await world.earn(wallet(WALLETS - 1), 1)
    await first.call(f"/repairs/{name}/execute", {"who": "ann"})
    await first.until(lambda body: body["done"], path=f"/repairs/{name}?limit=0")
    first.process.kill()
    await asyncio.to_thread(first.process.wait)

    second = Verifier(world, continuous="false", pod="second")
    await second.ready()
    left = await second.call(f"/repairs/{name}")
    assert (left["state"], left["verifier"]) == ("running", "first")
    assert 0 < left["done"] < WALLETS
    done = await second.until(lambda body: body["state"] == "done", path=f"/repairs/{name}", within_s=60)
    assert [step["key"] for step in done["steps"]] == [step["key"] for step in shown] == keys
    *outcomes, last = [step["outcome"] for step in done["steps"]]
    assert outcomes == ["repaired"] * (WALLETS - 1)
    assert last.startswith("refused: changed since the plan: source had a row of version ")
    for number in range(WALLETS - 1):
        owner, copy = [await world.tables[side].read(wallet(number)) for side in Side]
        assert owner is not None
        assert copy is not None
        assert (copy.version, copy.role, copy.recent) == (owner.version, Role.STANDBY, owner.recent)
    assert await world.tables[Side.TARGET].read(wallet(WALLETS - 1)) is None
    entries = [each.body for each in await world.journal.entries() if each.kind == "repair"]
    assert [(each["stage"], each["who"]) for each in entries] == [
        ("planned", "ann"),
        ("begun", "ann"),
        ("done", "ann"),
    ]
    assert entries[-1]["outcomes"] == {"repaired": WALLETS - 1, "refused": 1}
    assert await second.stop() == 0
