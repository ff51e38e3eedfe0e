"""Leases: one suite, on memory and on a DynamoDB table of the embedded AWS."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest

from faust_kinesis import DynamoLeases, Lease, LeaseBackend, Progress
from faust_kinesis.dynamo import DynamoBackend
from faust_kinesis.memory import MemoryBackend
from localaws.endpoints import Endpoints


@pytest.fixture(params=["memory", pytest.param("embedded", marks=pytest.mark.embedded)])
async def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LeaseBackend]:
    if request.param == "memory":
        yield MemoryBackend()
        return
    endpoints: Endpoints = request.getfixturevalue("local_aws")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", endpoints.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", endpoints.secret_access_key)
    table = DynamoBackend("faust-kinesis-contract", region=endpoints.region, endpoint_url=endpoints.aws_endpoint)
    yield table
    await table.close()


@pytest.fixture
def stream() -> str:
    return f"stream-{secrets.token_hex(4)}"


def group_of(backend: LeaseBackend, stream: str, worker: str) -> DynamoLeases:
    return DynamoLeases(backend, stream, "group", worker)


async def taken(backend: LeaseBackend, stream: str, worker: str = "w1") -> Lease:
    leases = group_of(backend, stream, worker)
    await leases.create("shard-1", ())
    (lease,) = await leases.list()
    mine = await leases.take(lease)
    assert mine is not None
    return mine


async def test_an_item_is_created_once(backend: LeaseBackend, stream: str) -> None:
    assert await backend.add(stream, "a", {"text": "first", "number": 1})
    assert not await backend.add(stream, "a", {"text": "second", "number": 2})
    (item,) = await backend.items(stream)
    assert {name: item[name] for name in item if name != "pk"} == {"sk": "a", "text": "first", "number": 1}


async def test_a_swap_changes_only_what_is_as_expected(backend: LeaseBackend, stream: str) -> None:
    await backend.add(stream, "a", {"x": 1, "y": "old"})
    assert not await backend.swap(stream, "a", {"x": 2}, {"y": "new"})
    assert not await backend.swap(stream, "a", {"x": 1, "z": "there"}, {"y": "new"})
    assert not await backend.swap(stream, "a", {"y": None}, {"y": "new"})
    assert await backend.swap(stream, "a", {"x": 1, "z": None}, {"y": None, "z": "new"})
    (item,) = await backend.items(stream)
    assert {name: item.get(name) for name in "xyz"} == {"x": 1, "y": None, "z": "new"}


async def test_a_swap_creates_nothing(backend: LeaseBackend, stream: str) -> None:
    assert not await backend.swap(stream, "missing", {"owner": None}, {"owner": "me"})
    assert await backend.items(stream) == []


async def test_of_many_swaps_at_once_one_succeeds(backend: LeaseBackend, stream: str) -> None:
    await backend.add(stream, "a", {"term": 0})
    won = await asyncio.gather(
        *(backend.swap(stream, "a", {"term": 0}, {"term": 1, "owner": f"w{n}"}) for n in range(10))
    )
    assert sum(won) == 1


async def test_more_leases_than_a_page_are_all_listed(backend: LeaseBackend, stream: str) -> None:
    leases = group_of(backend, stream, "w1")
    await asyncio.gather(*(leases.create(f"shard-{n:04d}", (f"parent-{n}", "other")) for n in range(60)))
    listed = await leases.list()
    assert sorted(lease.shard_id for lease in listed) == [f"shard-{n:04d}" for n in range(60)]
    assert all(lease.parents[1] == "other" for lease in listed)


async def test_the_first_caller_fixes_the_start_of_the_group(backend: LeaseBackend, stream: str) -> None:
    assert await group_of(backend, stream, "w1").begin("AT_TIMESTAMP:5.000") == "AT_TIMESTAMP:5.000"
    assert await group_of(backend, stream, "w2").begin("TRIM_HORIZON") == "AT_TIMESTAMP:5.000"
    assert await group_of(backend, stream, "w2").list() == []  # the start is no lease


async def test_a_new_lease_is_free_and_has_read_nothing(backend: LeaseBackend, stream: str) -> None:
    leases = group_of(backend, stream, "w1")
    await leases.create("shard-1", ("p1", "p2"))
    assert await leases.list() == [Lease("shard-1", parents=("p1", "p2"))]


async def test_the_term_rises_with_each_holder(backend: LeaseBackend, stream: str) -> None:
    first = await taken(backend, stream, "w1")
    second = await taken(backend, stream, "w2")
    assert (first.owner, second.owner) == ("w1", "w2")
    assert second.term == first.term + 1


async def test_a_lease_that_moved_since_it_was_read_can_not_be_taken(backend: LeaseBackend, stream: str) -> None:
    mine = await taken(backend, stream, "w1")
    (seen,) = await group_of(backend, stream, "w2").list()
    assert await group_of(backend, stream, "w1").renew(mine, Progress("seq-5", 7.0))
    assert await group_of(backend, stream, "w2").take(seen) is None


async def test_a_renewal_stores_the_checkpoint_as_the_string_it_is(backend: LeaseBackend, stream: str) -> None:
    leases = group_of(backend, stream, "w1")
    padded = "000000000000000000000000000000000000000000000000000042"
    renewed = await leases.renew(await taken(backend, stream), Progress(padded, 1_764_000_000.123))
    assert await leases.list() == [renewed]
    assert renewed is not None
    assert (renewed.checkpoint, renewed.applied_to_s) == (padded, 1_764_000_000.123)


async def test_a_renewal_without_progress_keeps_the_checkpoint(backend: LeaseBackend, stream: str) -> None:
    leases = group_of(backend, stream, "w1")
    lease = await leases.renew(await taken(backend, stream), Progress("seq-5", 7.0))
    assert lease is not None
    assert await leases.renew(lease, Progress())
    assert (await leases.list())[0].checkpoint == "seq-5"


async def test_whoever_lost_a_lease_writes_nothing_under_it(backend: LeaseBackend, stream: str) -> None:
    zombie = await taken(backend, stream, "w1")
    await taken(backend, stream, "w2")
    leases = group_of(backend, stream, "w1")
    assert await leases.renew(zombie, Progress("zombie")) is None
    assert await leases.renew(zombie, Progress("zombie"), ended=True) is None
    assert not await leases.release(zombie, Progress("zombie"))
    assert not await leases.hand_over(zombie, Progress("zombie"), "w3")
    (lease,) = await leases.list()
    assert (lease.owner, lease.checkpoint, lease.ended) == ("w2", None, False)


async def test_a_released_lease_is_free_and_keeps_its_checkpoint(backend: LeaseBackend, stream: str) -> None:
    leases = group_of(backend, stream, "w1")
    assert await leases.release(await taken(backend, stream), Progress("seq-9"))
    (lease,) = await leases.list()
    assert (lease.owner, lease.checkpoint) == (None, "seq-9")


async def test_an_ended_shard_has_no_owner(backend: LeaseBackend, stream: str) -> None:
    leases = group_of(backend, stream, "w1")
    assert await leases.renew(await taken(backend, stream), Progress("last"), ended=True)
    (lease,) = await leases.list()
    assert (lease.owner, lease.ended, lease.checkpoint) == (None, True, "last")


async def test_a_wanted_lease_is_handed_over_to_who_asked(backend: LeaseBackend, stream: str) -> None:
    mine = await taken(backend, stream, "w1")
    other = group_of(backend, stream, "w2")
    assert await other.want((await other.list())[0])
    (asked,) = await other.list()
    assert (asked.owner, asked.wanted) == ("w1", "w2")
    assert await group_of(backend, stream, "w1").hand_over(mine, Progress("seq-3"), "w2")
    (given,) = await other.list()
    assert (given.owner, given.wanted, given.checkpoint) == ("w2", None, "seq-3")
    final = await other.take(given)
    assert final is not None
    assert final.term == mine.term + 1


async def test_two_groups_of_one_stream_do_not_see_each_other(backend: LeaseBackend, stream: str) -> None:
    await taken(backend, stream)
    assert await DynamoLeases(backend, stream, "another", "w1").list() == []
