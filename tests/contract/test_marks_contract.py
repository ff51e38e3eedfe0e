"""One contract of the marks, on the memory fake and on a real Valkey; and what only a real store can do wrong."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from apply_cases import V
from crossfade.adapters.memory.marks import MemoryMarks
from crossfade.adapters.no_marks import NoMarks
from crossfade.adapters.redis_dedup import DEFAULT_TTL_S, RedisMarks
from crossfade.core.values.keys import Key, key_of_strings
from crossfade.core.values.shape import Direction
from crossfade.ports.dedup import Marks
from localaws import Endpoints
from localaws.redis import RedisServer

FORWARD, REVERSE = Direction.FORWARD, Direction.REVERSE
KEYS = [key_of_strings(f"USER#{number}", 'POINTS#"é"') for number in range(5)]


def url_of(aws: Endpoints) -> str:
    assert aws.redis_url is not None
    return aws.redis_url


def redis_marks(aws: Endpoints, *, ttl_s: float = DEFAULT_TTL_S) -> RedisMarks:
    ids = {direction: uuid.uuid4().hex for direction in Direction}
    return RedisMarks(url_of(aws), "m", table_ids=ids, ttl_s=ttl_s)


@pytest.fixture(params=["memory", pytest.param("valkey", marks=pytest.mark.embedded)])
async def marks(request: pytest.FixtureRequest) -> AsyncIterator[Marks]:
    if request.param == "memory":
        yield MemoryMarks()
        return
    local_aws: Endpoints = request.getfixturevalue("local_aws")
    found = redis_marks(local_aws)
    yield found
    await found.close()


async def test_a_key_that_was_never_marked_has_no_mark(marks: Marks) -> None:
    assert await marks.seen(FORWARD, KEYS) == [None] * 5
    assert await marks.seen(FORWARD, []) == []


async def test_rule_7_versions_come_back_to_the_last_digit(marks: Marks) -> None:
    versions = {key: V + number for number, key in enumerate(KEYS)}
    await marks.mark(FORWARD, versions)
    assert await marks.seen(FORWARD, KEYS) == list(versions.values())


async def test_rule_7_a_mark_is_raised_by_one_and_never_lowered(marks: Marks) -> None:
    """V and V + 1 are the same float: a store that compares numbers fails here."""
    assert float(V) == float(V + 1)
    for version, wanted in ((V, V), (V + 1, V + 1), (V, V + 1), (1_764_230_400_123_456, V + 1)):
        await marks.mark(FORWARD, {KEYS[0]: version})
        assert await marks.seen(FORWARD, KEYS[:1]) == [wanted]


async def test_rule_7_the_directions_know_nothing_of_each_other(marks: Marks) -> None:
    await marks.mark(FORWARD, {KEYS[0]: V})
    assert await marks.seen(REVERSE, KEYS[:1]) == [None]


async def test_marking_nothing_is_allowed(marks: Marks) -> None:
    await marks.mark(FORWARD, {})


async def test_without_redis_there_are_no_marks() -> None:
    marks = NoMarks()
    await marks.mark(FORWARD, {KEYS[0]: V})
    assert await marks.seen(FORWARD, KEYS) == [None] * 5


@pytest.mark.embedded
class TestRedis:
    async def test_a_whole_batch_is_one_command(self, local_aws: Endpoints) -> None:
        marks, redis = redis_marks(local_aws), Redis.from_url(url_of(local_aws))
        keys = [Key(b"%d" % number) for number in range(2000)]
        try:
            await marks.mark(FORWARD, {keys[0]: V})  # loads the script
            before = await redis.info("commandstats")
            await marks.mark(FORWARD, dict.fromkeys(keys, V))
            assert await marks.seen(FORWARD, keys) == [V] * 2000
            after = await redis.info("commandstats")
            for command in ("cmdstat_mget", "cmdstat_evalsha"):
                assert after[command]["calls"] - before.get(command, {"calls": 0})["calls"] == 1
        finally:
            await marks.close()
            await redis.aclose()

    async def test_a_table_of_another_id_has_no_marks(self, local_aws: Endpoints) -> None:
        """The table was dropped and imported again: what was applied to the old one is not in the new one."""
        marks = redis_marks(local_aws)
        await marks.mark(FORWARD, {KEYS[0]: V})
        marks.name_destination(FORWARD, uuid.uuid4().hex)
        assert await marks.seen(FORWARD, KEYS[:1]) == [None]
        await marks.close()

    async def test_without_a_table_id_nothing_is_marked_or_found(self, local_aws: Endpoints) -> None:
        marks = RedisMarks(url_of(local_aws), "m")
        await marks.mark(FORWARD, {KEYS[0]: V})
        assert await marks.seen(FORWARD, KEYS[:1]) == [None]
        await marks.close()

    async def test_marks_end_after_their_time(self, local_aws: Endpoints) -> None:
        marks = redis_marks(local_aws, ttl_s=0.2)
        await marks.mark(FORWARD, {KEYS[0]: V})
        await asyncio.sleep(0.3)
        assert await marks.seen(FORWARD, KEYS[:1]) == [None]
        await marks.close()

    async def test_a_store_that_forgets_its_scripts_and_marks_is_used_again_at_once(self, local_aws: Endpoints) -> None:
        marks, redis = redis_marks(local_aws), Redis.from_url(url_of(local_aws))
        await marks.mark(FORWARD, {KEYS[0]: V})
        await redis.script_flush()
        await marks.mark(FORWARD, {KEYS[1]: V})
        assert await marks.seen(FORWARD, KEYS[:2]) == [V, V]
        assert marks.failures == 0
        await marks.close()
        await redis.aclose()

    async def test_what_somebody_else_wrote_there_is_no_mark(self, local_aws: Endpoints) -> None:
        marks, redis = redis_marks(local_aws), Redis.from_url(url_of(local_aws))
        await marks.mark(FORWARD, {KEYS[0]: V})
        prefix = marks._prefixes[FORWARD]
        await redis.set(prefix + KEYS[0], "9.9e18")
        assert await marks.seen(FORWARD, KEYS[:1]) == [None]
        await marks.close()
        await redis.aclose()


async def test_rule_7_a_store_that_is_down_is_no_error_and_is_left_alone_for_a_while() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    now_s = 100.0
    marks = RedisMarks(f"redis://127.0.0.1:{port}/0", "m", table_ids={FORWARD: "t"}, cooldown_s=5.0, now=lambda: now_s)
    assert await marks.seen(FORWARD, KEYS) == [None] * 5
    assert marks.failures == 1
    await marks.mark(FORWARD, {KEYS[0]: V})
    assert marks.failures == 1, "it must be left alone"
    now_s += 6.0
    await marks.mark(FORWARD, {KEYS[0]: V})
    assert marks.failures == 2
    await marks.close()


async def test_rule_7_a_store_that_hangs_costs_no_more_than_its_time() -> None:
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(never, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    marks = RedisMarks(f"redis://127.0.0.1:{port}/0", "m", table_ids={FORWARD: "t"}, timeout_s=0.1, cooldown_s=60.0)
    assert await marks.seen(FORWARD, KEYS) == [None] * 5  # answered at all, though the store never does
    assert await marks.seen(FORWARD, KEYS) == [None] * 5
    assert marks.failures == 1, "the second was not asked for"
    await marks.close()
    server.close()


class Address:
    """What stands behind a name that a failover moves: new connections go to the new place, open ones stay."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()

    async def open(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for pipe in self._pipes:
            pipe.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, to = await asyncio.open_connection("127.0.0.1", self.port)

        async def pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65_536):
                sink.write(data)
            sink.close()

        self._pipes |= {asyncio.create_task(pipe(reader, to)), asyncio.create_task(pipe(behind, writer))}


