"""A Faust worker for the process tests: writes what it applies to a file, one line a record.

Started by `faust_kinesis_harness.Workers`; its settings come as one JSON argument.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import faust
from mode import CrashingSupervisor

from faust_kinesis import Options, configure

settings: dict[str, Any] = json.loads(sys.argv[1])
configure(
    "worker",
    Options(
        endpoint_url=settings["endpoint"],
        group=settings["group"],
        worker_id=settings["worker_id"],
        fetch_limit=10,
        poll_interval_s=0.2,
        cycle_s=0.5,
        lease_s=2.0,
        shard_refresh_s=2.0,
        lanes=settings["lanes"],
        grace_s=10,
        retention_s=settings["retention_s"],
    ),
)
app = faust.App(
    "worker",
    broker=f"kinesis://{settings['region']}",
    store="memory://",
    datadir=settings["datadir"],
    web_enabled=False,
    topic_disable_leader=True,
    topic_allow_declare=False,
    worker_redirect_stdouts=False,
    autodiscover=False,
)
topic = app.topic(settings["stream"], value_serializer="raw")
applied = os.open(settings["applied"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


async def apply(stream: Any) -> None:
    """Apply batches; the poison makes the worker crash."""
    async for event in stream.noack().events():
        batch = event.message.value
        for record in batch:
            if record.data.decode() == settings["poison"]:
                raise RuntimeError("poison")
            if settings["pause_s"]:
                await asyncio.sleep(settings["pause_s"])
            line = json.dumps([settings["worker_id"], record.partition_key, int(record.data)]) + "\n"
            os.write(applied, line.encode())
        event.ack()


app.agent(topic, isolated_partitions=True, supervisor_strategy=CrashingSupervisor)(apply)

if __name__ == "__main__":
    faust.Worker(app, loglevel="INFO", workdir=settings["datadir"]).execute_from_commandline()
