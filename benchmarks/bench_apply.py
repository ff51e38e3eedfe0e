"""CPU time of the apply path, a record, whole and by stage; beside it what others would write.

    python benchmarks/bench_apply.py [--records 60000] [--json] [--no-go] [--profile FILE]

Whole: GetRecords, decode, decide and map, coalesce, marks asked, statements sent and read, marks set, one checkpoint a
batch: the replicator's own pipeline on its own clients, against the stub server and a real Valkey, on uvloop, one
process. Then the same under Faust, as deployed. Each stage is measured separately on the same records; what the stages
don't explain is scheduling between them. Baselines: the usual boto3 handler (one conditional PutItem a record) and,
where Go is on PATH, the Go SDK with one PutItem and with 25 statements a request (benchmarks/go_apply). Baselines only
decode and write: no marks, no coalescing, no checkpoint, no dead letters. The plain protocol's case (`plain_apply.py`)
moves rows as they are by one conditional PutItem a record, without marks: compare it with the Go SDK's one PutItem.

CPU time is this process's (or the Go process's) user and system time; server and Valkey are not counted. Machines
differ and are noisy: compare within one run.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvloop
from apply_records import change_record, plain_record
from plain_apply import measure_plain

from crossfade.adapters.clock import SYSTEM
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.kinesis import Kinesis
from crossfade.adapters.memory.control import MemoryDeadLetters
from crossfade.adapters.redis_dedup import RedisMarks
from crossfade.adapters.tables import DynamoTable
from crossfade.adapters.transfer_text import TransferText
from crossfade.adapters.transfers import DynamoTransfers
from crossfade.adapters.wire import Credentials, StaticCredentials, Wire, WireConfig
from crossfade.core.protocol.keyed.versions import is_stamped
from crossfade.core.protocol.writing import Transfer
from crossfade.core.replication.apply import ApplyRule
from crossfade.core.replication.change import decode_change
from crossfade.core.replication.coalesce import coalesce
from crossfade.core.values.shape import Direction, Side
from crossfade.ports.streams import StreamRecord
from crossfade.runtime.settings import read_settings
from crossfade_replicator.consumer import Consumer, Source
from crossfade_replicator.interventions import Interventions
from crossfade_replicator.kill_points import KillPoints
from crossfade_replicator.pipeline import ApplyPipeline
from crossfade_replicator.records import Pipeline
from crossfade_replicator.sender import Sender
from crossfade_replicator.settings import Settings
from crossfade_replicator.tally import Tally
from crossfade_replicator.tuning import tune_garbage_collection
from engagement_migration import MAPPING
from faust_kinesis.leases import update_request
from faust_kinesis.memory import MemoryBackend
from localaws.redis import RedisServer

HERE = Path(__file__).parent
BATCH = 1000
SHARDS = 4
MOST_RECORDS = 400_000
KEYS = MAPPING.shape(Side.SOURCE).key


class Rig:
    """Stub server, Valkey, and the replicator's parts on them."""

    def __init__(self, stub_port: int, redis_url: str) -> None:
        self.endpoint = f"http://127.0.0.1:{stub_port}"
        credentials = StaticCredentials(Credentials("a", "b"))
        config = WireConfig("us-east-1", self.endpoint)
        self.wire, self.kinesis_wire = Wire("dynamodb", config, credentials), Wire("kinesis", config, credentials)
        self.dynamodb, self.kinesis = DynamoDB(self.wire), Kinesis(self.kinesis_wire)
        self.transfers = DynamoTransfers(self.dynamodb, MAPPING.shape(Side.TARGET), MAPPING.protocol)
        self.marks = RedisMarks(redis_url, "bench", timeout_s=10.0)
        self.rounds = 0

    def pipeline(self) -> ApplyPipeline:
        """A pipeline that has no marks yet."""
        self.forget()
        source, target = (DynamoTable(self.dynamodb, MAPPING, side) for side in (Side.SOURCE, Side.TARGET))
        letters = MemoryDeadLetters()
        return ApplyPipeline(
            MAPPING,
            Direction.FORWARD,
            sender=Sender(self.transfers, clock=SYSTEM),
            interventions=Interventions(MAPPING, Direction.FORWARD, source, target, letters, clock=SYSTEM),
            marks=self.marks,
            letters=letters,
            clock=SYSTEM,
        )

    def forget(self) -> None:
        """Start with no marks: another table id."""
        self.rounds += 1
        self.marks.name_destination(Direction.FORWARD, f"round-{self.rounds}")

    async def checkpoint(self, sequence: str, beat: int) -> None:
        """Store a checkpoint as the lease store does."""
        request = update_request(
            "leases", "stream#forward", "shard", {"owner": "w", "term": 1}, {"beat": beat, "checkpoint": sequence}
        )
        await self.dynamodb.update_item(json.dumps(request).encode())

    async def close(self) -> None:
        await self.wire.close()
        await self.kinesis_wire.close()
        await self.marks.close()


