"""CPU time of the apply path, a record, with telemetry off, on but nothing sampled, at 1 % and at 100 %.

    python benchmarks/bench_telemetry.py [--records 20000] [--rounds 5] [--json]

The whole path of bench_apply.py (fetch, decode, decide, coalesce, marks, statements, checkpoint) on the same stub
server and Valkey. Telemetry is OTLP gRPC for traces and metrics, sent to a receiver in another process; what the
exporters' threads spend here is counted. The rounds of all settings alternate, so that a noisy machine is noisy for
all; the median counts. "off" is what a process without OTEL_ variables runs: the pipeline itself, nothing around it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any, NamedTuple

import uvloop
from apply_records import change_record
from bench_apply import BATCH, Rig, stores, whole

from crossfade.adapters.clock import SYSTEM
from crossfade.core.values.shape import Side
from crossfade.runtime import telemetry
from crossfade.runtime.telemetry import Telemetry
from crossfade_replicator.records import Pipeline
from crossfade_replicator.tracing import Observed, ObservedTransfers
from crossfade_replicator.tuning import tune_garbage_collection
from engagement_migration import MAPPING

SETTINGS = {"off": None, "on, nothing sampled": 0.0, "1 %": 0.01, "100 %": 1.0}
RECEIVER = """
import sys
from crossfade_demo.receiver import Receiver
receiver = Receiver()
receiver.start()
print(receiver.address, flush=True)
sys.stdin.readline()
print(receiver.taken, flush=True)
"""


class Who(NamedTuple):
    pod: str = "bench"

    def mapping(self) -> Any:
        return MAPPING


def payloads(records: int, share: float) -> list[bytes]:
    """Records of which a share belongs to sampled traces."""
    every = round(1 / share) if share else 0
    made = []
    for number in range(records):
        record = change_record(number)
        sampled = every and number % every == 0
        made.append(record if sampled else record.replace(b'-01"', b'-00"'))
    return made


@contextmanager
def receiver() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A receiver in another process; give its address."""
    command = [sys.executable, "-c", RECEIVER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip(), process
        finally:
            process.terminate()


def looked_on(pipeline: Pipeline, active: Telemetry | None) -> Pipeline:
    """The pipeline as the service builds it."""
    if active is None:
        return pipeline
    return Observed(
        pipeline,
        active,
        MAPPING,
        Side.SOURCE,
        consumer="forward",
        stream="wallet-changes",
        clock=SYSTEM,
    )


async def measure(port: int, redis_url: str, records: int, rounds: int) -> dict[str, list[float]]:
    """CPU µs a record of each round, by setting."""
    pages = records // BATCH
    spent: dict[str, list[float]] = {name: [] for name in SETTINGS}
    tune_garbage_collection()
    for number in range(rounds + 1):  # the first one warms up
        for place, (name, share) in enumerate(SETTINGS.items()):
            async with AsyncExitStack() as stack:
                active = None
                if share is not None:
                    active = await stack.enter_async_context(telemetry.running("replicator-forward", Who()))
                rig = Rig(port, redis_url)  # after telemetry has begun, so that it looks on at the requests
                if active is not None:
                    rig.transfers = ObservedTransfers(rig.transfers)  # type: ignore[assignment]  # as the service does
                stack.push_async_callback(rig.close)
                rig.rounds = number * 10 + place
                looked = looked_on(rig.pipeline(), active)
                taken_s = await whole(rig, records, pipeline=looked, first_page=place * pages)
            if number:
                spent[name].append(taken_s / records * 1e6)
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=20_000, help="a round and setting")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    records = max(BATCH, options.records) // BATCH * BATCH
    everything = [each for share in SETTINGS.values() for each in payloads(records, share or 0.0)]
    with receiver() as (address, process), stores(everything) as (port, redis_url, _):
        os.environ |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{address}",
            "OTEL_BSP_MAX_QUEUE_SIZE": "1000000",  # so that nothing is dropped, and all of it costs
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "2048",
            "OTEL_METRIC_EXPORT_INTERVAL": "5000",
        }
        spent = uvloop.run(measure(port, redis_url, records, options.rounds))
        received, _ = process.communicate("\n", timeout=30)
    result = {
        "records": records,
        "rounds": options.rounds,
        "us_per_record": {name: statistics.median(each) for name, each in spent.items()},
        "all_us": spent,
        "spans_received": int(received),
    }
    if options.json:
        print(json.dumps(result))
        return
    off = result["us_per_record"]["off"]
    print(f"{'apply path, CPU':<26}{'µs/record':>10}{'records/CPU-s':>15}{'against off':>13}   least to most")
    for name, us in result["us_per_record"].items():
        ends = f"{min(spent[name]):.2f} to {max(spent[name]):.2f}"
        print(f"  {name:<24}{us:>10.2f}{1e6 / us:>15,.0f}{(us / off - 1) * 100:>12.1f} %   {ends}")
    print(f"  {records:,} records a round, median of {options.rounds}; {result['spans_received']:,} spans received")


if __name__ == "__main__":
    main()
