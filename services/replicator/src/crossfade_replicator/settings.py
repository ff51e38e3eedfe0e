"""Settings of the replicator."""

from __future__ import annotations

from enum import Enum
from typing import Self

from pydantic import Field, model_validator

from crossfade.runtime.marks_settings import MarksSettings
from crossfade.runtime.settings import NAME
from crossfade_replicator.kill_points import KillPoints


class ConsumerKind(Enum):
    """What a replicator process does."""

    FORWARD = "forward"  # source to target
    REVERSE = "reverse"  # target to source
    FEED = "feed"  # events of both tables


class Settings(MarksSettings):
    """What a replicator is told."""

    consumer: ConsumerKind = Field(description="forward, reverse or feed.")
    worker: str = Field(
        "",
        pattern=f"{NAME}|^$",
        description="Lasting name of this worker, unique for its consumer: after a crash it gets its shards back. "
        "Unset: the pod's name, and the old leases have to expire first.",
    )
    mark_ttl_s: float = Field(86_400.0, gt=0, description="How long a mark of an applied write is kept in Redis.")
    fetch_limit: int = Field(2000, ge=1, le=10_000, description="Most records of one read, and so of one batch.")
    poll_interval_s: float = Field(0.4, ge=0.2, description="Pause between reads of a shard that has nothing new.")
    in_flight: int = Field(8, ge=1, le=64, description="Write requests of one batch at the same time.")
    lease_s: float = Field(4.5, ge=1.5, description="A worker that was silent for so long has lost its shards.")
    cycle_s: float = Field(1.2, gt=0, description="Time between checkpoints, and between renewals of leases.")
    lanes: int = Field(8, ge=1, description="Shards of one process that are worked on at the same time.")
    report_s: float = Field(1.0, gt=0, description="Time between two reports to the controller.")
    log_report_s: float = Field(30.0, gt=0, description="Time between two reports in the log.")
    watch_s: float = Field(2.0, gt=0, description="Time between two looks at the journal and at overtaken conflicts.")
    grace_s: float = Field(20.0, gt=0, description="Longest time that a batch in work may take when asked to stop.")
    stuck_s: float = Field(
        300.0, gt=0, description="A batch in work for longer, back-offs included, makes /healthz call for a restart."
    )
    kill_at: str = Field("", description="Point at which the process kills itself; for tests, with CROSSFADE_INSECURE.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kill_at and not self.insecure:
            raise ValueError("CROSSFADE_KILL_AT is for tests: it needs CROSSFADE_INSECURE=1")
        if self.lease_s < 3 * self.cycle_s:
            raise ValueError("CROSSFADE_LEASE_S must be at least three times CROSSFADE_CYCLE_S")
        KillPoints(self.kill_at)
        return self

    @property
    def worker_id(self) -> str:
        """Name of this worker in the leases."""
        return self.worker or self.pod


class ToolSettings(Settings):
    """What the operator's tools are told: as the service, but they need no consumer."""

    consumer: ConsumerKind = Field(ConsumerKind.FORWARD, description="Not used by tools.")
