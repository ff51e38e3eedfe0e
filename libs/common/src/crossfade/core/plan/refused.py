"""Source tables that can't be migrated, and why; each before anything is begun."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from crossfade.core.migration.gates import GateResult
from crossfade.core.plan.described import Answers, Unknown

REFUSED: Final[dict[str, str]] = {
    "Replicas": "a global table",
    "GlobalTableVersion": "a global table",
    "GlobalTableWitnesses": "a global table",
    "GlobalTableSettingsReplicationMode": "a global table",
    "MultiRegionConsistency": "a global table",
    "VectorIndexes": "vector indexes",
}
"""Members of DescribeTable's answer that a table which can be migrated hasn't."""


def refusals(source: Answers, *, written: bool, target_is_there: bool) -> list[GateResult]:
    """Return a check for each reason to refuse a source table.

    Args:
        source: what AWS says of it.
        written: whether the target is filled by writes (`CROSSFADE_LOAD=write`) instead of by ImportTable.
        target_is_there: whether the target exists.
    """
    facts: Any = source["table"]
    if isinstance(facts, Unknown):
        return [GateResult("kind_of_table", False, None, None, f"{facts}: nothing can be said of a table unseen")]
    return [_global(facts or {}), _vectors(facts or {}), _local(facts or {}, written, target_is_there)]


def _global(facts: dict[str, Any]) -> GateResult:
    replicas: Sequence[Any] = facts.get("Replicas") or ()
    regions = ", ".join(sorted(each.get("RegionName", "?") for each in replicas))
    found = bool(replicas or facts.get("GlobalTableWitnesses") or facts.get("MultiRegionConsistency") == "STRONG")
    because = (
        f"it is a global table ({regions or 'with a witness'}): writes of the other Regions reach it as replicated "
        "ones, under no hold and no guard here, and its replicas would stay behind. Migrate a table of one Region: "
        "remove the replicas first, and add them to the target after `complete`"
        if found
        else "it is a table of one Region"
    )
    return GateResult("one_region", not found, regions, None, because)


def _vectors(facts: dict[str, Any]) -> GateResult:
    found = len(facts.get("VectorIndexes") or ())
    because = (
        f"it has {found} vector indexes, which Crossfade knows nothing of: they'd be missing on the target, and "
        "nothing would notice. Create them there yourself and remove them here, or don't migrate this table"
        if found
        else "it has no vector indexes"
    )
    return GateResult("vector_indexes", not found, found, 0, because)


def _local(facts: dict[str, Any], written: bool, target_is_there: bool) -> GateResult:
    names = ", ".join(each["IndexName"] for each in facts.get("LocalSecondaryIndexes") or ())
    if not names or (written and target_is_there):
        because = f"the target is yours, with {names}" if names else "it has no local indexes"
        return GateResult("local_indexes", True, names, None, because)
    because = (
        f"it has local indexes ({names}), which ImportTable can't make: create the target with them, and start with "
        "CROSSFADE_LOAD=write"
    )
    return GateResult("local_indexes", False, names, None, because)
