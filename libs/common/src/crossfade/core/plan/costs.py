"""What a plain migration takes: dollars, hours, shards and cores (list prices: `crossfade.core.migration.capacity`)."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from crossfade.core.migration.capacity import (
    CAPTURE_DOLLARS_PER_M,
    COUNTED,
    DEFAULT_WRITES_PER_S,
    EXPORT_DOLLARS_PER_GB,
    IMPORT_DOLLARS_PER_GB,
    LIMIT,
    LIST_PRICE,
    PER_CORE,
    RECOVERY_DOLLARS_PER_GB_MONTH,
    SAMPLED,
    SHARD_BYTES_S,
    SHARD_RECORDS_S,
    SHARED_FILL,
    WRITE_DOLLARS_PER_M,
    Estimate,
)

READ_DOLLARS_PER_M: Final = 0.125
SHARD_DOLLARS_PER_HOUR: Final = 0.015
TRANSFER_PER_CORE_S: Final = 9_600
"""Conditional puts a CPU-second: what the benchmark is held to."""

MAP_PER_CORE_S: Final = 120_000
AWS_GB_PER_HOUR: Final = 100.0
"""Of an export or an import. AWS says no rate: assumed, from reports of some hundred GB an hour."""

ASSUMED: Final = "AWS says no rate: assumed 100 GB an hour"
MEASURED: Final = "the source's busiest quarter of an hour in 14 days, by CloudWatch"


class Move(NamedTuple):
    """What is to be moved.

    Attributes:
        items: rows of the migration.
        item_bytes: mean size of one.
        table_bytes: of the whole source table.
        indexes: global indexes of the target: each write of a row writes to each of them, at most.
        writes_per_s: of the application, at the peak; None when nobody gave one and no metric tells.
        is_measured: whether the metric told it.
        written: whether the target is filled by writes instead of by ImportTable.
        record_bytes: mean size of a change record.
    """

    items: int
    item_bytes: int
    table_bytes: int
    indexes: int
    writes_per_s: float | None
    is_measured: bool
    written: bool
    record_bytes: int


def costs(move: Move, *, fence_bytes: int) -> list[Estimate]:
    """Return the figures, each with what it stands on.

    Args:
        move: what is to be moved.
        fence_bytes: that a standby's row has more than its owner's.
    """
    writes_per_s = DEFAULT_WRITES_PER_S if move.writes_per_s is None else move.writes_per_s
    peak = f"{writes_per_s:,.4g} writes/s, " + (
        MEASURED
        if move.is_measured
        else "a default: give yours with --writes-per-s"
        if move.writes_per_s is None
        else "as given"
    )
    units = max(1, math.ceil((move.item_bytes + fence_bytes) / 1024)) * (1 + move.indexes)
    read_units = max(1, math.ceil(move.item_bytes / 4096)) / 2
    by_records, by_bytes = writes_per_s / SHARD_RECORDS_S, writes_per_s * move.record_bytes / SHARD_BYTES_S
    shards = max(1, math.ceil(max(by_records, by_bytes)))
    gb, migrated_gb = move.table_bytes / 1e9, move.items * move.item_bytes / 1e9
    hour_m, whole_m = writes_per_s * 3600 / 1e6, move.items * units / 1e6
    filled = (
        Estimate("filling the target by writes", whole_m * WRITE_DOLLARS_PER_M, "$", LIST_PRICE)
        if move.written
        else Estimate("import", migrated_gb * IMPORT_DOLLARS_PER_GB * (1 + move.indexes), "$", LIST_PRICE)
    )

    def at_peak(name: str, value: float, unit: str, basis: str) -> Estimate:
        return Estimate(name, value, unit, f"{basis}; {peak}")

    return [
        Estimate("rows to move", move.items, "rows", COUNTED),
        Estimate("mean row", move.item_bytes, "bytes", SAMPLED),
        Estimate("export", gb * EXPORT_DOLLARS_PER_GB, "$", LIST_PRICE),
        filled,
        Estimate("point-in-time recovery", gb * RECOVERY_DOLLARS_PER_GB_MONTH, "$/month", LIST_PRICE),
        at_peak("copies to the standby", hour_m * units * WRITE_DOLLARS_PER_M, "$/h", LIST_PRICE),
        at_peak("change capture, both tables", 2 * hour_m * CAPTURE_DOLLARS_PER_M * units, "$/h", LIST_PRICE),
        at_peak("shards, both streams", 2 * shards * SHARD_DOLLARS_PER_HOUR, "$/h", LIST_PRICE),
        Estimate("one pass of the verifier", 2 * move.items * read_units / 1e6 * READ_DOLLARS_PER_M, "$", LIST_PRICE),
        Estimate("clean, on one table", whole_m * WRITE_DOLLARS_PER_M, "$", f"{LIST_PRICE}; at most: every row"),
        Estimate("export, in hours", gb / AWS_GB_PER_HOUR, "h", ASSUMED),
        Estimate("mapping, in hours of one core", move.items / MAP_PER_CORE_S / 3600, "h", PER_CORE),
        Estimate("filling the target, in hours", migrated_gb / AWS_GB_PER_HOUR, "h", ASSUMED)
        if not move.written
        else Estimate(
            "filling the target, in hours of one core", move.items / TRANSFER_PER_CORE_S / 3600, "h", PER_CORE
        ),
        at_peak("shards of each change stream", shards, "shards", LIMIT),
        at_peak(
            "consumers of a shard that need enhanced fan-out",
            1 if max(by_records, by_bytes) / shards > SHARED_FILL else 0,
            "of 2",
            LIMIT,
        ),
        at_peak("replicator cores, each direction", writes_per_s / TRANSFER_PER_CORE_S, "cores", PER_CORE),
    ]
