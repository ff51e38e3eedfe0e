"""CPU and wall time a record of the function and of the worker, in one run: when is which the better choice?

    python benchmarks/bench_lambda.py [--records 20000] [--json]

The function: the text of the event decoded as Lambda's runtime does, then `crossfade_replicator.function.Function`
with its own clients: pipeline, marks in a real Valkey, report to the controller, metrics as lines. By size of the
batch, since every invocation has its own report, metrics and round trips. The worker: the same pipeline under Faust,
as deployed, from bench_apply. Both against the stub server, which answers at once: wall time on AWS is this and the
latency of the requests, which docs/how-to/lambda-or-worker.md adds. Cold start: a new interpreter that imports the
handler from the zip of `make lambda`, if there is one.

CPU time is this process's user and system time. Machines differ and are noisy: compare within one run.
"""

from __future__ import annotations

import argparse
import base64
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import uvloop
from apply_records import change_record
from bench_apply import Rig, stores, under_faust, whole

from crossfade.adapters.clock import SYSTEM
from crossfade.adapters.control.reports import DynamoReports
from crossfade.adapters.memory.control import MemoryDeadLetters, MemoryJournal
from crossfade.adapters.tables import DynamoTable
from crossfade.core.migration.phases import Phase
from crossfade.core.values.shape import Direction, Side
from crossfade.runtime.telemetry.emf import emf_lines
from crossfade_replicator.function import Function, Source, TimeLeft
from crossfade_replicator.function_metrics import Ran, measured
from crossfade_replicator.function_reports import FunctionReports
from crossfade_replicator.interventions import Interventions
from crossfade_replicator.journal import PhaseWatch
from crossfade_replicator.pipeline import ApplyPipeline
from crossfade_replicator.sender import Sender
from crossfade_replicator.tuning import tune_garbage_collection
from engagement_migration import MAPPING

ROOT = Path(__file__).resolve().parent.parent
ZIP = ROOT / "build/lambda/replicator-x86_64.zip"
SIZES = (1, 10, 100, 500, 1000, 2000)
LIMIT_BYTES = 6 * 1024 * 1024
FORWARD = Direction.FORWARD


def event_text(payloads: list[bytes]) -> str:
    """Return an event as Lambda's runtime gets it."""
    records = [
        {
            "kinesis": {
                "kinesisSchemaVersion": "1.0",
                "partitionKey": f"{number:032x}",
                "sequenceNumber": f"4966{number:052d}",
                "data": base64.b64encode(payload).decode(),
                "approximateArrivalTimestamp": 1_790_000_000.123,
            },
            "eventSource": "aws:kinesis",
            "eventVersion": "1.0",
            "eventID": f"shardId-000000000000:4966{number:052d}",
            "eventName": "aws:kinesis:record",
            "invokeIdentityArn": "arn:aws:iam::000000000000:role/replicator",
            "awsRegion": "us-east-1",
            "eventSourceARN": "arn:aws:kinesis:us-east-1:000000000000:stream/wallet-changes",
        }
        for number, payload in enumerate(payloads)
    ]
    return json.dumps({"Records": records})


async def function(rig: Rig) -> Function:
    """Return the function with its own clients, in the phase BOTH_WAYS."""
    rig.forget()
    time_left = TimeLeft(SYSTEM)
    sender = Sender(rig.transfers, clock=SYSTEM, time_left_s=time_left.left_s)
    source, target = (DynamoTable(rig.dynamodb, MAPPING, side) for side in (Side.SOURCE, Side.TARGET))
    letters = MemoryDeadLetters()
    pipeline = ApplyPipeline(
        MAPPING,
        FORWARD,
        sender=sender,
        interventions=Interventions(MAPPING, FORWARD, source, target, letters, clock=SYSTEM),
        marks=rig.marks,
        letters=letters,
        clock=SYSTEM,
    )
    journal = MemoryJournal()
    await journal.append("phase", {"to": Phase.BOTH_WAYS.value})

    def emit(ran: Ran) -> None:
        emf_lines("replicator-forward", MAPPING.name, measured(ran))

    reports = FunctionReports(DynamoReports(rig.dynamodb, "reports"), rig.kinesis, clock=SYSTEM)
    sources = {"wallet-changes": Source("forward", pipeline, sender)}
    return Function(
        sources, PhaseWatch(journal), reports, time_left, clock=SYSTEM, partial=True, reserve_s=3.0, emit=emit
    )