async def whole(rig: Rig, records: int, *, pipeline: Pipeline | None = None, first_page: int = 0) -> float:
    """Run the whole path, with a pipeline of the rig's unless there is one; return CPU seconds."""
    pipeline, tally = pipeline or rig.pipeline(), Tally()
    pages = iter(range(first_page, first_page + records // BATCH))

    async def shard(name: str) -> None:
        for page in pages:
            fetched = await rig.kinesis.get_records(f"stub-{page}", BATCH)
            tally.add(await pipeline.apply(name, fetched.records))
            await rig.checkpoint(fetched.records[-1].sequence_number, page)

    started = time.process_time()
    await asyncio.gather(*(shard(f"shard-{number}") for number in range(SHARDS)))
    spent = time.process_time() - started
    applied, parked = tally.counts["applied"], tally.counts["parked"]
    assert (applied, parked) == (records // BATCH * BATCH, 0), dict(tally.counts)
    return spent


async def under_faust(rig: Rig, records: int) -> tuple[float, int]:
    """Run it as deployed: the engine reads, Faust hands batches to the agent. Return CPU seconds and records."""
    settings = read_settings(Settings, consumer="forward", fetch_limit=BATCH, lanes=SHARDS, worker=f"w{rig.rounds}")
    pipeline = rig.pipeline()
    consumer = Consumer(
        Source("forward", "wallet-changes", pipeline), settings, rig.kinesis, MemoryBackend(), KillPoints()
    )
    started = time.process_time()
    await consumer.start()
    done = 0
    deadline_s = time.monotonic() + 60
    while done < records and time.monotonic() < deadline_s:
        await asyncio.sleep(0.05)
        done = consumer.tallies.total().get("records", 0)
    await consumer.stop()
    return time.process_time() - started, consumer.tallies.total().get("records", 0)


class Stopwatch:
    """CPU µs a record of named stages."""

    def __init__(self, records: int) -> None:
        self._records = records
        self.spent_us: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        started = time.process_time()
        yield
        self.spent_us[name] = (time.process_time() - started) / self._records * 1e6


async def stages(rig: Rig, batches: list[list[StreamRecord]]) -> dict[str, float]:
    """CPU µs a record of each stage alone."""
    stage = Stopwatch(sum(map(len, batches)))
    decide, text = (
        ApplyRule(MAPPING, Direction.FORWARD).decide,
        TransferText(MAPPING.shape(Side.TARGET), MAPPING.protocol.spelling),
    )
    with stage("fetch"):
        for page in range(len(batches)):
            await rig.kinesis.get_records(f"stub-{page}", BATCH)
    with stage("decode"):
        changes = [[decode_change(each.data, KEYS) for each in batch] for batch in batches]
    with stage("decide and map"):
        decided = [[decide(change) for change in batch] for batch in changes]
    transfers = [[each for each in batch if isinstance(each, Transfer)] for batch in decided]
    with stage("coalesce"):
        for batch in transfers:
            coalesce(batch, is_stamped)
    with stage("render"):
        for batch in transfers:
            for each in batch:
                text.update(each)
    await _network_stages(rig, transfers, stage)
    return stage.spent_us


async def _network_stages(rig: Rig, transfers: list[list[Transfer]], stage: Stopwatch) -> None:
    rig.forget()
    with stage("marks asked"):
        for batch in transfers:
            await rig.marks.seen(Direction.FORWARD, [each.key for each in batch])
    sender = Sender(rig.transfers, clock=SYSTEM)
    with stage("send and read"):
        for batch in transfers:
            await sender.send(batch)
    stage.spent_us["send and read"] -= stage.spent_us["render"]
    with stage("marks set"):
        for batch in transfers:
            await rig.marks.mark(Direction.FORWARD, {each.key: each.version for each in batch})
    with stage("checkpoint"):
        for number in range(len(transfers)):
            await rig.checkpoint("4966", number)


def boto_handler(endpoint: str, payloads: list[bytes]) -> float:
    """The usual handler: one conditional PutItem a record. Return CPU seconds."""
    import boto3

    client = boto3.client(
        "dynamodb",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",  # noqa: S106 - the stub takes any
    )

    def apply(payload: bytes) -> None:
        image = json.loads(payload)["dynamodb"]["NewImage"]
        client.put_item(
            TableName="engagement",
            Item=image,
            ConditionExpression="attribute_not_exists(pk) OR cf_mv < :v",
            ExpressionAttributeValues={":v": image["cf_mv"]},
        )

    for payload in payloads[:20]:
        apply(payload)
    started = time.process_time()
    for payload in payloads:
        apply(payload)
    return time.process_time() - started


def go_handlers(endpoint: str, payloads: Path, records: int) -> dict[str, Any]:
    """Build and run the Go handlers; what is missing is said, not guessed."""
    go = shutil.which("go")
    if go is None:
        return {"missing": "go is not on PATH"}
    binary = payloads.with_name("go_apply")
    environment = {**os.environ, "GOMAXPROCS": "1"}
    built = subprocess.run(
        [go, "build", "-o", str(binary), "."],
        cwd=HERE / "go_apply", env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    if built.returncode:
        return {"missing": f"go_apply doesn't build: {built.stderr.strip()[-300:]}"}
    found: dict[str, Any] = {}
    for mode, count in (("put", min(records, 5_000)), ("batch", min(records, 20_000))):
        command = [str(binary), "-endpoint", endpoint, "-file", str(payloads), "-mode", mode, "-n", str(count)]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        if ran.returncode:
            return {"missing": f"go_apply failed: {ran.stderr.strip()[-300:]}"}
        found[mode] = json.loads(ran.stdout)["cpu_us_per_record"]
    return found


@contextmanager
def stub(payloads: Path) -> Iterator[int]:
    """Run the stub server; give its port."""
    command = [sys.executable, str(HERE / "stub_server.py"), str(payloads)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["port"]
        finally:
            process.terminate()


@contextmanager
def stores(payloads: list[bytes]) -> Iterator[tuple[int, str, Path]]:
    """Run the stub server and Valkey; give the stub's port, the marks' address, and the file of the records."""
    redis = RedisServer()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "records.jsonl"
        file.write_bytes(b"\n".join(payloads))
        redis.start()
        try:
            with stub(file) as port:
                yield port, f"redis://127.0.0.1:{redis.port}/0", file
        finally:
            redis.stop()


async def measure(port: int, redis_url: str, records: int, profile: str | None) -> dict[str, Any]:
    """Measure our own path."""
    rig = Rig(port, redis_url)
    tune_garbage_collection()
    try:
        await whole(rig, min(records, 10_000))  # warms up connections and the stub's pages
        batches = [
            (await rig.kinesis.get_records(f"stub-{page}", BATCH)).records
            for page in range(min(records, 20_000) // BATCH)
        ]
        by_stage = await stages(rig, batches)
        del batches
        gc.collect()
        if profile:
            profiler = cProfile.Profile(time.process_time)
            profiler.enable()
            await whole(rig, records)
            profiler.disable()
            profiler.dump_stats(profile)
        spent = [await whole(rig, records) / records * 1e6 for _ in range(3)]
        faust_s, faust_records = await under_faust(rig, records)
    finally:
        await rig.close()
    return {
        "stages": by_stage,
        "whole_us": sorted(spent),
        "faust_us": faust_s / faust_records * 1e6,
        "faust_records": faust_records,
    }


def show(result: dict[str, Any]) -> None:
    """Print a table."""

    def line(name: str, us: float) -> None:
        print(f"  {name:<44}{us:>9.2f}{1e6 / us:>14,.0f}")

    print(f"{'apply path, CPU':<46}{'µs/record':>9}{'records/CPU-s':>14}")
    for name, us in result["stages_us"].items():
        line(name, us)
    line("sum of the stages", sum(result["stages_us"].values()))
    line("WHOLE PATH (median of 3)", result["whole_us"])
    line("whole path under Faust, as deployed", result["faust_us"])
    line("boto3, one conditional PutItem", result["boto3_us"])
    go = result["go_us"]
    if "missing" in go:
        print(f"  Go handlers: {go['missing']}")
    else:
        line("Go SDK, one conditional PutItem", go["put"])
        line("Go SDK, 25 statements a request", go["batch"])
    print("plain protocol, open identity rows: one conditional PutItem a record")
    line("WHOLE PATH (median of 3)", result["plain_us"])
    print(f"  {result['records']:,} records a round, {result['record_bytes']} bytes each")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=60_000, help=f"a round, {BATCH} to {MOST_RECORDS:,}")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--no-go", action="store_true", help="leave the Go handlers out")
    parser.add_argument("--profile", help="write a cProfile of one round to this file")
    options = parser.parse_args()
    records = max(BATCH, min(options.records, MOST_RECORDS)) // BATCH * BATCH
    payloads = [change_record(number) for number in range(records)]
    plain_payloads = [plain_record(number) for number in range(records)]
    with stores(plain_payloads) as (port, _, _):
        plain_us = uvloop.run(measure_plain(port, records, options.profile))
    with stores(payloads) as (port, redis_url, file):
        ours = uvloop.run(measure(port, redis_url, records, options.profile))
        boto_s = boto_handler(f"http://127.0.0.1:{port}", payloads[:400])
        go = {"missing": "left out"} if options.no_go else go_handlers(f"http://127.0.0.1:{port}", file, records)
    result = {
        "records": records,
        "record_bytes": len(payloads[0]),
        "stages_us": ours["stages"],
        "whole_us": ours["whole_us"][1],
        "whole_records_per_cpu_s": 1e6 / ours["whole_us"][1],
        "faust_us": ours["faust_us"],
        "plain_us": plain_us,
        "boto3_us": boto_s / min(400, records) * 1e6,
        "go_us": go,
    }
    if options.json:
        print(json.dumps(result))
    else:
        show(result)


if __name__ == "__main__":
    main()
