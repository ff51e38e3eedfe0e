"""One stream consumer: a Faust app on the `kinesis://` transport, which feeds a pipeline and acknowledges after it.

The agent takes a whole batch as one message, without automatic acknowledgement. What it raises crashes the app instead
of being skipped, and the process with it: a restart resumes at the first batch that was not acknowledged.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import structlog

from crossfade.adapters.kinesis import Kinesis
from crossfade.core.values.errors import StoreUnavailable
from crossfade.ports.streams import Fetched, StreamReader, StreamShard
from crossfade.runtime import lifecycle
from crossfade_replicator.kill_points import KillPoints
from crossfade_replicator.records import Pipeline
from crossfade_replicator.reporting import Tallies
from crossfade_replicator.settings import Settings
from faust_kinesis import Batch, EngineReport, LeaseBackend, Options, configure

log = structlog.get_logger()

COMMIT_S: Final = 0.5
"""How often Faust asks the transport to store checkpoints."""


class Source(NamedTuple):
    """What a consumer reads.

    Attributes:
        name: name of the consumer, and of its group of workers: "forward", "feed-target" …
        stream: the Kinesis stream.
        pipeline: what each batch goes through.
    """

    name: str
    stream: str
    pipeline: Pipeline


class SharedKinesis:
    """The wire client as the transport wants it; who made it closes it."""

    def __init__(self, kinesis: StreamReader) -> None:
        """Take the client."""
        self._kinesis = kinesis

    async def list_shards(self, stream: str) -> Sequence[StreamShard]:
        """See `faust_kinesis.KinesisClient`."""
        return await self._kinesis.list_shards(stream)

    async def shard_iterator(
        self, stream: str, shard_id: str, *, after: str | None = None, at_s: float | None = None, latest: bool = False
    ) -> str:
        """See `faust_kinesis.KinesisClient`."""
        return await self._kinesis.shard_iterator(stream, shard_id, after=after, at_s=at_s, latest=latest)

    async def get_records(self, iterator: str, limit: int) -> Fetched:
        """See `faust_kinesis.KinesisClient`."""
        return await self._kinesis.get_records(iterator, limit)

    async def close(self) -> None:
        """See `faust_kinesis.KinesisClient`."""


class Consumer:
    """Runs one source until it is stopped, or until it crashes."""

    def __init__(
        self, source: Source, settings: Settings, kinesis: Kinesis, leases: LeaseBackend, kill: KillPoints
    ) -> None:
        """Build the Faust app; nothing is read before `start`.

        Args:
            source: what to read, and what for.
            settings: of the process.
            kinesis: the data plane.
            leases: where shard leases and checkpoints are kept.
            kill: points at which tests kill the process.
        """
        self.name = source.name
        self.tallies = Tallies()
        self._source = source
        self._kill = kill
        self._stuck_s = settings.stuck_s
        self._state = tempfile.TemporaryDirectory(prefix="replicator-")
        options = Options(
            client=SharedKinesis(kinesis),
            leases=leases,
            group=source.name,
            worker_id=settings.worker_id,
            fetch_limit=settings.fetch_limit,
            prefetch=1,
            poll_interval_s=settings.poll_interval_s,
            cycle_s=settings.cycle_s,
            lease_s=settings.lease_s,
            grace_s=settings.grace_s,
            lanes=settings.lanes,
            now_s=kinesis.now_s,
        )
        self._app = self._build(options, settings.region)

    def _build(self, options: Options, region: str) -> Any:
        # Faust binds to the running loop when it is imported, so not before there is one.
        import faust
        from mode import CrashingSupervisor

        app_id = f"replicator-{self.name}"
        configure(app_id, options)
        app = faust.App(
            app_id,
            broker=f"kinesis://{region}",
            datadir=self._state.name,
            autodiscover=False,
            web_enabled=False,
            topic_disable_leader=True,
            broker_commit_interval=COMMIT_S,
            stream_wait_empty=False,
        )
        topic = app.topic(self._source.stream, value_serializer="raw")

        async def apply(stream: Any) -> None:
            async for event in stream.noack().events():
                await self._take(event.message.value)
                event.ack()
                self._kill.reached("after-ack-before-checkpoint")

        app.agent(topic, name=app_id, isolated_partitions=True, supervisor_strategy=CrashingSupervisor)(apply)
        return app

    async def _take(self, batch: Batch) -> None:
        with lifecycle.HEALTH.working(f"{self.name}: a batch of {batch.shard_id}", self._stuck_s):
            outcome = await self._source.pipeline.apply(batch.shard_id, batch.records)
        self.tallies.of(batch.shard_id).add(outcome)

    async def start(self) -> None:
        """Begin to read."""
        await self._app.start()
        log.info("consuming", consumer=self.name, stream=self._source.stream)

    async def stop(self) -> None:
        """Finish the batches in progress, store the checkpoints, release the leases."""
        await self._app.stop()
        self._state.cleanup()

    async def crashed(self) -> None:
        """Return never; raise when the app has crashed.

        Raises:
            Exception: what an agent or the transport raised.
        """
        await self._app._crashed.wait()  # mode offers no public way to wait for it
        raise self._app.crash_reason or StoreUnavailable(f"{self.name}: the Faust app crashed")

    def engines(self) -> list[EngineReport]:
        """Say how far each stream is; empty before the first lease."""
        found: list[EngineReport] = self._app.consumer.report()
        return found
