"""What a migration takes: shards, pods, write units, hours and dollars (design.md, section 7).

Every figure says where it comes from: measured on this data set, measured per core elsewhere (the floors that `make
bench` is held to), or a list price, second hand; and whether it stands on a peak of writes that somebody gave or on the
default, which nobody measured.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

SAMPLED: Final = "from the sampled rows"
COUNTED: Final = "the sample's share of DynamoDB's own count, which is up to six hours old"
PER_CORE: Final = "assumed per core; make bench measures it"
LIST_PRICE: Final = "list price, us-east-2 2026, second hand"
LIMIT: Final = "AWS limit"

DEFAULT_WRITES_PER_S: Final = 1_000.0
"""The peak of owner writes that figures stand on when nobody gives one."""

APPLY_PER_CORE_S: Final = 60_000
OPERATIONS_PER_CORE_S: Final = 40_000
MAP_PER_CORE_S: Final = 150_000

SHARD_RECORDS_S: Final = 1_000
SHARD_BYTES_S: Final = 1_000_000
SHARED_FILL: Final = 1 / 3
"""Above it the up to three consumers of a shard can't all poll: two need enhanced fan-out."""

WRITE_DOLLARS_PER_M: Final = 0.625
EXPORT_DOLLARS_PER_GB: Final = 0.10
IMPORT_DOLLARS_PER_GB: Final = 0.15
CAPTURE_DOLLARS_PER_M: Final = 0.10
RECOVERY_DOLLARS_PER_GB_MONTH: Final = 0.20

ID_BYTES: Final = 16


class Load(NamedTuple):
    """What the data set is like.

    Attributes:
        items: rows of the migration.
        item_bytes: mean size of one.
        table_bytes: of the whole source table: the export has all of it.
        writes_per_s: owner writes at the peak; None when nobody gave one.
    """

    items: int
    item_bytes: int
    table_bytes: int
    writes_per_s: float | None


class Estimate(NamedTuple):
    """One figure.

    Attributes:
        name: what it is.
        value: how much.
        unit: of what.
        basis: where the numbers behind it come from.
    """

    name: str
    value: float
    unit: str
    basis: str


def estimate(load: Load) -> list[Estimate]:
    """Return the figures for a load; those that follow from the peak of writes say which peak that is."""
    writes_per_s = DEFAULT_WRITES_PER_S if load.writes_per_s is None else load.writes_per_s
    record_bytes = 2 * load.item_bytes + 600  # both images and the frame
    by_records = writes_per_s / SHARD_RECORDS_S
    by_bytes = writes_per_s * record_bytes / SHARD_BYTES_S
    shards = max(1, math.ceil(max(by_records, by_bytes)))
    fill = max(by_records, by_bytes) / shards
    units = max(1, math.ceil(load.item_bytes / 1024))
    migrated_gb, table_gb = load.items * load.item_bytes / 1e9, load.table_bytes / 1e9
    hour_m = writes_per_s * 3600 / 1e6
    by_default = load.writes_per_s is None
    peak = f"{writes_per_s:,.10g} writes/s, " + (
        "a default: give yours with --writes-per-s" if by_default else "as given"
    )

    def at_peak(name: str, value: float, unit: str, basis: str) -> Estimate:
        return Estimate(name, value, unit, f"{basis}; {peak}")

    return [
        Estimate("rows to move", load.items, "rows", COUNTED),
        Estimate("mean row", load.item_bytes, "bytes", SAMPLED),
        at_peak("shards of each change stream", shards, "shards", LIMIT),
        at_peak("consumers of a shard that need enhanced fan-out", 2 if fill > SHARED_FILL else 0, "of 3", LIMIT),
        at_peak("replicator cores, each direction", writes_per_s / APPLY_PER_CORE_S, "cores", PER_CORE),
        at_peak("API cores, batched calls", writes_per_s / OPERATIONS_PER_CORE_S, "cores", PER_CORE),
        Estimate("mapping the export", load.items / MAP_PER_CORE_S, "core-seconds", PER_CORE),
        at_peak("write units a second, both tables", 2 * units * writes_per_s, "units/s", SAMPLED),
        at_peak("second table's writes", hour_m * units * WRITE_DOLLARS_PER_M, "$/h", LIST_PRICE),
        at_peak("change capture, both tables", 2 * hour_m * units * CAPTURE_DOLLARS_PER_M, "$/h", LIST_PRICE),
        Estimate("export", table_gb * EXPORT_DOLLARS_PER_GB, "$", LIST_PRICE),
        Estimate("import", migrated_gb * IMPORT_DOLLARS_PER_GB, "$", LIST_PRICE),
        Estimate("point-in-time recovery", table_gb * RECOVERY_DOLLARS_PER_GB_MONTH, "$/month", LIST_PRICE),
    ]


class WindowMeaning(NamedTuple):
    """What the window of transaction ids and the size of their set mean for one key.

    Attributes:
        calls_per_s: sustained operations on one key before RESOURCE_EXHAUSTED.
        units_idle: write units of an operation on a key with few ids.
        units_soft: on a key at the soft size, where a trim comes.
        units_full: on a key whose set is full.
    """

    calls_per_s: float
    units_idle: int
    units_soft: int
    units_full: int


def window_meaning(item_bytes: int, *, window_s: float, soft: int, most: int) -> WindowMeaning:
    """Say what the window W and the bound K cost.

    Args:
        item_bytes: mean size of a row without ids.
        window_s: W, during which an id is never trimmed.
        soft: ids from which a write trims.
        most: K, ids a row may hold.
    """

    def units(ids: int) -> int:
        return max(1, math.ceil((item_bytes + ids * ID_BYTES) / 1024))

    return WindowMeaning(most / window_s, units(1), units(soft), units(most))
