"""Settings of a reader, and where a Faust app finds its own."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from faust_kinesis.client import KinesisClient
from faust_kinesis.leases import LeaseBackend
from faust_kinesis.position import TRIM_HORIZON, Position


def new_worker_id() -> str:
    """Return a name that no other worker has: host, process, chance."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a stream is read. Each has a default that suits a worker of its own pod.

    Attributes:
        client: the Kinesis client; None for aiobotocore. Who passes one closes it.
        leases: where lease items are kept; None for aiobotocore on `lease_table`. Who passes one closes it.
        lease_table: DynamoDB table of the default lease backend.
        endpoint_url: another AWS endpoint for the default client and backend, for an emulator.
        group: workers of a group share the shards; empty for the Faust app's id.
        worker_id: name of this worker in the leases. Give a lasting one (a pod's name), and a
            restarted worker has its shards back at once instead of after `lease_s`.
        start: where a group that has never read begins. Fixed by the group's first worker.
        fetch_limit: records in one GetRecords call, and so in one batch, at most.
        prefetch: batches read ahead per shard while one is out. With 0 the next read waits for the ack.
        poll_interval_s: pause between reads of a shard that has nothing new. Kinesis allows 5
            reads a second and shard, for all consumers together.
        cycle_s: time between renewals; a checkpoint is durable after that time at the latest.
        lease_s: a worker that was silent for so long has lost its shards.
        shard_refresh_s: time between two looks at the list of shards. The end of a shard is one, too.
        retention_s: what is younger is certainly still in the stream. An older checkpoint is proven
            against the oldest record before it is used. 24 h is the least that Kinesis has.
        grace_s: time for the batches in progress when the worker stops.
        lanes: Faust partitions per stream. Shards spread over them; each is worked on independently
            when the agent has `isolated_partitions`.
        now_s: the time that Kinesis dates arrivals by, as far as the caller knows it: seconds since the epoch. The
            machine's clock, if nothing better is known; one that is behind would make old records look young.
    """

    client: KinesisClient | None = None
    leases: LeaseBackend | None = None
    lease_table: str = "faust-kinesis-leases"
    endpoint_url: str | None = None
    group: str = ""
    worker_id: str = field(default_factory=new_worker_id)
    start: Position = TRIM_HORIZON
    fetch_limit: int = 1000
    prefetch: int = 0
    poll_interval_s: float = 0.4
    cycle_s: float = 1.5
    lease_s: float = 6.0
    shard_refresh_s: float = 15.0
    retention_s: float = 24 * 3600.0
    grace_s: float = 20.0
    lanes: int = 8
    now_s: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        if not 1 <= self.fetch_limit <= 10_000:
            raise ValueError(f"fetch_limit is 1 to 10000 records, not {self.fetch_limit}")
        if self.prefetch < 0 or self.lanes < 1:
            raise ValueError("prefetch is at least 0 batches, lanes at least 1")
        if self.poll_interval_s < 0.2:
            raise ValueError(
                f"poll_interval_s below 0.2 alone uses up a shard's 5 reads a second: {self.poll_interval_s}"
            )
        if self.lease_s < 3 * self.cycle_s:
            raise ValueError(f"lease_s ({self.lease_s}) must outlast three renewals of {self.cycle_s} s")
        if not self.worker_id or "#" in self.group:
            raise ValueError("worker_id must not be empty, and group must not contain '#'")


_configured: dict[str, Options] = {}


def configure(app_id: str, options: Options) -> None:
    """Set the options of a Faust app, before it starts.

    Args:
        app_id: the `id` of the `faust.App`.
        options: what its `kinesis://` transport uses.
    """
    _configured[app_id] = options


def options_for(app_id: str) -> Options | None:
    """Return what `configure` set; None when it was not called."""
    return _configured.get(app_id)
