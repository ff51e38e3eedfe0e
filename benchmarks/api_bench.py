"""CPU time of the Engagement API per operation, against a stub that answers at once.

    python benchmarks/api_bench.py [--seconds 4]

Three processes: the stub, the service as it is deployed, and this client. Only the service's own CPU time counts, so
neither the stub nor the client matters beyond keeping it busy. Prints one JSON line per way of calling.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import grpc
import uvloop
from stub_server import Client, response

from crossfade.adapters.flagd import FlagFile
from crossfade.core.ownership.ramp import FlagDocument
from crossfade.gen.engagement.v1 import engagement_service_pb2 as pb
from crossfade.gen.engagement.v1.engagement_service_pb2_grpc import EngagementServiceStub
from engagement_api.ulids import encode_ulid

TICKS: Final = os.sysconf("SC_CLK_TCK")
WALLETS: Final = 5_000


class Wallets:
    """A DynamoDB that takes every write and returns the same wallet."""

    def __init__(self) -> None:
        version = {"N": str(1_790_000_000_000_000 << 10)}
        row: dict[str, object] = {
            "pk": {"S": "USER#000000001"},
            "sk": {"S": "POINTS#1"},
            "balance": {"N": "100"},
            "wallet_type": {"S": "ENGAGEMENT"},
            "cf_mv": version,
            "cf_emv": version,
            "cf_role": {"S": "A"},
            "cf_gen": {"N": "1"},
            "cf_recent": {"BS": ["AZoU3pQAAAAAAAAAAAAAA" + letter + "==" for letter in "AQgw"]},
            "cf_events": {"L": [{"M": {"kind": {"S": "earn"}, "delta": {"N": "5"}}}]},
        }
        self._empty = response(b"{}")
        self._written = response(json.dumps({"Attributes": row}).encode())
        self._statement = json.dumps({"TableName": "wallet", "Item": row})
        self._batches: dict[int, bytes] = {}

    def answer(self, operation: bytes, body: bytes) -> bytes:
        if operation == b"UpdateItem":
            return self._written
        if operation == b"BatchExecuteStatement":
            count = body.count(b'"Statement":')
            if count not in self._batches:
                self._batches[count] = response(
                    ('{"Responses":[' + ",".join([self._statement] * count) + "]}").encode()
                )
            return self._batches[count]
        return self._empty  # the heartbeat's PutItem


async def serve_stub() -> None:
    canned = Wallets()
    server = await asyncio.get_running_loop().create_server(lambda: Client(canned), "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await asyncio.Event().wait()


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def earning() -> pb.EarnPointsRequest:
    made = ((time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)).to_bytes(16, "big")
    user = f"{secrets.randbelow(WALLETS):09d}"
    return pb.EarnPointsRequest(
        user=user, channel="chan-3", amount=5, reason="watched", transaction_id=encode_ulid(made)
    )


async def measure(name: str, pid: int, seconds: float, lanes: int, call: Callable[[], Awaitable[int]]) -> None:
    """Call from several lanes at a time for a while, and print the service's CPU-µs per operation."""
    done = 0
    ends_s = time.monotonic() + 0.5

    async def lane() -> None:
        nonlocal done
        while time.monotonic() < ends_s:
            count = await call()  # read `done` only after the wait: the other lanes add to it meanwhile
            done += count

    await asyncio.gather(*(lane() for _ in range(lanes)))
    done, ends_s = 0, time.monotonic() + seconds
    before_s = cpu_s(pid)
    await asyncio.gather(*(lane() for _ in range(lanes)))
    used_us = (cpu_s(pid) - before_s) * 1e6
    figures = {
        "operations": done,
        "cpu_us_per_operation": round(used_us / done, 1),
        "per_cpu_s": round(done * 1e6 / used_us),
    }
    print(json.dumps({"call": name} | figures), flush=True)


async def drive(pid: int, address: str, seconds: float) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        api = EngagementServiceStub(channel)

        async def unary() -> int:
            await api.EarnPoints(earning())
            return 1

        async def batch(size: int) -> int:
            request = pb.BatchEarnPointsRequest(operations=(earning() for _ in range(size)))
            outcomes = (await api.BatchEarnPoints(request)).outcomes
            assert all(each.HasField("response") for each in outcomes)
            return size

        await measure("EarnPoints", pid, seconds, 32, unary)
        await measure("BatchEarnPoints of 100", pid, seconds, 4, lambda: batch(100))
        await measure("BatchEarnPoints of 500", pid, seconds, 4, lambda: batch(500))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each way of calling")
    parser.add_argument("--dual-write", action="store_true", help="with copies to the other table")
    parser.add_argument("--stub", action="store_true", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.stub:
        uvloop.run(serve_stub())
        return
    with tempfile.TemporaryDirectory() as folder:
        flags = Path(folder) / "flags.json"
        FlagFile(flags).write(FlagDocument(), dual_write=wanted.dual_write)
        stub = subprocess.Popen([sys.executable, __file__, "--stub"], stdout=subprocess.PIPE, text=True)
        assert stub.stdout
        port = json.loads(stub.stdout.readline())["port"]
        environment = os.environ | {
            "CROSSFADE_AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "CROSSFADE_FLAG_FILE": str(flags),
            "CROSSFADE_PORT": "0",
            "CROSSFADE_LOG_LEVEL": "INFO",
            "AWS_ACCESS_KEY_ID": "stub",
            "AWS_SECRET_ACCESS_KEY": "stub",
        }
        api = subprocess.Popen(
            [sys.executable, "-m", "engagement_api.main"], env=environment, stdout=subprocess.PIPE, text=True
        )
        try:
            assert api.stdout
            said = next(each for line in api.stdout if (each := json.loads(line))["event"] == "ready")
            uvloop.run(drive(api.pid, said["address"], wanted.seconds))
        finally:
            api.terminate()
            api.wait(10)
            stub.terminate()


if __name__ == "__main__":
    main()
