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
    """Settings of a replicator."""

    consumer: ConsumerKind = Field(description="forward, reverse or feed.")
    worker: str = Field(
        "",
        pattern=f"{NAME}|^$",
        description="Lasting name of this worker, unique within its consumer: after a crash it gets its "
        "shards back at once. Unset: the pod's name; then the old leases have to expire first.",
    )
    mark_ttl_s: float = Field(86_400.0, gt=0, description="How long a mark of an applied write is kept in Redis.")
    fetch_limit: int = Field(2000, ge=1, le=10_000, description="Most records per read, and so per batch.")
    poll_interval_s: float = Field(0.4, ge=0.2, description="Pause between reads of a shard that has nothing new.")
    in_flight: int = Field(8, ge=1, le=64, description="Concurrent write requests per batch.")
    lease_s: float = Field(4.5, ge=1.5, description="After this much silence, a worker has lost its shards.")
    cycle_s: float = Field(1.2, gt=0, description="Time between checkpoints, and between renewals of leases.")
    lanes: int = Field(8, ge=1, description="Shards that one process works on at the same time.")
    report_s: float = Field(1.0, gt=0, description="Time between two reports to the controller.")
    log_report_s: float = Field(30.0, gt=0, description="Time between two reports in the log.")
    watch_s: float = Field(2.0, gt=0, description="Time between two looks at the journal and at overtaken conflicts.")
    grace_s: float = Field(
        20.0, gt=0, description="How long a running batch may take to finish after a request to stop."
    )
    stuck_s: float = Field(
        300.0, gt=0, description="If a batch takes longer, back-off included, /healthz calls for a restart."
    )
    member_lease_s: float = Field(
        10.0,
        ge=1.5,
        description="Plain protocol: after this much silence, a process that writes standby rows counts as dead.",
    )
    signature_s: float = Field(
        900.0,
        ge=0,
        description="Plain protocol: how long after its date a signed request may still take effect. The controller's "
        "setting of this name must not be lower.",
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
    """Settings of the operator's tools: the service's, but they need no consumer."""

    consumer: ConsumerKind = Field(ConsumerKind.FORWARD, description="Not used by tools.")
