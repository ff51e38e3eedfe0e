"""The aspects of a table: how each is read from what AWS says, told to a person, imported, and given by a command."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

from crossfade.core.plan.described import Answers, Unknown

GUARD_SID: Final = re.compile(r"Crossfade(Guard|Epoch)\d*")
"""Of the statement that Crossfade merges into a table's policy while it must not be written."""

_IMPORTED_READS: Final = 12_000
_IMPORTED_WRITES: Final = 4_000
"""Warm throughput of a new table on demand, by AWS's documentation."""

OWN_KEY: Final = "AWS owned key"
MANAGED_KEY: Final = "AWS managed key"


class Fate(Enum):
    """What becomes of an aspect."""

    CARRIED = "carried"
    CHANGED = "changed"  # on purpose, and only for a time
    MISSING = "not carried"
    UNKNOWN = "unknown"


class Aspect(NamedTuple):
    """One thing that a description tells.

    Attributes:
        name: of it.
        read: reads its value, which compares; `Unknown` where the description can't tell. Absent is falsy.
        words: tells a value to a person.
        imported: what an import makes of it.
        why: why an import doesn't take it, or how Crossfade changes it.
        command: gives a table such a value.
        is_enough: whether a target's value does for the source's; by default only the same.
        fate: when they differ.
    """

    name: str
    read: Callable[[Answers], Any]
    words: Callable[[Any], str]
    imported: Callable[[Any], Any]
    why: str
    command: Callable[[str, Any], str]
    is_enough: Callable[[Any, Any], bool] = lambda has, wanted: bool(has == wanted)
    fate: Fate = Fate.MISSING


def _table(answers: Answers) -> Any:
    """Return DescribeTable's part; Unknown or an empty one."""
    return answers["table"] or {}


def _of_table(read: Callable[[Mapping[str, Any]], Any]) -> Callable[[Answers], Any]:
    return lambda answers: facts if isinstance(facts := _table(answers), Unknown) else read(facts)


def _of(question: str, read: Callable[[Any], Any]) -> Callable[[Answers], Any]:
    return lambda answers: told if isinstance(told := answers[question], Unknown) else read(told)


