"""Settings of the verifier."""

from __future__ import annotations

from pydantic import Field

from crossfade.runtime.access_settings import GuardedSettings


class Settings(GuardedSettings):
    """Settings of the verifier."""

    http_port: int = Field(
        0, ge=0, le=65535, description="Port of its HTTP; 0 picks a free one, printed in the ready line."
    )
    continuous: bool = Field(True, description="Keep passing over both tables; otherwise only on request.")
    pause_s: float = Field(15.0, ge=0, description="Pause after a clean pass.")
    reads_per_s: int = Field(2000, ge=10, le=10_000_000, description="Items read per second, both tables together.")
    units: int = Field(16, ge=1, le=1000, description="Units of a pass: segments that each table is cut into.")
    segments: int = Field(4, ge=1, le=1000, description="Units of a pass that this process scans at once.")
    page: int = Field(200, ge=1, le=10_000, description="Items per scan page.")
    waiting_rows: int = Field(
        5000, ge=1, le=100_000, description="Rows of a unit that wait for their partners in memory; more are spilled."
    )
    checkpoint_s: float = Field(5.0, gt=0, description="Pause between two checkpoints of a unit.")
    unit_lease_s: float = Field(
        20.0, gt=0, description="A unit without a checkpoint for so long is taken over; more than two of their pauses."
    )
    share_every_s: float = Field(1.0, gt=0, description="How often verifiers look at each other's units.")
    buckets: int = Field(256, ge=1, le=4096, description="Buckets of the digests.")
    keys_kept: int = Field(
        10_000, ge=1, le=100_000, description="Keys of each class that a unit of a pass keeps, for repairs."
    )
    in_flight_bound_s: float = Field(10.0, gt=0, description="A key that is behind for longer is stuck.")
    watch_changes: bool = Field(True, description="Hear every change of both streams, and see differences at once.")
    watch_bound: int = Field(
        20_000, ge=1, le=10_000_000, description="Keys kept open, or suspected, at most; the next pass sees others."
    )
    settle_every_s: float = Field(1.0, gt=0, description="How often followed keys are read again.")
    follow_bound: int = Field(
        50_000, ge=1, le=10_000_000, description="Keys that a pass follows at once, 1 KB each; at more its scan waits."
    )
    follow_limit_s: float = Field(60.0, gt=0, description="A pass gives up on a key after following it for this long.")
    poll_s: float = Field(
        1.0, ge=0.2, description="Pause between two reads of a shard; all its readers share 5 reads per second."
    )
    handover_bound_s: float = Field(5.0, gt=0, description="A key standby on both sides for longer is named.")
    lag_bound_s: float = Field(5.0, gt=0, description="Highest lag at which it is safe to cut over.")
    clean_pass_bound_s: float = Field(600.0, gt=0, description="Oldest clean pass with which it is safe to cut over.")
    lag_per_million: int = Field(
        100_000, ge=0, le=1_000_000, description="Keys, per million, by which the time between the tables is measured."
    )
    ask_every_s: float = Field(5.0, gt=0, description="Pause between two probes of each table and its capture.")
    answer_bound_s: float = Field(15.0, gt=0, description="Oldest such answer with which it is safe to cut over.")
    cloudwatch: bool = Field(
        True, description="Read AgeOfOldestUnreplicatedRecord; without it, it is never said to be safe to cut over."
    )
    cloudwatch_every_s: float = Field(60.0, ge=1, description="How often.")
    spill: str | None = Field(
        None,
        pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9!_.*'()-]+)+/?$",
        description="Where rows wait that don't fit in memory: s3://BUCKET/PREFIX; unset, the table of reports.",
    )
    samples: int = Field(
        10, ge=0, le=100, description="Keys that /parity shows of each class; /parity/differences lists all."
    )
    repairs_at_once: int = Field(100_000, ge=1, le=1_000_000, description="Keys that one plan of a repair may name.")
    repairs_per_s: int = Field(
        50, ge=1, le=10_000, description="Keys repaired per second, all repairs of the process together."
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
    retry_s: float = Field(
        2.0, gt=0, description="Wait before retrying what failed, or repeating a pass that was not clean."
    )
