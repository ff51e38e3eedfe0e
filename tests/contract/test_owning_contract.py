"""The plain protocol's control records: one suite, on memory and on the embedded AWS."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from crossfade.adapters.control.members import DynamoMembers
from crossfade.adapters.control.owner_map import DynamoOwnerMaps
from crossfade.adapters.control.tables import create_control_tables
from crossfade.adapters.control.tombstones import DynamoTombstones
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.memory.owning import MemoryMembers, MemoryOwnerMaps, MemoryTombstones, OwningStore
from crossfade.adapters.wire import Credentials, StaticCredentials, Wire, WireConfig
from crossfade.core.migration.control import control_tables
from crossfade.core.protocol.plain.map import drained_from, first_map, flipped_from, opened_from, sealed_from
from crossfade.core.values.keys import Key, key_of_strings
from crossfade.core.values.shape import Side
from crossfade.ports.members import Members
from crossfade.ports.owner_map import OwnerMaps
from crossfade.ports.tombstones import Tombstones
from localaws.endpoints import Endpoints

LEASE_S = 10.0
FIRST = first_map(1_764_230_400_000_000)


@dataclass
class Clock:
    """A process's own monotonic clock, set by hand."""

    now_s: float = 100.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Backend:
    """Makes the ports of one migration, as many of each as there are processes."""

    maps: Callable[[], OwnerMaps]
    members: Callable[[Clock], Members]
    tombstones: Callable[[], Tombstones]
    close: list[Wire] = field(default_factory=list)


def memory() -> Backend:
    store = OwningStore()
    return Backend(
        maps=lambda: MemoryOwnerMaps(store),
        members=lambda clock: MemoryMembers(store, lease_s=LEASE_S, monotonic=clock),
        tombstones=lambda: MemoryTombstones(store),
    )


def wire_to(endpoints: Endpoints) -> Wire:
    return Wire(
        "dynamodb",
        WireConfig(region=endpoints.region, endpoint_url=endpoints.aws_endpoint),
        StaticCredentials(Credentials(endpoints.access_key_id, endpoints.secret_access_key, None)),
    )


async def embedded(endpoints: Endpoints) -> Backend:
    wire = wire_to(endpoints)
    tables = control_tables("t" + secrets.token_hex(5))
    await create_control_tables(wire, tables)
    db = DynamoDB(wire)
    return Backend(
        maps=lambda: DynamoOwnerMaps(db, tables.journal),
        members=lambda clock: DynamoMembers(db, tables.reports, lease_s=LEASE_S, monotonic=clock),
        tombstones=lambda: DynamoTombstones(db, tables.reports),
        close=[wire],
    )


@pytest.fixture(params=["memory", pytest.param("embedded", marks=pytest.mark.embedded)])
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    made = memory() if request.param == "memory" else await embedded(request.getfixturevalue("local_aws"))
    yield made
    for wire in made.close:
        await wire.close()


async def test_the_map_is_changed_by_whoever_saw_it_last(backend: Backend) -> None:
    one, other = backend.maps(), backend.maps()
    assert await one.read() is None
    assert await one.swap(None, FIRST)
    assert await other.read() == FIRST
    draining = drained_from(FIRST)
    assert await other.swap(FIRST, draining)
    assert not await one.swap(FIRST, opened_from(FIRST)), "it has seen an older map"
    assert not await one.swap(None, FIRST), "there is one"
    assert await one.read() == draining


async def test_a_flip_is_kept_whole_with_its_intervals(backend: Backend) -> None:
    maps = backend.maps()
    held_us = FIRST.interval.since_us + 60_000_000
    sealed = sealed_from(drained_from(FIRST))
    flipped = flipped_from(sealed, held_us=held_us, other_held_us=held_us + 7)
    assert await maps.swap(None, sealed)
    assert await maps.swap(sealed, flipped)
    assert await backend.maps().read() == flipped


async def test_of_two_coordinators_with_the_very_same_swap_one_wins(backend: Backend) -> None:
    """Both would begin an attempt by the same map; the one that lost must not believe that it has."""
    assert await backend.maps().swap(None, FIRST)
    swaps = await asyncio.gather(*(backend.maps().swap(FIRST, drained_from(FIRST)) for _ in range(4)))
    assert sorted(swaps) == [False, False, False, True]


class _LosesOneAnswer(DynamoDB):
    """Performs a put whose answer is lost, so that its caller sends it again, as the wire client does."""

    async def put_item(self, body: bytes, *, timeout_s: float | None = None, attempts: int | None = None) -> None:
        await super().put_item(body, timeout_s=timeout_s, attempts=attempts)
        await super().put_item(body, timeout_s=timeout_s, attempts=attempts)


@pytest.mark.embedded
async def test_a_swap_that_is_sent_again_after_a_lost_answer_has_won(local_aws: Endpoints) -> None:
    wire = wire_to(local_aws)
    tables = control_tables("t" + secrets.token_hex(5))
    await create_control_tables(wire, tables)
    maps = DynamoOwnerMaps(_LosesOneAnswer(wire), tables.journal)
    assert await maps.swap(None, FIRST)
    assert await maps.swap(FIRST, drained_from(FIRST))
    await wire.close()


async def test_a_member_is_live_while_it_beats_by_the_watchers_own_clock(backend: Backend) -> None:
    clock = Clock()
    watcher, worker = backend.members(clock), backend.members(Clock(5e6))
    await worker.beat("a", "forward", acked=3, unanswered_s=0.25)
    (first,) = await watcher.all()
    assert (first.name, first.duty, first.acked, first.unanswered_s) == ("a", "forward", 3, 0.25)
    assert first.is_live
    clock.now_s += LEASE_S - 1
    await worker.beat("a", "forward", acked=4, unanswered_s=0.0)
    (again,) = await watcher.all()
    assert (again.acked, again.is_live, again.silent_s) == (4, True, 0.0)
    clock.now_s += LEASE_S + 1
    (dead,) = await watcher.all()
    assert not dead.is_live
    assert dead.silent_s == LEASE_S + 1


async def test_who_leaves_or_is_buried_is_no_member_any_more(backend: Backend) -> None:
    members = backend.members(Clock())
    for name in ("a", "b", "c"):
        await members.beat(name, "reverse", acked=0, unanswered_s=0.0)
    await members.leave("a")
    await members.bury("c")
    assert [each.name for each in await members.all()] == ["b"]


async def test_tombstones_are_listed_until_they_are_taken_out(backend: Backend) -> None:
    keys = [key_of_strings(f"CUSTOMER#{number}") for number in range(60)]
    lists = backend.tombstones()
    await lists.add(Side.TARGET, [*keys, *keys[:5]])
    await lists.add(Side.SOURCE, keys[:2])
    await lists.remove(Side.TARGET, keys[:10])
    assert sorted(await listed(backend.tombstones(), Side.TARGET)) == sorted(keys[10:])
    assert sorted(await listed(lists, Side.SOURCE)) == sorted(keys[:2])


async def listed(tombstones: Tombstones, side: Side) -> list[Key]:
    return [key async for page in tombstones.listed(side) for key in page]