def _key(facts: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    types = {each["AttributeName"]: each["AttributeType"] for each in facts.get("AttributeDefinitions") or ()}
    return _keys(facts.get("KeySchema") or (), types)


def _keys(schema: Iterable[Mapping[str, str]], types: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    parts = sorted(schema, key=lambda each: each["KeyType"] != "HASH")
    return tuple((each["AttributeName"], types.get(each["AttributeName"], "?")) for each in parts)


def _indexes(member: str) -> Callable[[Mapping[str, Any]], Any]:
    def read(facts: Mapping[str, Any]) -> tuple[Any, ...]:
        types = {each["AttributeName"]: each["AttributeType"] for each in facts.get("AttributeDefinitions") or ()}
        found = []
        for each in facts.get(member) or ():
            projection = each.get("Projection") or {}
            kept = (projection.get("ProjectionType", "ALL"), tuple(sorted(projection.get("NonKeyAttributes") or ())))
            found.append((each["IndexName"], _keys(each["KeySchema"], types), *kept))
        return tuple(sorted(found))

    return read


def _billing(facts: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return provisioned read and write units; None on demand."""
    if (facts.get("BillingModeSummary") or {}).get("BillingMode") == "PAY_PER_REQUEST":
        return None
    units = facts.get("ProvisionedThroughput") or {}
    found = int(units.get("ReadCapacityUnits", 0)), int(units.get("WriteCapacityUnits", 0))
    return found if any(found) else None


def _on_demand(facts: Mapping[str, Any]) -> tuple[int, int] | None:
    most = facts.get("OnDemandThroughput") or {}
    found = int(most.get("MaxReadRequestUnits", -1)), int(most.get("MaxWriteRequestUnits", -1))
    return None if found == (-1, -1) else found


def _warm(facts: Mapping[str, Any]) -> tuple[tuple[str, int, int], ...]:
    """Return (index or "", reads, writes) of all that is above what a new table has."""
    found = []
    for name, each in (
        ("", facts),
        *((index["IndexName"], index) for index in facts.get("GlobalSecondaryIndexes") or ()),
    ):
        warm = each.get("WarmThroughput") or {}
        reads, writes = int(warm.get("ReadUnitsPerSecond", 0)), int(warm.get("WriteUnitsPerSecond", 0))
        if reads > _IMPORTED_READS or writes > _IMPORTED_WRITES:
            found.append((name, reads, writes))
    return tuple(found)


def _is_as_warm(has: Any, wanted: Any) -> bool:
    there = {name: (reads, writes) for name, reads, writes in has or ()}
    return all(
        reads <= max(there.get(name, (0, 0))[0], _IMPORTED_READS)
        and writes <= max(there.get(name, (0, 0))[1], _IMPORTED_WRITES)
        for name, reads, writes in wanted
    )


def _encryption(facts: Mapping[str, Any]) -> str:
    described = facts.get("SSEDescription") or {}
    if described.get("Status") not in {"ENABLED", "ENABLING", "UPDATING"}:
        return OWN_KEY
    key = str(described.get("KMSMasterKeyArn") or "")
    return MANAGED_KEY if not key or key.endswith("alias/aws/dynamodb") else key


def _streaming(facts: Mapping[str, Any]) -> str | None:
    told = facts.get("StreamSpecification") or {}
    return str(told.get("StreamViewType")) if told.get("StreamEnabled") else None


def _expiry(told: Any) -> str | None:
    on = (told or {}).get("TimeToLiveStatus") in {"ENABLED", "ENABLING"}
    return str(told["AttributeName"]) if on else None


def _recovery(told: Any) -> int | None:
    """Return the days that a restore may go back; None when it is off."""
    point = (told or {}).get("PointInTimeRecoveryDescription") or {}
    return int(point.get("RecoveryPeriodInDays", 35)) if point.get("PointInTimeRecoveryStatus") == "ENABLED" else None


def _tags(told: Any) -> tuple[tuple[str, str], ...]:
    """Return the tags that somebody set; those of AWS itself can't be."""
    return tuple(sorted((each["Key"], each["Value"]) for each in told or () if not each["Key"].startswith("aws:")))


def _is_guard(statement: Mapping[str, Any]) -> bool:
    return GUARD_SID.fullmatch(str(statement.get("Sid", ""))) is not None


def statements(policy: str | None) -> tuple[str, ...]:
    """Return the statements of a resource policy but Crossfade's own, each as canonical JSON."""
    found = json.loads(policy or "{}").get("Statement") or []
    listed = found if isinstance(found, list) else [found]
    return tuple(sorted(json.dumps(each, sort_keys=True) for each in listed if not _is_guard(each)))


def _scaling(told: Any) -> tuple[tuple[str, str, int, int], ...]:
    """Return (index or "", dimension, least, most) of each scalable target."""
    found = []
    for each in told or ():
        index = each["ResourceId"].partition("/index/")[2]
        found.append((index, each["ScalableDimension"], int(each["MinCapacity"]), int(each["MaxCapacity"])))
    return tuple(sorted(found))


def _nothing(_value: Any) -> None:
    """An import makes nothing of it."""


def _same(value: Any) -> Any:
    return value


def _named(key: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in key)


def _index_words(value: Any) -> str:
    return "; ".join(f"{name} on {_named(key)}, {kind}" for name, key, kind, _ in value) or "none"


def _pairs(value: Any) -> str:
    return ", ".join(f"{name}={text}" for name, text in value) or "none"


def _update(table: str, arguments: str) -> str:
    return f"aws dynamodb update-table --table-name {table} {arguments}"


def _warm_command(table: str, value: Any) -> str:
    said = []
    for name, reads, writes in value:
        warm = f"ReadUnitsPerSecond={reads},WriteUnitsPerSecond={writes}"
        if not name:
            said.append(_update(table, f"--warm-throughput {warm}"))
        else:
            change = [{"Update": {"IndexName": name, "WarmThroughput": {"ReadUnitsPerSecond": reads,
                                                                      "WriteUnitsPerSecond": writes}}}]  # fmt: skip
            said.append(_update(table, f"--global-secondary-index-updates '{json.dumps(change)}'"))
    return "; ".join(said)


def _sse_command(table: str, value: Any) -> str:
    if value == OWN_KEY:
        return _update(table, "--sse-specification Enabled=false")
    key = "" if value == MANAGED_KEY else f",KMSMasterKeyId={value}"
    return _update(table, f"--sse-specification Enabled=true,SSEType=KMS{key}")


def _scaling_command(_table: str, value: Any) -> str:
    return (
        f"register {len(value)} scalable targets and their policies for it (application-autoscaling) once it is "
        "provisioned"
    )


def _class(facts: Mapping[str, Any]) -> str:
    return str((facts.get("TableClassSummary") or {}).get("TableClass") or "STANDARD")


ASPECTS: Final = (
    Aspect("key", _of_table(_key), _named, _same, "the mapping gives it another key", lambda _t, _v: ""),
    Aspect(
        "global indexes",
        _of_table(_indexes("GlobalSecondaryIndexes")),
        _index_words,
        _same,
        "the target lacks them, or has them otherwise",
        lambda table, _v: (
            f"aws dynamodb update-table --table-name {table} --global-secondary-index-updates …, one each"
        ),
    ),
    Aspect(
        "local indexes",
        _of_table(_indexes("LocalSecondaryIndexes")),
        _index_words,
        _nothing,
        "ImportTable makes none, and a table gets its local indexes only when it is created",
        lambda _t, _v: "create the target with them, then start with CROSSFADE_LOAD=write",
    ),
    Aspect(
        "capacity",
        _of_table(_billing),
        lambda value: f"provisioned, {value[0]} read and {value[1]} write units" if value else "on demand",
        _nothing,
        "the import makes it on demand, so that it takes the first reads and writes unthrottled",
        lambda table, value: (
            _update(
                table,
                f"--billing-mode PROVISIONED --provisioned-throughput ReadCapacityUnits={value[0]},"
                f"WriteCapacityUnits={value[1]}",
            )
            if value
            else _update(table, "--billing-mode PAY_PER_REQUEST")
        ),
        fate=Fate.CHANGED,
    ),
    Aspect(
        "highest throughput on demand",
        _of_table(_on_demand),
        lambda value: f"{value[0]} reads, {value[1]} writes a second" if value else "no limit",
        _nothing,
        "the import sets no limit",
        lambda table, value: (
            _update(table, f"--on-demand-throughput MaxReadRequestUnits={value[0]},MaxWriteRequestUnits={value[1]}")
            if value
            else _update(table, "--on-demand-throughput MaxReadRequestUnits=-1,MaxWriteRequestUnits=-1")
        ),
    ),
    Aspect(
        "warm throughput",
        _of_table(_warm),
        lambda value: (
            "; ".join(f"{name or 'table'} {reads}/{writes}" for name, reads, writes in value)
            or "what each new table has"
        ),
        lambda _value: (),
        "a new table takes 12,000 reads and 4,000 writes a second: warm it before the flip, or reads are throttled",
        _warm_command,
        is_enough=_is_as_warm,
    ),
    Aspect(
        "encryption",
        _of_table(_encryption),
        str,
        lambda _value: OWN_KEY,
        "the import encrypts with AWS's own key; a customer key of another account or Region must be replaced by one "
        "there",
        _sse_command,
    ),
    Aspect(
        "table class",
        _of_table(_class),
        str,
        lambda _value: "STANDARD",
        "ImportTable takes no class; it can be changed twice in 30 days",
        lambda table, value: _update(table, f"--table-class {value}"),
    ),
    Aspect(
        "deletion protection",
        _of_table(lambda facts: bool(facts.get("DeletionProtectionEnabled"))),
        lambda value: "on" if value else "off",
        lambda _value: False,
        "ImportTable doesn't take it",
        lambda table, value: _update(table, f"--{'' if value else 'no-'}deletion-protection-enabled"),
    ),
    Aspect(
        "DynamoDB stream",
        _of_table(_streaming),
        lambda value: value or "off",
        _nothing,
        "the import makes none. Its readers have to be moved as well: see who else is attached",
        lambda table, value: _update(
            table,
            f"--stream-specification StreamEnabled=true,StreamViewType={value}"
            if value
            else "--stream-specification StreamEnabled=false",
        ),
    ),
    Aspect(
        "TTL",
        _of("ttl", _expiry),
        lambda value: f"by {value}" if value else "off",
        _nothing,
        "off on the target until COMPLETE: rows expire on the source, and the deletions travel. Switching may take an "
        "hour, in which nothing expires",
        lambda table, value: f"nothing: `complete` turns it {f'on by {value}' if value else 'off'} for {table}",
        fate=Fate.CHANGED,
    ),
    Aspect(
        "point-in-time recovery",
        _of("recovery", _recovery),
        lambda value: f"{value} days" if value else "off",
        _nothing,
        "ImportTable doesn't take it, and the source's history stays with the source: keep that table as long as you "
        "may want to restore what it was",
        lambda table, value: (
            f"aws dynamodb update-continuous-backups --table-name {table} "
            "--point-in-time-recovery-specification PointInTimeRecoveryEnabled="
            + (f"true,RecoveryPeriodInDays={value}" if value else "false")
        ),
    ),
    Aspect(
        "tags",
        _of("tags", _tags),
        _pairs,
        lambda _value: (),
        "ImportTable takes none: what bills, backs up or permits by tag doesn't see the target",
        lambda table, value: (
            f"aws dynamodb tag-resource --resource-arn ARN-OF-{table} --tags "
            + " ".join(f"Key={name},Value={text}" for name, text in value)
        ),
        is_enough=lambda has, wanted: set(wanted) <= set(has or ()),
    ),
    Aspect(
        "resource policy",
        _of("policy", statements),
        lambda value: f"{len(value)} statements" if value else "none",
        lambda _value: (),
        "ImportTable takes none, and its statements name the source's ARN",
        lambda table, _v: (
            f"aws dynamodb put-resource-policy --resource-arn ARN-OF-{table} with the statements rewritten"
        ),
        is_enough=lambda has, wanted: len(has or ()) >= len(wanted),
    ),
    Aspect(
        "autoscaling",
        _of("scalable", _scaling),
        lambda value: f"{len(value)} targets" if value else "none",
        lambda _value: (),
        "it belongs to application-autoscaling, by the table's name; the target is on demand until you provision it",
        _scaling_command,
    ),
    Aspect(
        "contributor insights",
        _of("insights", lambda told: told == "ENABLED"),
        lambda value: "on" if value else "off",
        lambda _value: False,
        "ImportTable doesn't take it",
        lambda table, value: (
            f"aws dynamodb update-contributor-insights --table-name {table} "
            f"--contributor-insights-action {'ENABLE' if value else 'DISABLE'}"
        ),
    ),
)
"""All that a successor might have of its predecessor."""
