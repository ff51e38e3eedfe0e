"""The plain protocol's case of `bench_apply.py`: rows as they are, one conditional PutItem a record."""

from __future__ import annotations

import asyncio
import cProfile
import json
import time
from typing import Any

from apply_records import PLAIN_ROWS

from crossfade.adapters.clock import SYSTEM
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.kinesis import Kinesis
from crossfade.adapters.memory.control import MemoryDeadLetters
from crossfade.adapters.memory.owning import MemoryMembers, MemoryOwnerMaps, MemoryTombstones, OwningStore
from crossfade.adapters.plain_owner import DynamoOwnerWrites
from crossfade.adapters.plain_table import DynamoPlainTable
from crossfade.adapters.plain_transfers import PlainTransfers
from crossfade.adapters.wire import Credentials, StaticCredentials, Wire, WireConfig
from crossfade.application.membership import Membership
from crossfade.core.protocol.plain.map import first_map
from crossfade.core.values.shape import Direction, Side
from crossfade_replicator.plain.answered import Answered
from crossfade_replicator.plain.hints import Hints
from crossfade_replicator.plain.letters import Letters
from crossfade_replicator.plain.pipeline import PlainPipeline
from crossfade_replicator.plain.progress import Progress, Witness
from crossfade_replicator.plain.writes import StandbyWrites
from crossfade_replicator.tally import Tally
from faust_kinesis.leases import update_request

BEGAN_US = 1_780_000_000_000_000
FORWARD = Direction.FORWARD
SHARDS = 4
BATCH = 1000


class NoReports:
    """Nobody reports: no record here is late."""

    async def all(self) -> list[Any]:
        return []


async def _none() -> int:
    return 1


class PlainRig:
    """The plain pipeline on the stub server; map, members and list of tombstones in memory."""

    def __init__(self, stub_port: int) -> None:
        credentials = StaticCredentials(Credentials("a", "b"))
        config = WireConfig("us-east-1", f"http://127.0.0.1:{stub_port}")
        store, letters = OwningStore(first_map(BEGAN_US)), MemoryDeadLetters()
        self.membership = Membership(
            MemoryOwnerMaps(store),
            MemoryMembers(store),
            clock=SYSTEM,
            name="bench",
            duty="forward",
            lease_s=10.0,
            signature_s=900.0,
        )
        self.wire = Wire("dynamodb", config, credentials, permit=self.membership)
        self.kinesis_wire = Wire("kinesis", config, credentials)
        self.dynamodb, self.kinesis = DynamoDB(self.wire), Kinesis(self.kinesis_wire)
        shapes = {side: PLAIN_ROWS.shape(side) for side in Side}
        source, target = (DynamoPlainTable(self.dynamodb, shapes[side], PLAIN_ROWS.belongs) for side in Side)
        told = Letters("forward", letters, SYSTEM)
        self.copies = PlainTransfers(self.dynamodb, shapes[Side.TARGET])
        writes = StandbyWrites(
            PLAIN_ROWS,
            FORWARD,
            copies=self.copies,
            standby=target,
            owner=source,
            tombstones=MemoryTombstones(store),
            clock=SYSTEM,
            stops=lambda: False,
        )
        hints = Hints(
            PLAIN_ROWS,
            FORWARD,
            membership=self.membership,
            old=source,
            owner=target,
            owner_writes=DynamoOwnerWrites(self.dynamodb, shapes[Side.TARGET]),
            progress=Progress(NoReports(), "reverse", self.kinesis, "engagement-changes", SYSTEM),
            witness=Witness(self.kinesis, "engagement-changes", shapes[Side.TARGET].key, self.kinesis.now_s),
            old_witness=Witness(self.kinesis, "wallet-changes", shapes[Side.SOURCE].key, self.kinesis.now_s),
            letters=told,
            clock=SYSTEM,
        )
        self.pipeline = PlainPipeline(
            PLAIN_ROWS,
            FORWARD,
            membership=self.membership,
            writes=writes,
            hints=hints,
            letters=told,
            answered=Answered(PLAIN_ROWS, FORWARD, letters, target),
            strays_since_us=_none,
        )

    async def whole(self, records: int) -> float:
        """Run the whole path, as `bench_apply.whole` does; return CPU seconds."""
        tally, pages = Tally(), iter(range(records // BATCH))

        async def shard(name: str) -> None:
            for page in pages:
                fetched = await self.kinesis.get_records(f"stub-{page}", BATCH)
                tally.add(await self.pipeline.apply(name, fetched.records))
                request = update_request(
                    "leases", "stream#forward", name, {"owner": "w", "term": 1}, {"beat": page, "checkpoint": str(page)}
                )
                await self.dynamodb.update_item(json.dumps(request).encode())

        started = time.process_time()
        await asyncio.gather(*(shard(f"shard-{number}") for number in range(SHARDS)))
        spent = time.process_time() - started
        applied, parked = tally.counts["applied"], tally.counts["parked"]
        assert (applied, parked) == (records // BATCH * BATCH, 0), dict(tally.counts)
        return spent

    async def close(self) -> None:
        await self.wire.close()
        await self.kinesis_wire.close()


async def measure_plain(port: int, records: int, profile: str | None) -> float:
    """Return CPU µs a record, the median of three rounds."""
    rig = PlainRig(port)
    beating = asyncio.create_task(rig.membership.run())
    try:
        await rig.whole(min(records, 10_000))
        if profile:
            profiler = cProfile.Profile(time.process_time)
            profiler.enable()
            await rig.whole(records)
            profiler.disable()
            profiler.dump_stats(f"{profile}.plain")
        spent = sorted([await rig.whole(records) / records * 1e6 for _ in range(3)])
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
        await rig.close()
    return spent[1]
