"""Who else is attached to the source table, and what happens to each at a flip."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from crossfade.core.plan.described import Answers, Unknown, streams
from crossfade.core.values.shape import table_name


class Attached(NamedTuple):
    """Somebody who reads, copies or backs up the source, or may.

    Attributes:
        kind: what it is.
        who: their names; empty where none was found, or where that is unknown.
        flip: what happens to it at a flip.
        do: what to do about it.
        unknown: why it is unknown whether there is any; empty when it was seen.
    """

    kind: str
    who: tuple[str, ...]
    flip: str
    do: str
    unknown: str = ""

    @property
    def is_there(self) -> bool:
        """Whether somebody was found, or may be there unseen."""
        return bool(self.who or self.unknown)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {**self._asdict(), "who": list(self.who)}


class _Kind(NamedTuple):
    """See `Attached`.

    Attributes:
        questions: whose answers name them.
        found: names those that are attached, of each question's list.
    """

    kind: str
    questions: tuple[str, ...]
    found: Callable[[str, Any, Answers], Iterable[str]]
    flip: str
    do: str


def _functions(_question: str, told: Any, _answers: Answers) -> Iterable[str]:
    return (each.get("FunctionArn", each.get("UUID", "?")).rpartition(":function:")[2] or "?" for each in told)


def _by_name(*names: str) -> Callable[[str, Any, Answers], Iterable[str]]:
    return lambda _question, told, _answers: (
        next((str(each[name]) for name in names if each.get(name)), "?") for each in told
    )


def _of_source(_question: str, told: Any, answers: Answers) -> Iterable[str]:
    """Of all integrations of an account, name those that read this table."""
    facts = answers["table"]
    arn = "" if isinstance(facts, Unknown) or not facts else facts["TableArn"]
    return (str(each.get("IntegrationName", "?")) for each in told if each.get("SourceArn") == arn)


def _on_stream(_question: str, told: Any, _answers: Answers) -> Iterable[str]:
    return [told["LatestStreamArn"].rpartition("/")[2]] if streams(told) else []


_SEEN_ON_STANDBY: Final = (
    "on the source it sees no more of the application's writes but Crossfade's copies of them: each MODIFY raises "
    "`cf_mv`, and a delete is a MODIFY that sets `cf_deleted`; on the target it sees nothing until it is attached there"
)

KINDS: Final = (
    _Kind(
        "Lambda functions on the DynamoDB stream",
        ("triggers",),
        _functions,
        _SEEN_ON_STANDBY,
        "filter records whose new image has `cf_mv` (an event source mapping takes a filter), turn the target's stream "
        "on, and attach the function there within the write stop. A function attached to both unfiltered does "
        "everything twice",
    ),
    _Kind(
        "other readers of the DynamoDB stream",
        ("table",),
        _on_stream,
        "AWS lists Lambda functions and pipes only: a KCL or SDK reader isn't seen here. " + _SEEN_ON_STANDBY,
        "ask the owners of the table who reads its stream",
    ),
    _Kind(
        "EventBridge pipes",
        ("pipes",),
        _by_name("Name"),
        _SEEN_ON_STANDBY,
        "filter `cf_mv` in the pipe, and make one for the target's stream",
    ),
    _Kind(
        "Lambda functions on the Kinesis stream",
        ("stream_triggers",),
        _functions,
        _SEEN_ON_STANDBY,
        "a table has one Kinesis stream, and Crossfade reads the same one: filter `cf_mv`, and attach the function to "
        "the target's stream, too",
    ),
    _Kind(
        "consumers of the Kinesis stream with enhanced fan-out",
        ("stream_consumers",),
        _by_name("ConsumerName"),
        _SEEN_ON_STANDBY + ". Consumers that poll aren't registered, so they aren't seen here",
        "register them with the target's stream, too, and skip records whose new image has `cf_mv`",
    ),
    _Kind(
        "zero-ETL integrations",
        ("redshift", "glue"),
        _of_source,
        "they copy the source's export and changes: after a flip they show tombstones as rows, with `cf_mv` and "
        "`cf_deleted` as columns",
        "make an integration of the target after the import, and filter `cf_deleted` in views until `clean`",
    ),
    _Kind(
        "OpenSearch Ingestion pipelines",
        ("pipelines",),
        _by_name("PipelineName"),
        "a pipeline names its table in its own configuration, which isn't read here; one that reads this table indexes "
        "tombstones as documents after a flip",
        "look whether any of them names this table, and give it the target",
    ),
    _Kind(
        "AWS Backup",
        ("recovery_points",),
        _by_name("BackupVaultName", "RecoveryPointArn"),
        "its plan continues for the source, by ARN or tag, and backs up what is then the standby, tombstones included",
        "add the target to the plan's selection before the flip; keep the source's recovery points as long as you need "
        "its history",
    ),
    _Kind(
        "backups on demand",
        ("backups",),
        _by_name("BackupName"),
        "they stay with the source, also when it is deleted",
        "take one of the target after `complete`",
    ),
    _Kind(
        "DAX clusters",
        ("clusters",),
        _by_name("ClusterName"),
        "a cluster isn't tied to a table: one through which this table is read goes on answering from its cache, and a "
        "write that bypasses it, as Crossfade's does, is seen there when the entry expires",
        "find out which clusters this application uses, and within the write stop restart their nodes, or let the "
        "entries expire",
    ),
)

READERS: Final = Attached(
    "readers left on the source",
    (),
    "whoever goes on reading the source after a flip sees rows up to some seconds old, deleted rows with `cf_deleted`, "
    "and an attribute `cf_mv` that a strict deserializer may refuse",
    "move every reader at the flip, or filter `attribute_not_exists(cf_deleted)`",
)


def attached(source: Answers) -> list[Attached]:
    """Say who is attached to a table; one entry for each kind, whether or not somebody was found."""
    found = [_attached(each, source) for each in KINDS]
    facts = source["table"]
    name = "" if isinstance(facts, Unknown) or not facts else table_name(facts["TableName"])
    return [*found, READERS._replace(who=(f"anyone who reads {name}",) if name else (), unknown="AWS lists no readers")]


def _attached(kind: _Kind, answers: Answers) -> Attached:
    unknown = [answers[each] for each in kind.questions if isinstance(answers[each], Unknown)]
    who = [
        name
        for each in kind.questions
        if answers[each] and not isinstance(answers[each], Unknown)
        for name in kind.found(each, answers[each], answers)
    ]
    return Attached(kind.kind, tuple(dict.fromkeys(who)), kind.flip, kind.do, "; ".join(map(str, unknown)))


def is_listed(question: str) -> bool:
    """Say whether a question is asked for the sake of somebody attached."""
    return any(question in each.questions for each in KINDS)


def by_kind(found: Iterable[Attached]) -> Mapping[str, Attached]:
    """Return who is attached, by kind."""
    return {each.kind: each for each in found}
