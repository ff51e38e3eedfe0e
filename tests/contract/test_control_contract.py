"""The control plane's ports: one suite, on memory and on the embedded AWS."""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from crossfade.adapters.control.dead_letters import DynamoDeadLetters
from crossfade.adapters.control.heartbeats import DynamoHeartbeats
from crossfade.adapters.control.journal import DynamoJournal
from crossfade.adapters.control.lease import DynamoLease
from crossfade.adapters.control.passes import DynamoPassStore
from crossfade.adapters.control.reports import DynamoReports
from crossfade.adapters.control.tables import control_db, create_control_tables
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.memory.control import (
    ControlStore,
    MemoryDeadLetters,
    MemoryHeartbeats,
    MemoryJournal,
    MemoryLease,
    MemoryReports,
)
from crossfade.adapters.wire import Credentials, StaticCredentials, Wire, WireConfig
from crossfade.contracts.heartbeat import Heartbeat
from crossfade.contracts.letter import STRAY, DeadLetter
from crossfade.contracts.passes import PassRecord
from crossfade.contracts.report import Report
from crossfade.core.migration.control import ControlTables, control_tables
from crossfade.core.ownership.ramp import FlagDocument
from crossfade.core.values.errors import ConfigError, LeaseLost, StateMissing
from crossfade.core.values.keys import Key, key_of_strings
from crossfade.ports.control import DeadLetters, Heartbeats, Journal, Lease, Reports
from localaws.endpoints import Endpoints


@dataclass
class Clock:
    """A process's own monotonic clock, set by hand."""

    now_s: float = 100.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Backend:
    """Makes the ports of one migration, as many of each as there are processes."""

    lease: Callable[[str, Clock], Lease]
    journal: Callable[[str, Lease | None], Journal]
    heartbeats: Callable[[Clock], Heartbeats]
    reports: Reports
    letters: DeadLetters
    close: list[Wire] = field(default_factory=list)


LEASE_S = 10.0


def memory() -> Backend:
    store = ControlStore()
    return Backend(
        lease=lambda holder, clock: MemoryLease(store, holder=holder, lease_s=LEASE_S, monotonic=clock),
        journal=lambda who, lease: MemoryJournal(store, who=who, code="test", lease=lease),  # type: ignore[arg-type]  # each backend is handed its own kind
        heartbeats=lambda clock: MemoryHeartbeats(store, monotonic=clock),
        reports=MemoryReports(store),
        letters=MemoryDeadLetters(store),
    )


async def embedded(endpoints: Endpoints) -> Backend:
    wire = Wire(
        "dynamodb",
        WireConfig(region=endpoints.region, endpoint_url=endpoints.aws_endpoint),
        StaticCredentials(Credentials(endpoints.access_key_id, endpoints.secret_access_key, None)),
    )
    tables = control_tables("t" + secrets.token_hex(5))
    await create_control_tables(wire, tables)
    await create_control_tables(wire, tables)  # again: nothing to do, no error
    db = DynamoDB(wire)
    return Backend(
        lease=lambda holder, clock: DynamoLease(
            db, tables.leases, "controller", holder=holder, lease_s=LEASE_S, monotonic=clock
        ),
        journal=lambda who, lease: DynamoJournal(db, tables.journal, who=who, code="test", lease=lease),  # type: ignore[arg-type]  # each backend is handed its own kind
        heartbeats=lambda clock: DynamoHeartbeats(db, tables.heartbeats, monotonic=clock),
        reports=DynamoReports(db, tables.reports),
        letters=DynamoDeadLetters(db, tables.dead_letters),
        close=[wire],
    )


@pytest.fixture(params=["memory", pytest.param("embedded", marks=pytest.mark.embedded)])
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    made = memory() if request.param == "memory" else await embedded(request.getfixturevalue("local_aws"))
    yield made
    for wire in made.close:
        await wire.close()


def letter(sequence: str = "shardId-000000000000:49", payload: bytes = b"{}", at_us: int = 5) -> DeadLetter:
    key = key_of_strings("USER#7", "POINTS#3")
    return DeadLetter("forward", sequence, key, 10**17 + 3, "why", "conflict", payload, "", at_us)