async def by_size(rig: Rig, payloads: list[bytes], size: int) -> dict[str, float]:
    """Run batches of one size; every record is applied."""
    made = await function(rig)
    batches = [payloads[start : start + size] for start in range(0, min(len(payloads), size * 400), size)]
    texts = [event_text(each) for each in batches if len(each) == size]
    rig.forget()
    cpu_s, wall_s, decode_s = time.process_time(), time.perf_counter(), 0.0
    for text in texts:
        began = time.process_time()
        event = json.loads(text)
        decode_s += time.process_time() - began
        assert await made.run(event, 30.0) == {"batchItemFailures": []}
    cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
    records = size * len(texts)
    return {
        "cpu_us": cpu_s / records * 1e6,
        "decode_us": decode_s / records * 1e6,
        "wall_ms_per_batch": wall_s / len(texts) * 1e3,
        "event_bytes": len(texts[0]),
    }


def cold_start() -> dict[str, float] | None:
    """Import the handler from the zip in a new interpreter; None when there is no zip."""
    if not ZIP.exists():
        return None
    code = (
        "import re, sys, time; sys.path.append(sys.argv[1]); w = time.perf_counter(); c = time.process_time();"
        "import crossfade_replicator.lambda_handler;"
        "print(time.process_time() - c, time.perf_counter() - w,"
        " int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) / 1024)"
    )
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(ZIP) as archive:
            archive.extractall(folder)
        command = [str(Path(sys.executable).resolve()), "-I", "-S", "-c", code, folder]
        runs = [
            [float(each) for each in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()]
            for _ in range(4)
        ][1:]  # the first one reads the disk
    cpu_s, wall_s, memory_mb = (min(run[place] for run in runs) for place in range(3))
    return {"cpu_s": cpu_s, "wall_s": wall_s, "memory_mb": memory_mb, "zip_mb": ZIP.stat().st_size / 1e6}


async def measure(port: int, redis_url: str, payloads: list[bytes]) -> dict[str, Any]:
    """Measure both."""
    rig = Rig(port, redis_url)
    tune_garbage_collection()
    try:
        await whole(rig, min(len(payloads), 10_000))  # warms up
        sizes = {}
        for size in SIZES:
            if len(event_text(payloads[:size])) > LIMIT_BYTES:
                continue
            runs = [await by_size(rig, payloads, size) for _ in range(3)]
            sizes[size] = sorted(runs, key=lambda run: run["cpu_us"])[1]
        whole_us = sorted([await whole(rig, len(payloads)) / len(payloads) * 1e6 for _ in range(3)])[1]
        faust_s, faust_records = await under_faust(rig, len(payloads))
    finally:
        await rig.close()
    return {"function": sizes, "pipeline_us": whole_us, "worker_us": faust_s / faust_records * 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=20_000, help="a round, 2,000 to 100,000")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    payloads = [change_record(number) for number in range(max(2_000, min(options.records, 100_000)) // 1000 * 1000)]
    with stores(payloads) as (port, redis_url, _):
        result = uvloop.run(measure(port, redis_url, payloads))
    result |= {"record_bytes": len(payloads[0]), "cold_start": cold_start()}
    if options.json:
        print(json.dumps(result))
        return
    print(f"{'CPU a record':<34}{'µs':>9}{'of it decoding the event':>27}{'wall ms a batch':>18}{'event kB':>10}")
    for size, found in result["function"].items():
        print(
            f"  function, batches of {size:<11}{found['cpu_us']:>9.1f}{found['decode_us']:>27.1f}"
            f"{found['wall_ms_per_batch']:>18.1f}{found['event_bytes'] / 1e3:>10.0f}"
        )
    print(f"  {'worker, as deployed':<32}{result['worker_us']:>9.1f}")
    print(f"  {'its pipeline without Faust':<32}{result['pipeline_us']:>9.1f}")
    print(f"  records of {result['record_bytes']} bytes")
    if cold := result["cold_start"]:
        print(
            f"  cold start: {cold['cpu_s']:.2f} s of CPU, {cold['wall_s']:.2f} s, {cold['memory_mb']:.0f} MB;"
            f" zip of {cold['zip_mb']:.1f} MB"
        )
    else:
        print("  cold start: no zip; make lambda")


if __name__ == "__main__":
    main()
