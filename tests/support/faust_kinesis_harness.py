"""What the process tests of the Faust transport share: a stream, its writer, and workers that die."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import boto3

from localaws.endpoints import Endpoints

WORKER = Path(__file__).with_name("faust_kinesis_worker.py")
LEASE_TABLE = "faust-kinesis-leases"


class Applied(NamedTuple):
    """One record as a worker applied it."""

    worker: str
    key: str
    number: int


class World:
    """A stream of the embedded AWS, and the workers that read it.

    Args:
        endpoints: of the embedded AWS.
        directory: for what the workers write.
        shards: of the stream.
    """

    def __init__(self, endpoints: Endpoints, directory: Path, *, shards: int) -> None:
        self.endpoints = endpoints
        self.directory = directory
        self.stream = f"stream-{secrets.token_hex(4)}"
        self.written = 0
        self.kinesis = boto3.client("kinesis", **endpoints.client_arguments())
        self.dynamodb = boto3.client("dynamodb", **endpoints.client_arguments())
        self.kinesis.create_stream(StreamName=self.stream, ShardCount=shards)
        self.kinesis.get_waiter("stream_exists").wait(StreamName=self.stream, WaiterConfig={"Delay": 1})
        self._workers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> World:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            if worker.poll() is None:
                worker.kill()
            worker.wait()

    def write(self, count: int, *, keys: int = 7) -> None:
        """Write the next `count` numbers, each under one of `keys` partition keys."""
        records = [
            {"PartitionKey": f"key{number % keys}", "Data": b"%d" % number}
            for number in range(self.written, self.written + count)
        ]
        self.written += count
        for first in range(0, count, 500):
            answer = self.kinesis.put_records(StreamName=self.stream, Records=records[first : first + 500])
            assert answer["FailedRecordCount"] == 0

    def split(self) -> None:
        """Split the first open shard."""
        shard = next(
            each
            for each in self.kinesis.list_shards(StreamName=self.stream)["Shards"]
            if "EndingSequenceNumber" not in each["SequenceNumberRange"]
        )
        low, high = (int(shard["HashKeyRange"][end]) for end in ("StartingHashKey", "EndingHashKey"))
        self.kinesis.split_shard(
            StreamName=self.stream, ShardToSplit=shard["ShardId"], NewStartingHashKey=str((low + high) // 2)
        )

    def start(self, worker_id: str = "w1", **settings: Any) -> subprocess.Popen[bytes]:
        """Start a worker."""
        chosen = {
            "endpoint": self.endpoints.aws_endpoint,
            "region": self.endpoints.region,
            "stream": self.stream,
            "group": "group",
            "worker_id": worker_id,
            "applied": str(self.directory / "applied"),
            "datadir": str(self.directory),
            "poison": "",
            "pause_s": 0.0,
            "lanes": 4,
            "retention_s": 24 * 3600.0,
            **settings,
        }
        environment = os.environ | {
            "AWS_ACCESS_KEY_ID": self.endpoints.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.endpoints.secret_access_key,
        }
        with (self.directory / f"log-{worker_id}-{len(self._workers)}").open("wb") as log:
            worker = subprocess.Popen(
                [sys.executable, str(WORKER), json.dumps(chosen)], env=environment, stdout=log, stderr=log
            )
        self._workers.append(worker)
        return worker

    def stop(self, worker: subprocess.Popen[bytes]) -> int:
        """Ask a worker to end, and return its exit code."""
        worker.send_signal(signal.SIGTERM)
        return worker.wait(30)

    def applied(self) -> list[Applied]:
        """Return what was applied, in order; a line that a kill cut off is left out."""
        try:
            lines = (self.directory / "applied").read_text().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        return [Applied(*json.loads(line)) for line in lines if line.endswith("\n")]

    def leases(self) -> dict[str, dict[str, Any]]:
        """Return the lease items of the stream, by shard id."""
        items = self.dynamodb.query(
            TableName=LEASE_TABLE,
            ConsistentRead=True,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": f"{self.stream}#group"}},
        )["Items"]
        return {item["sk"]["S"]: item for item in items if item["sk"]["S"] != "#start"}

    def age_checkpoints(self) -> None:
        """Make it look as if nothing had been read since 1970."""
        for shard_id, lease in self.leases().items():
            self.dynamodb.update_item(
                TableName=LEASE_TABLE,
                Key={"pk": lease["pk"], "sk": {"S": shard_id}},
                UpdateExpression="SET applied_to_ms = :long_ago",
                ExpressionAttributeValues={":long_ago": {"N": "1000"}},
            )

    def logs(self) -> str:
        """Return what all workers logged."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.directory.glob("log-*")))

    def wait(self, holds: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
        """Wait until something holds; fail, with the workers' last lines, when it does not."""
        deadline = time.monotonic() + timeout_s
        while not holds():
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {timeout_s} s for {what}\n{self.logs()[-3000:]}")
            time.sleep(0.05)

    def wait_applied(self, count: int, timeout_s: float = 30.0) -> None:
        """Wait until so many different records are applied."""
        self.wait(lambda: len({each.number for each in self.applied()}) >= count, f"{count} applied", timeout_s)

    def check(self, *, once: bool = False) -> None:
        """Every record written was applied, each key's in order; with `once`, none twice."""
        applied = self.applied()
        numbers = [each.number for each in applied]
        assert set(numbers) == set(range(self.written)), self.logs()[-3000:]
        if once:
            assert len(numbers) == self.written
        order: defaultdict[str, list[int]] = defaultdict(list)
        for each in applied:
            if each.number not in order[each.key]:
                order[each.key].append(each.number)
        for key, seen in order.items():
            assert seen == sorted(seen), f"{key} out of order: {seen}"