def heartbeat(pod: str = "pod-a", document: FlagDocument = FlagDocument(), lease_s: float = 3.0) -> Heartbeat:  # noqa: B008 - immutable
    return Heartbeat(pod, document, dual_write=True, lease_s=lease_s, beat_us=1_764_230_400_000_000)


async def test_the_journal_counts_from_one_without_gaps_and_keeps_what_it_was_told(backend: Backend) -> None:
    journal = backend.journal("ann", None)
    await journal.append("phase", {"to": "CAPTURING", "version": str(2**60), "gates": [{"open": True}]})
    await journal.append("note", {"text": "Grüße"})
    entries = await journal.entries()
    assert [(each.number, each.kind, each.who, each.code) for each in entries] == [
        (1, "phase", "ann", "test"),
        (2, "note", "ann", "test"),
    ]
    assert entries[0].body == {"to": "CAPTURING", "version": str(2**60), "gates": [{"open": True}]}
    assert entries[1].body == {"text": "Grüße"}
    assert await journal.entries(after=1) == entries[1:]
    assert await journal.entries(after=2) == []


async def test_concurrent_appenders_never_take_a_number_twice_nor_lose_an_entry(backend: Backend) -> None:
    journals = [backend.journal(f"writer-{number}", None) for number in range(6)]
    written = await asyncio.gather(
        *(journal.append("note", {"n": number}) for number in range(3) for journal in journals)
    )
    entries = await journals[0].entries()
    assert [each.number for each in entries] == list(range(1, 19))
    assert sorted(written, key=lambda each: each.number) == entries


async def test_a_holder_that_lost_its_lease_cannot_append_even_if_it_does_not_know(backend: Backend) -> None:
    slow, fast = Clock(), Clock()
    first, second = backend.lease("first", slow), backend.lease("second", fast)
    assert await first.acquire()
    journal = backend.journal("first", first)
    await journal.append("note", {"under": "the lease"})
    assert not await second.acquire()
    fast.now_s += LEASE_S  # the first one's own clock stands still: it believes that it holds the lease
    assert await second.acquire()
    assert first.held
    with pytest.raises(LeaseLost):
        await journal.append("note", {"zombie": True})
    await backend.journal("second", second).append("note", {"under": "the next"})
    assert [each.body for each in await journal.entries()] == [{"under": "the lease"}, {"under": "the next"}]


async def test_a_holder_that_did_not_renew_in_time_writes_nothing(backend: Backend) -> None:
    clock = Clock()
    lease = backend.lease("first", clock)
    assert await lease.acquire()
    clock.now_s += LEASE_S
    assert not lease.held
    with pytest.raises(LeaseLost):
        await backend.journal("first", lease).append("note", {})


async def test_a_lease_that_beats_is_never_taken_however_long_it_is_watched(backend: Backend) -> None:
    clock, watcher = Clock(), Clock(now_s=10**9)
    lease, other = backend.lease("first", clock), backend.lease("second", watcher)
    assert await lease.acquire()
    for _ in range(5):
        assert not await other.acquire()
        watcher.now_s += LEASE_S * 0.9
        clock.now_s += LEASE_S * 0.9
        await lease.renew()
        assert lease.held
    assert not await other.acquire()


async def test_a_lease_is_taken_only_after_its_beat_stood_still_for_a_whole_lease_time(backend: Backend) -> None:
    watcher = Clock(now_s=5.0)
    first, other = backend.lease("first", Clock()), backend.lease("second", watcher)
    assert await first.acquire()
    assert not await other.acquire()
    watcher.now_s += LEASE_S * 0.99
    assert not await other.acquire()
    watcher.now_s += LEASE_S * 0.01
    assert await other.acquire()
    assert other.counter == first.counter + 1
    with pytest.raises(LeaseLost):
        await first.renew()


async def test_a_released_lease_is_free_at_once(backend: Backend) -> None:
    first, other = backend.lease("first", Clock()), backend.lease("second", Clock())
    assert await first.acquire()
    await first.release()
    assert not first.held
    assert await other.acquire()
    await first.release()  # another's by now: nothing happens
    await other.renew()


