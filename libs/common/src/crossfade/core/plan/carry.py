"""What of the source table its successor has, what it hasn't yet, and which command gives it.

Each aspect of a table is read from a description the same way on both sides. While there is no target, it is held
against what ImportTable would make; once there is one, against what stands there: so the same table says after the
import, or before `complete`, what is still missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from crossfade.core.plan.aspects import ASPECTS, Aspect, Fate
from crossfade.core.plan.described import Answers, Unknown
from crossfade.core.values.shape import table_name


class Carry(NamedTuple):
    """One row of the table.

    Attributes:
        name: the aspect.
        source: what the source has, in words.
        fate: what becomes of it.
        how: how it is changed, or why it isn't carried; empty when it is.
        do: the command that gives it to the target, or what to do; empty when there is nothing to do.
    """

    name: str
    source: str
    fate: Fate
    how: str = ""
    do: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the row as JSON."""
        return {**self._asdict(), "fate": self.fate.value}


READ_BY: Final[dict[str, str]] = {
    "AttributeDefinitions": "key",
    "KeySchema": "key",
    "BillingModeSummary": "capacity",
    "ProvisionedThroughput": "capacity",
    "OnDemandThroughput": "highest throughput on demand",
    "WarmThroughput": "warm throughput",
    "LocalSecondaryIndexes": "local indexes",
    "GlobalSecondaryIndexes": "global indexes",
    "StreamSpecification": "DynamoDB stream",
    "SSEDescription": "encryption",
    "TableClassSummary": "table class",
    "DeletionProtectionEnabled": "deletion protection",
}
"""Which aspect has which member of DescribeTable's answer."""

NOT_CARRIED: Final[dict[str, str]] = {
    "TableName": "each table has its own",
    "TableArn": "each table has its own",
    "TableId": "each table has its own",
    "CreationDateTime": "each table has its own",
    "TableStatus": "checked: the source must be ACTIVE",
    "TableSizeBytes": "a figure",
    "ItemCount": "a figure",
    "LatestStreamLabel": "each table has its own",
    "LatestStreamArn": "each table has its own",
    "RestoreSummary": "tells where the source came from",
    "ArchivalSummary": "such a table isn't ACTIVE",
}
"""Members that there is nothing to carry of, with the reason. The rest is refused: `crossfade.core.plan.refused`."""


def carry_over(
    source: Answers, target: Answers | None, *, table: str, renamed: Mapping[str, str] | None = None
) -> list[Carry]:
    """Say of each aspect of the source what its successor has of it.

    Args:
        source: what AWS says of the source.
        target: of the target; None while there is none: then of what ImportTable would make.
        table: the target's name or ARN.
        renamed: key attributes that the target calls otherwise, by the source's name.
    """
    return [_carried(each, source, target, table_name(table), renamed or {}) for each in ASPECTS]


def _carried(each: Aspect, source: Answers, target: Answers | None, table: str, renamed: Mapping[str, str]) -> Carry:
    found = each.read(source)
    if isinstance(found, Unknown):
        return Carry(each.name, str(found), Fate.UNKNOWN, "ask again with that right, or look for yourself")
    words = each.words(found)
    wanted = tuple((renamed.get(name, name), kind) for name, kind in found) if each.name == "key" else found
    has = each.imported(wanted) if target is None else each.read(target)
    if isinstance(has, Unknown):
        return Carry(each.name, words, Fate.UNKNOWN, f"the target's is {has}")
    if each.is_enough(has, wanted) or (not has and not wanted):
        return Carry(each.name, words, Fate.CARRIED)
    how = each.why if target is None or each.fate is Fate.CHANGED else f"the target has: {each.words(has)}"
    return Carry(each.name, words, each.fate, how, each.command(table, wanted))
