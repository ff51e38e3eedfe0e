"""Both tables, their streams and the control tables on the embedded AWS, and replicator processes beside them.

A world has names of its own, so that worlds don't meet: `replicator_world:m_<id>` is its mapping, for the processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from crossfade.adapters.control.dead_letters import DynamoDeadLetters
from crossfade.adapters.control.journal import DynamoJournal
from crossfade.adapters.control.reports import DynamoReports
from crossfade.adapters.control.tables import create_control_tables
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.kinesis import Kinesis
from crossfade.adapters.tables import DynamoTable
from crossfade.adapters.wire import Credentials, StaticCredentials, Wire, WireConfig
from crossfade.core.mapping.rules import RuleMapping, Table, key_prefixes
from crossfade.core.migration.control import control_tables
from crossfade.core.migration.phases import Phase
from crossfade.core.protocol.events import PublishedEvent
from crossfade.core.protocol.keyed.writes import Answer, Operate
from crossfade.core.protocol.plain.protocol import PLAIN
from crossfade.core.replication.feed import decode_published
from crossfade.core.values.image import Image, encode_image
from crossfade.core.values.keys import Key, key_of_strings
from crossfade.core.values.shape import Side
from crossfade_replicator.leases import WireLeases
from engagement_api.operations import Kind, points_operation
from engagement_migration import MAPPING
from localaws import Endpoints

HERE = Path(__file__).parent


def mapping_of(world: str) -> RuleMapping:
    """The engagement mapping with tables, and a name, of one world."""
    return MAPPING.with_tables(source=f"wallet-{world}", target=f"engagement-{world}", name=f"m-{world}")


def plain_mapping_of(world: str) -> RuleMapping:
    """Rows as they are, of writers that know nothing of Crossfade, in tables of one world."""
    return RuleMapping(
        f"m-{world}",
        source=Table(f"wallet-{world}", key=("pk", "sk"), ttl="expires_at"),
        target=Table(f"engagement-{world}", key=("pk", "sk")),
        belongs=key_prefixes("USER#", ""),
        rules=(),
        is_open=True,
        protocol=PLAIN,
    )


MAPPINGS = {"m": mapping_of, "plain": plain_mapping_of}


def __getattr__(name: str) -> RuleMapping:
    kind, _, world = name.partition("_")
    if kind in MAPPINGS:
        return MAPPINGS[kind](world)
    raise AttributeError(name)


def wallet(number: int, channel: int = 1) -> Key:
    return key_of_strings(f"USER#{number}", f"POINTS#{channel}")


class World:
    """See the module."""

    def __init__(self, endpoints: Endpoints, stack: contextlib.AsyncExitStack, kind: str = "m") -> None:
        self.endpoints = endpoints
        self.id = uuid.uuid4().hex[:10]
        self.kind = kind
        self.mapping = MAPPINGS[kind](self.id)
        self.streams = {Side.SOURCE: f"wallet-changes-{self.id}", Side.TARGET: f"engagement-changes-{self.id}"}
        self.feed_stream = f"engagement-events-{self.id}"
        keys = StaticCredentials(Credentials(endpoints.access_key_id, endpoints.secret_access_key))
        config = WireConfig(endpoints.region, endpoints.aws_endpoint)
        self.wire, self.kinesis_wire = Wire("dynamodb", config, keys), Wire("kinesis", config, keys)
        stack.push_async_callback(self.wire.close)
        stack.push_async_callback(self.kinesis_wire.close)
        self.dynamodb, self.kinesis = DynamoDB(self.wire), Kinesis(self.kinesis_wire)
        self.tables = {side: DynamoTable(self.dynamodb, self.mapping, side) for side in Side}
        self.control = control_tables(self.mapping.name)
        self.letters = DynamoDeadLetters(self.dynamodb, self.control.dead_letters)
        self.reports = DynamoReports(self.dynamodb, self.control.reports)
        self.journal = DynamoJournal(self.dynamodb, self.control.journal, who="test", code="0")
        self.processes: list[subprocess.Popen[bytes]] = []
        self._txn = 0
        stack.callback(self._kill_all)

    async def build(self, fill: Callable[[World], Awaitable[None]] | None = None) -> None:
        """Make tables and streams, and write the journal up to BOTH_WAYS.

        Args:
            fill: puts rows into the tables before their changes are captured.
        """
        await create_control_tables(self.wire, self.control)
        for stream in (*self.streams.values(), self.feed_stream):
            await self.call(self.kinesis_wire, "CreateStream", {"StreamName": stream, "ShardCount": 2})
        for side in Side:
            await self.call(
                self.wire,
                "CreateTable",
                {
                    "TableName": self.mapping.shape(side).table,
                    "KeySchema": [
                        {"AttributeName": "pk", "KeyType": "HASH"},
                        {"AttributeName": "sk", "KeyType": "RANGE"},
                    ],
                    "AttributeDefinitions": [{"AttributeName": each, "AttributeType": "S"} for each in ("pk", "sk")],
                    "BillingMode": "PAY_PER_REQUEST",
                },
            )
        if fill is not None:
            await fill(self)
        for side, stream in self.streams.items():
            summary = await self.call(self.kinesis_wire, "DescribeStreamSummary", {"StreamName": stream})
            await self.call(
                self.wire,
                "EnableKinesisStreamingDestination",
                {
                    "TableName": self.mapping.shape(side).table,
                    "StreamArn": summary["StreamDescriptionSummary"]["StreamARN"],
                    "EnableKinesisStreamingConfiguration": {"ApproximateCreationDateTimePrecision": "MICROSECOND"},
                },
            )

    async def phase(self, phase: Phase) -> None:
        """Write a phase into the journal."""
        await self.journal.append("phase", {"from": "", "to": phase.value, "gates": []})

    async def call(self, wire: Wire, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        answer = await wire.call(operation, json.dumps(request).encode())
        decoded: dict[str, Any] = json.loads(answer) if answer else {}
        return decoded

    def start(self, consumer: str, **settings: str) -> subprocess.Popen[bytes]:
        """Start a replicator; `ended` and `stop` return its log."""
        return self._run([], consumer, **settings)

    async def tool(self, *arguments: str) -> tuple[int, Any]:
        """Run a tool of the command line; return its exit code and what it printed, as JSON."""
        process = self._run(list(arguments), "forward")
        out, _ = await asyncio.to_thread(process.communicate, timeout=30)
        try:
            return process.returncode, json.loads(out)
        except ValueError as error:
            raise AssertionError(out.decode()) from error

    def _run(self, arguments: list[str], consumer: str, **settings: str) -> subprocess.Popen[bytes]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CROSSFADE_")}
        assert self.endpoints.redis_url is not None
        environment |= {
            "PYTHONPATH": str(HERE),
            "AWS_ACCESS_KEY_ID": self.endpoints.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.endpoints.secret_access_key,
            "CROSSFADE_CONSUMER": consumer,
            "CROSSFADE_WORKER": f"{consumer}-0",
            "CROSSFADE_MIGRATION_MAPPING": f"replicator_world:{self.kind}_{self.id}",
            "CROSSFADE_AWS_ENDPOINT_URL": self.endpoints.aws_endpoint,
            "CROSSFADE_REDIS_URL": self.endpoints.redis_url,
            "CROSSFADE_SOURCE_STREAM": self.streams[Side.SOURCE],
            "CROSSFADE_TARGET_STREAM": self.streams[Side.TARGET],
            "CROSSFADE_FEED_STREAM": self.feed_stream,
            "CROSSFADE_POLL_INTERVAL_S": "0.2",
            "CROSSFADE_CYCLE_S": "0.5",
            "CROSSFADE_LEASE_S": "1.5",
            "CROSSFADE_WATCH_S": "0.5",
            "CROSSFADE_REPORT_S": "0.5",
        }
        environment |= {f"CROSSFADE_{name.upper()}": value for name, value in settings.items()}
        command = [sys.executable, "-m", "crossfade_replicator.main", *arguments]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.processes.append(process)
        return process

    async def stop(
        self, process: subprocess.Popen[bytes], *, timeout_s: float = 25.0
    ) -> tuple[int, list[dict[str, Any]]]:
        """Ask a process to stop; return its exit code and its log."""
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        return await self.ended(process, timeout_s=timeout_s)

    async def ended(
        self, process: subprocess.Popen[bytes], *, timeout_s: float = 25.0
    ) -> tuple[int, list[dict[str, Any]]]:
        """Wait for a process to end on its own; return its exit code and its log."""
        out, _ = await asyncio.to_thread(process.communicate, timeout=timeout_s)
        lines = [line for line in out.decode().splitlines() if line.strip()]
        return process.returncode, [json.loads(line) if line.startswith("{") else {"event": line} for line in lines]

    async def earn(self, key: Key, amount: int, side: Side = Side.SOURCE) -> Answer:
        """Earn as the API does, on a table that owns the key."""
        self._txn += 1
        transaction_id = int(time.time() * 1000).to_bytes(6, "big") + self._txn.to_bytes(10, "big")
        op = points_operation(Kind.EARN, key, transaction_id, amount, (time.time_ns() // 1000) << 10)
        return await self.tables[side].perform(Operate(key, op, soft=1000))

    async def put(self, side: Side, image: Image) -> None:
        """Write as somebody who knows nothing of the protocol."""
        table = json.dumps(self.mapping.shape(side).table).encode()
        await self.dynamodb.put_item(b'{"TableName":%b,"Item":%b}' % (table, encode_image(image)))

    async def delete(self, side: Side, image: Image) -> None:
        """Delete as somebody who knows nothing of the protocol; the key attributes of `image` count."""
        table = json.dumps(self.mapping.shape(side).table).encode()
        key = {name: image[name] for name in ("pk", "sk")}
        await self.dynamodb.delete_item(b'{"TableName":%b,"Key":%b}' % (table, encode_image(key)))

    async def leases(self, consumer: str) -> list[Mapping[str, Any]]:
        """The shard leases of a consumer of the source stream."""
        items = await WireLeases(self.dynamodb, self.control.leases).items(f"{self.streams[Side.SOURCE]}#{consumer}")
        return [item for item in items if item["sk"] != "#start"]

    async def published(self) -> list[PublishedEvent]:
        """Read the feed stream from its start."""
        events = []
        for shard in await self.kinesis.list_shards(self.feed_stream):
            iterator: str | None = await self.kinesis.shard_iterator(self.feed_stream, shard.shard_id)
            while iterator:
                page = await self.kinesis.get_records(iterator, 1000)
                events += [decode_published(record.data) for record in page.records]
                iterator = page.next_iterator if page.records else None
        return events

    def _kill_all(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()
            if process.stdout:
                process.stdout.close()


@contextlib.asynccontextmanager
async def open_world(
    endpoints: Endpoints, fill: Callable[[World], Awaitable[None]] | None = None, kind: str = "m"
) -> AsyncIterator[World]:
    async with contextlib.AsyncExitStack() as stack:
        world = World(endpoints, stack, kind)
        await world.build(fill)
        yield world


PATIENCE = 4
"""How much longer than on a quiet machine things may take: other suites run beside this one."""


async def until(true: Callable[[], Any], *, within_s: float, what: str) -> float:
    """Wait until something holds; return how long it took."""
    started_s = time.monotonic()
    patience_s = within_s * PATIENCE
    while time.monotonic() - started_s < patience_s:
        if await true():
            return time.monotonic() - started_s
        await asyncio.sleep(0.1)
    raise AssertionError(f"not within {patience_s} s: {what}")
