"""Point-in-time recovery: what an item was at an instant, from the moment that recovery was switched on.

ministack 1.5.33 keeps a flag and nothing else. Here the changes of a table with recovery on are journalled,
so that an export can roll back to its time and an incremental export knows what changed.

Source: Amazon DynamoDB developer guide, "Point-in-time backups for DynamoDB"; service quotas (35 days).
"""

from __future__ import annotations

import json
import time
from typing import Any, NamedTuple, cast

import ministack.services.dynamodb as dynamodb

from localaws.patches.change_records import capture
from localaws.patches.registry import patch

Item = dict[str, Any]
Answer = tuple[int, dict[str, str], Any]
ItemKey = tuple[Any, Any]


class Change(NamedTuple):
    """One journalled write; the images are shared with the table, which never changes one in place."""

    at_us: int
    key: ItemKey
    old: Item | None
    new: Item | None


class Journal:
    """The changes of one table since recovery was switched on."""

    def __init__(self, since_us: int) -> None:
        """Start empty at an instant."""
        self.since_us = since_us
        self._changes: list[Change] = []

    def note(self, change: Change) -> None:
        """Add a change; they come in order of time."""
        self._changes.append(change)

    def roll_back(self, items: dict[ItemKey, Item], to_us: int) -> dict[ItemKey, Item]:
        """Return the items as they were at an instant, from those of now."""
        then = dict(items)
        for change in reversed(self._changes):
            if change.at_us <= to_us:
                break
            if change.old is None:
                then.pop(change.key, None)
            else:
                then[change.key] = change.old
        return then

    def between(self, from_us: int, to_us: int) -> list[Change]:
        """Return one change per key that was written in the span: its first old image, its last new one."""
        net: dict[ItemKey, Change] = {}
        for change in self._changes:
            if from_us <= change.at_us < to_us:
                first = net.get(change.key, change)
                net[change.key] = Change(change.at_us, change.key, first.old, change.new)
        return list(net.values())


_journals: dict[str, Journal] = {}


def journal_of(table: Item) -> Journal | None:
    """Return the journal of a table; None while point-in-time recovery is off."""
    return _journals.get(table["TableId"])


def key_of(table: Item, item: Item) -> ItemKey:
    """Return the values of an item's key, hashable."""
    sort = dynamodb._extract_key_val(item[table["sk_name"]]) if table["sk_name"] else None
    return dynamodb._extract_key_val(item[table["pk_name"]]), sort


def items_of(table: Item) -> dict[ItemKey, Item]:
    """Return the items of a table by key, as they are now."""
    return {key_of(table, item): item for by_sort in table["items"].values() for item in by_sort.values()}


def _note(table: Item, old: Item | None, new: Item | None, at_us: int) -> None:
    journal = _journals.get(table["TableId"])
    if journal is not None:
        journal.note(Change(at_us, key_of(table, cast(Item, new or old)), old, new))


capture.listeners.append(_note)


@patch("point_in_time", dynamodb, "_update_continuous_backups")
def switch(original: Any) -> Any:
    """Starts or ends the journal."""

    def mended(request: Item) -> Answer:
        answer = cast(Answer, original(request))
        if answer[0] != 200:
            return answer
        table = dynamodb._tables[dynamodb._normalize_table_name(request["TableName"])]
        if request.get("PointInTimeRecoverySpecification", {}).get("PointInTimeRecoveryEnabled"):
            _journals.setdefault(table["TableId"], Journal(time.time_ns() // 1000))
        else:
            _journals.pop(table["TableId"], None)
        return _with_window(answer, table)

    return mended


@patch("point_in_time", dynamodb, "_describe_continuous_backups")
def describe(original: Any) -> Any:
    """Shows since when a table can be restored."""

    def mended(request: Item) -> Answer:
        answer = cast(Answer, original(request))
        if answer[0] != 200:
            return answer
        return _with_window(answer, dynamodb._tables[dynamodb._normalize_table_name(request["TableName"])])

    return mended


def _with_window(answer: Answer, table: Item) -> Answer:
    status, headers, body = answer
    shown = json.loads(body)
    journal = journal_of(table)
    if journal is not None:
        window = shown["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
        window["EarliestRestorableDateTime"] = journal.since_us / 1e6
        window["LatestRestorableDateTime"] = time.time()
        window["RecoveryPeriodInDays"] = 35
    return status, headers, json.dumps(shown).encode()


@patch("point_in_time", dynamodb, "_delete_table")
def forget(original: Any) -> Any:
    """A deleted table's journal goes with it."""

    def mended(request: Item) -> Answer:
        table = dynamodb._tables.get(dynamodb._normalize_table_name(request.get("TableName")))
        answer = cast(Answer, original(request))
        if answer[0] == 200 and table is not None:
            _journals.pop(table["TableId"], None)
        return answer

    return mended