@pytest.mark.embedded
async def test_after_a_failover_marks_are_made_at_the_new_primary_though_the_old_one_still_answers() -> None:
    """The old primary lives on as a replica: it answers reads, and writes with READONLY, for as long as one asks it."""
    old, new = RedisServer(), RedisServer()
    old.start()
    new.start()
    address = Address(old.port)
    marks = RedisMarks(await address.open(), "m", table_ids={FORWARD: "t"}, cooldown_s=0.0)
    demote, promote = (Redis.from_url(f"redis://127.0.0.1:{each.port}/0") for each in (old, new))
    try:
        await marks.mark(FORWARD, {KEYS[0]: V})
        assert (marks.failures, marks.is_usable) == (0, True)
        await demote.replicaof("127.0.0.1", str(new.port))
        await marks.mark(FORWARD, {KEYS[0]: V + 1})
        assert (marks.failures, marks.is_usable) == (1, False), "READONLY is no success"
        await marks.seen(FORWARD, KEYS)
        assert not marks.is_usable, "that a replica answers reads is no reason to trust it"
        address.port = new.port
        for _ in range(2):
            await marks.mark(FORWARD, {KEYS[0]: V + 2})
        assert marks.is_usable
        assert await marks.seen(FORWARD, KEYS[:1]) == [V + 2]
        await demote.replicaof("NO", "ONE")
        assert await promote.dbsize() == 1
    finally:
        await marks.close()
        for client in (demote, promote):
            await client.aclose()
        await address.close()
        old.stop()
        new.stop()


@pytest.mark.parametrize(
    "answer",
    [
        b"-READONLY You can't write against a read only replica.",
        b"-LOADING Redis is loading the dataset in memory",
        b"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        b"-MOVED 3999 127.0.0.1:6381",
        b"-CLUSTERDOWN The cluster is down",
        b"-OOM command not allowed when used memory > 'maxmemory'.",
    ],
    ids=lambda answer: answer[1:].split()[0].decode(),
)
async def test_an_error_answer_counts_as_failing_and_the_next_call_connects_again(answer: bytes) -> None:
    connections = 0

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while data := await reader.read(65_536):
            answers = b"+OK\r\n" if b"CLIENT" in data or b"HELLO" in data else answer + b"\r\n"
            writer.write(answers * max(1, data.count(b"CLIENT")))
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    marks = RedisMarks(f"redis://127.0.0.1:{port}/0", "m", table_ids={FORWARD: "t"}, cooldown_s=0.0)
    for attempt in (1, 2):
        await marks.mark(FORWARD, {KEYS[0]: V})
        assert (marks.failures, marks.is_usable, connections) == (attempt, False, attempt)
    await marks.close()
    server.close()