async def test_a_heartbeat_expires_by_standing_still_on_the_readers_clock(backend: Backend) -> None:
    clock = Clock()
    pods, reader = backend.heartbeats(Clock()), backend.heartbeats(clock)
    await pods.beat(heartbeat())
    assert [each.expired for each in await reader.all()] == [False]
    clock.now_s += 2.9
    assert [each.expired for each in await reader.all()] == [False]
    clock.now_s += 0.1
    assert [each.expired for each in await reader.all()] == [True]
    await pods.beat(heartbeat())  # the same words: what counts is that it beats
    assert [each.expired for each in await reader.all()] == [False]


async def test_a_heartbeat_carries_the_flag_document_whole(backend: Backend) -> None:
    beats = backend.heartbeats(Clock())
    document = FlagDocument(share=5000, target_gen=2**60, source_gen=3, complete=True)
    await beats.beat(heartbeat("pod-a", document))
    await beats.beat(heartbeat("pod-b"))
    assert await beats.all() == [heartbeat("pod-a", document), heartbeat("pod-b")]
    await beats.leave("pod-a")
    assert [each.pod for each in await beats.all()] == ["pod-b"]


async def test_a_report_replaces_the_last_one_of_its_consumer_and_shard(backend: Backend) -> None:
    shard = "wallet-changes/shardId-000000000000"
    first = Report("forward", shard, 1, 20, 0, 2**60, {"applied": 3})
    other = Report("reverse", shard, 1, 20, 7, 3, {}, stray_last_us=9, imprecise_last_us=8)
    last = first.replace(at_us=2, counts={"applied": 4})
    await backend.reports.put([first, other])
    await backend.reports.put([last])
    assert await backend.reports.all() == [last, other]


async def test_a_letter_parked_twice_is_one_letter(backend: Backend) -> None:
    await backend.letters.park(letter())
    await backend.letters.park(letter())
    assert await backend.letters.count() == 1
    assert await backend.letters.all() == [letter()]


async def test_letters_come_oldest_first_and_bounded(backend: Backend) -> None:
    for number, at_us in enumerate((30, 10, 20)):
        await backend.letters.park(letter(f"shard:{number}", at_us=at_us))
    await backend.letters.park(letter("shard:9", at_us=15).replace(consumer="reverse", version=None, key=Key(b"")))
    assert [each.at_us for each in await backend.letters.all()] == [10, 15, 20, 30]
    assert [each.at_us for each in await backend.letters.all(limit=2)] == [10, 15]
    assert await backend.letters.count() == 4


async def test_a_payload_that_fits_no_item_comes_back_whole_and_leaves_nothing_behind(backend: Backend) -> None:
    big = letter(payload=secrets.token_bytes(900_000))
    await backend.letters.park(big)
    assert await backend.letters.all() == [big]
    await backend.letters.remove(big)
    assert await backend.letters.all() == []
    assert await backend.letters.count() == 0


async def test_settled_letters_wait_for_nobody_and_only_a_later_one_takes_their_place(backend: Backend) -> None:
    settled = letter("stray:k").replace(code=STRAY, settled=True, committed_us=20, table="wallet", cure="Stop it.")
    await backend.letters.park(settled)
    await backend.letters.park(settled.replace(committed_us=10, payload=b"older"))
    assert await backend.letters.settled() == [settled]
    later = settled.replace(committed_us=30, payload=b"later")
    await backend.letters.park(later)
    assert await backend.letters.settled() == [later]
    assert (await backend.letters.count(), await backend.letters.all()) == (0, [])
    await backend.letters.remove(later)
    assert await backend.letters.settled() == []


async def test_letters_about_strays_are_listed_and_counted_with_the_others_or_alone(backend: Backend) -> None:
    stray = letter("stray:00000000000000000007-ab", at_us=7).replace(code=STRAY, committed_us=7)
    await backend.letters.park(letter())
    await backend.letters.park(stray)
    await backend.letters.park(stray)
    assert await backend.letters.count() == 2
    assert await backend.letters.all() == [letter(), stray]
    assert await backend.letters.all(code=STRAY) == [stray]
    assert await backend.letters.all(code=letter().code) == [letter()]
    assert await backend.letters.all(limit=1) == [letter()]
    await backend.letters.remove(stray)
    assert await backend.letters.all() == [letter()]


async def test_a_letter_of_an_unknown_consumer_is_refused_since_nobody_would_find_it(backend: Backend) -> None:
    with pytest.raises(ConfigError):
        await backend.letters.park(letter().replace(consumer="sideways"))


async def test_control_table_names_come_from_the_migration() -> None:
    assert control_tables("engagement").leases == "engagement-leases"
    with pytest.raises(ConfigError):
        control_tables("no/slash")


async def _read_journal(db: DynamoDB, tables: ControlTables) -> None:
    await DynamoJournal(db, tables.journal, who="ann", code="test").entries()


async def _append(db: DynamoDB, tables: ControlTables) -> None:
    await DynamoJournal(db, tables.journal, who="ann", code="test").append("note", {})


async def _append_under_lease(db: DynamoDB, tables: ControlTables) -> None:
    lease = DynamoLease(db, tables.leases, "controller", holder="a", lease_s=LEASE_S)
    await DynamoJournal(db, tables.journal, who="ann", code="test", lease=lease).append("note", {})


async def _lease(db: DynamoDB, tables: ControlTables) -> None:
    await DynamoLease(db, tables.leases, "controller", holder="a", lease_s=LEASE_S).acquire()


async def _beat(db: DynamoDB, tables: ControlTables) -> None:
    await DynamoHeartbeats(db, tables.heartbeats).beat(heartbeat())


async def _report(db: DynamoDB, tables: ControlTables) -> None:
    await DynamoReports(db, tables.reports).put([Report("forward", "s/1", 1, 1, 0, 0, {})])


async def _park(db: DynamoDB, tables: ControlTables) -> None:
    await DynamoDeadLetters(db, tables.dead_letters).park(letter())


async def _begin_pass(db: DynamoDB, tables: ControlTables) -> None:
    record = PassRecord(id="1", tables=("wallet", "engagement"), scan_units=1, created_us=1)
    await DynamoPassStore(db, tables.reports).begin(record)


ON_NOTHING = [
    (_read_journal, "journal"),
    (_append, "journal"),
    (_append_under_lease, "journal"),
    (_lease, "leases"),
    (_beat, "heartbeats"),
    (_report, "reports"),
    (_park, "dead-letters"),
    (_begin_pass, "reports"),
]


@pytest.mark.embedded
@pytest.mark.parametrize(("use", "missing"), ON_NOTHING, ids=[use.__name__.strip("_") for use, _ in ON_NOTHING])
async def test_whoever_uses_a_control_table_that_is_missing_is_told_which_and_both_cures(
    use: Callable[[DynamoDB, ControlTables], Awaitable[None]], missing: str, local_aws: Endpoints
) -> None:
    """Each service reaches its tables by `control_db`: the API, replicators, verifier, controller and CLI alike."""
    wire = Wire(
        "dynamodb",
        WireConfig(region=local_aws.region, endpoint_url=local_aws.aws_endpoint),
        StaticCredentials(Credentials(local_aws.access_key_id, local_aws.secret_access_key, None)),
    )
    name = "t" + secrets.token_hex(5)
    async with wire:
        with pytest.raises(StateMissing) as caught:
            await use(control_db(wire), control_tables(name))
    assert caught.value.retryable
    assert f"{name}-{missing}" in str(caught.value)
    assert "crossfade control create --execute" in str(caught.value)
    assert f"restore-table-from-backup --target-table-name {name}-{missing}" in str(caught.value)


def test_every_service_reaches_its_control_tables_by_the_client_that_names_them() -> None:
    names = "Journal|Lease|Heartbeats|Reports|DeadLetters|StatusBoard|PassStore"
    found = [
        f"{path.name}: {made}"
        for path in (Path(__file__).parents[2] / "services").glob("*/src/**/*.py")
        for made in re.findall(rf"(?:Dynamo(?:{names})|WireLeases)\(\s*([\w.()]+)", path.read_text())
        if "control" not in made
    ]
    assert not found, found
