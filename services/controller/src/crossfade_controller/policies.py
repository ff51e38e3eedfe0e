"""The IAM policy that each step of a plain migration needs (`crossfade policy STEP`): least rights, on its own tables.

The rights of `plan` are those of its questions. The others are held against the calls that the code makes: see
tests/integration/test_policies.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from crossfade.core.migration.control import (
    JOURNAL_PK,
    MEMBER_PK,
    OWNER_PK,
    PASSES_PK,
    REPAIRS_PK,
    REPORT_PK,
    control_tables,
)
from crossfade.core.plan.described import QUESTIONS
from crossfade.core.values.shape import Side, table_name
from crossfade.runtime.aws import access_to
from crossfade_controller.settings import ControllerSettings

SOURCE, TARGET, BOTH = ("source",), ("target",), ("source", "target")
STREAMS: Final = ("source-stream", "target-stream")
CONTROL: Final = ("journal", "leases", "heartbeats", "reports", "dead-letters")
ANY: Final = ("*",)


class Statement(NamedTuple):
    """One thing that a step does with one kind of resource.

    Attributes:
        sid: says what.
        actions: of IAM.
        on: kinds of resources, see `resources`.
        condition: under which only; none by default.
    """

    sid: str
    actions: tuple[str, ...]
    on: tuple[str, ...]
    condition: Mapping[str, Any] | None = None


def _asked(service: str, *, named: bool) -> tuple[str, ...]:
    """Return the actions of plan's questions about tables, or of all others, which know no resources or other ones."""
    of_all = {"DescribeLimits", "ListBackups"}
    of_tables = {each.action for each in QUESTIONS if each.service == service and each.operation not in of_all}
    return tuple(sorted(of_tables if named else {each.action for each in QUESTIONS} - of_tables))


_DESCRIBE: Final = (
    "dynamodb:DescribeContinuousBackups",
    "dynamodb:DescribeKinesisStreamingDestination",
    "dynamodb:DescribeTable",
    "dynamodb:DescribeTimeToLive",
)
TABLE_STREAMS: Final = ("source-table-stream", "target-table-stream")
"""A table's policy is read on the table, or on its stream."""

INTEGRATIONS: Final = ("glue:DescribeIntegrations", "redshift:DescribeIntegrations")
OWN_ARNS: Final = frozenset({*INTEGRATIONS, "kinesis:ListStreamConsumers"})
"""Questions about resources of others that IAM can name."""


def _partitions(*patterns: str) -> dict[str, Any]:
    """Return the condition that a table is reached in these partitions only."""
    return {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": list(patterns)}}


_READ_STREAM: Final = ("kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards")
_FIRST_HOP: Final = Statement("FirstHop", ("cloudwatch:GetMetricStatistics", "cloudwatch:ListMetrics"), ANY)
_MEMBERS: Final = Statement(
    "MembersAndReports",
    ("dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query", "dynamodb:UpdateItem"),
    ("reports",),
    _partitions(MEMBER_PK, REPORT_PK, "tombstone#*"),
)
"""Members and the list of tombstones are beside the consumers' reports, and beside the verifier's passes."""

_MAP: Final = Statement("OwnerMap", ("dynamodb:GetItem",), ("journal",), _partitions(OWNER_PK))
"""Everybody reads the map, which is in the journal's table; the controller alone writes it."""

_LEASES: Final = Statement("ShardLeases", ("dynamodb:PutItem", "dynamodb:Query", "dynamodb:UpdateItem"), ("leases",))
_LETTERS: Final = Statement(
    "Letters",
    ("dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"),
    ("dead-letters",),
)

_NOTE: Final = Statement("Note", ("dynamodb:PutItem",), ("journal",), _partitions(JOURNAL_PK))

ASK: Final = (
    Statement("Ask", ("dynamodb:GetItem", "dynamodb:Query"), ("journal", "heartbeats")),
    Statement("ControlTables", ("dynamodb:DescribeTable",), CONTROL),
)
"""Every command but `init` and `control`: what is the migration's phase, and is its journal its own?"""

DRIVE: Final = (
    Statement("Journal", ("dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"), ("journal",)),
    Statement(
        "Lease",
        (
            "dynamodb:ConditionCheckItem",
            "dynamodb:DeleteItem",
            "dynamodb:GetItem",
            "dynamodb:PutItem",
            "dynamodb:Query",
            "dynamodb:UpdateItem",
        ),
        ("leases",),
    ),
    Statement("Status", ("dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"), ("heartbeats",)),
    _MEMBERS,
    _LETTERS,
    Statement("ControlTables", ("dynamodb:DescribeTable",), CONTROL),
    Statement("LookAtTables", _DESCRIBE, BOTH),
    Statement("LookAtStreams", ("kinesis:DescribeStreamSummary", "kinesis:ListShards"), (*STREAMS, "feed-stream")),
    Statement("ReadTheStreamsEnd", ("kinesis:GetRecords", "kinesis:GetShardIterator"), STREAMS),
    Statement("LookAtRows", ("dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:Scan"), BOTH),
    Statement("Canary", ("dynamodb:PutItem", "dynamodb:UpdateItem"), BOTH),
    _FIRST_HOP,
)
"""The controller in every phase."""

START: Final = (
    Statement(
        "Capture",
        ("dynamodb:EnableKinesisStreamingDestination", "dynamodb:UpdateKinesisStreamingDestination"),
        BOTH,
    ),
    Statement("CaptureNeeds", ("kinesis:DescribeStream", "kinesis:PutRecords"), STREAMS),
    Statement(
        "CreateStreams",
        ("kinesis:CreateStream", "kinesis:IncreaseStreamRetentionPeriod"),
        (*STREAMS, "feed-stream"),
    ),
    Statement("CaptureNeedsList", ("kinesis:ListStreams",), ANY),
    Statement(
        "CaptureNeedsRole",
        ("iam:CreateServiceLinkedRole",),
        ("capture-role",),
        {"StringEquals": {"iam:AWSServiceName": "kinesisreplication.dynamodb.amazonaws.com"}},
    ),
    Statement("Export", ("dynamodb:ExportTableToPointInTime",), SOURCE),
    Statement("ExportState", ("dynamodb:DescribeExport",), ("source-export",)),
    Statement("Import", ("dynamodb:ImportTable",), TARGET),
    Statement("ImportState", ("dynamodb:DescribeImport",), ("target-import",)),
    Statement(
        "ImportLog",
        (
            "logs:CreateLogGroup",
            "logs:CreateLogStream",
            "logs:DescribeLogStreams",
            "logs:PutLogEvents",
            "logs:PutRetentionPolicy",
        ),
        ("import-log",),
    ),
    Statement("ImportLogList", ("logs:DescribeLogGroups",), ANY),
    Statement(
        "SnapshotFiles",
        ("s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject", "s3:PutObjectAcl"),
        ("objects",),
    ),
    Statement("SnapshotBucket", ("s3:ListBucket",), ("bucket",)),
    Statement("FillByWrites", ("dynamodb:PutItem",), TARGET),
)

FLIP: Final = (
    Statement(
        "Guard",
        ("dynamodb:GetResourcePolicy", "dynamodb:PutResourcePolicy"),
        BOTH,
    ),
    Statement("CompareAndPurge", ("dynamodb:DeleteItem", "dynamodb:PutItem", "dynamodb:UpdateItem"), BOTH),
)

COMPLETE: Final = (Statement("SwitchTheTtl", ("dynamodb:UpdateTimeToLive",), BOTH),)
AFTER: Final = (
    *ASK,
    _NOTE,
    Statement("LookAtTables", _DESCRIBE, BOTH),
)
CLEAN: Final = (Statement("CleanRows", ("dynamodb:DeleteItem", "dynamodb:Scan", "dynamodb:UpdateItem"), BOTH),)
RETIRE: Final = (
    Statement("DeleteMovedRows", ("dynamodb:DeleteItem", "dynamodb:Scan"), SOURCE),
    Statement("WrittenSince", ("kinesis:DescribeStreamSummary", *_READ_STREAM), ("source-stream",)),
)
"""`clean` and `retire` run where they are typed."""

REPLICATOR: Final = (
    Statement("ReadChanges", _READ_STREAM, STREAMS),
    Statement("LookAtTables", ("dynamodb:DescribeTable",), BOTH),
    Statement(
        "Transfer",
        ("dynamodb:BatchGetItem", "dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"),
        BOTH,
    ),
    Statement("Phase", ("dynamodb:Query",), ("journal",), _partitions(JOURNAL_PK)),
    _MAP,
    _MEMBERS,
    _LEASES,
    _LETTERS,
)

VERIFIER: Final = (
    Statement("ReadChanges", _READ_STREAM, STREAMS),
    Statement("LookAtCapture", ("dynamodb:DescribeKinesisStreamingDestination", "dynamodb:DescribeTable"), BOTH),
    Statement(
        "CompareAndRepair",
        ("dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Scan", "dynamodb:UpdateItem"),
        BOTH,
    ),
    Statement(
        "Journal",
        ("dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"),
        ("journal",),
        _partitions(JOURNAL_PK),
    ),
    _MAP,
    Statement(
        "PassesAndRepairs",
        (
            "dynamodb:ConditionCheckItem",
            "dynamodb:DeleteItem",
            "dynamodb:GetItem",
            "dynamodb:PutItem",
            "dynamodb:Query",
            "dynamodb:UpdateItem",
        ),
        ("reports",),
        _partitions("pass-*", PASSES_PK, "repair-*", REPAIRS_PK, MEMBER_PK, "tombstone#*"),
    ),
    _LETTERS,
    _FIRST_HOP,
)

POLICIES: Final[dict[str, tuple[Statement, ...]]] = {
    "init": (Statement("Look", ("dynamodb:DescribeTable", "dynamodb:DescribeTimeToLive", "dynamodb:Scan"), SOURCE),),
    "plan": (
        *ASK,
        Statement("Describe", tuple(sorted({*_asked("dynamodb", named=True), *_DESCRIBE})), (*BOTH, *TABLE_STREAMS)),
        Statement("Sample", ("dynamodb:GetItem", "dynamodb:Scan"), BOTH),
        Statement("ConsumersOfStreams", ("kinesis:ListStreamConsumers",), ("any-stream",)),
        Statement("Integrations", INTEGRATIONS, ("integrations",)),
        Statement("WhoElse", tuple(each for each in _asked("dynamodb", named=False) if each not in OWN_ARNS), ANY),
        Statement("LookAtStreams", ("kinesis:DescribeStreamSummary", "kinesis:ListShards"), STREAMS),
        Statement("Bucket", ("s3:ListBucket",), ("bucket",)),
        _NOTE,
    ),
    "control": (
        Statement(
            "CreateControlTables",
            ("dynamodb:CreateTable", "dynamodb:UpdateContinuousBackups", "dynamodb:UpdateTable"),
            CONTROL,
        ),
        Statement(
            "LookAtControlTables",
            ("dynamodb:DescribeContinuousBackups", "dynamodb:DescribeTable", "dynamodb:Scan"),
            CONTROL,
        ),
        Statement("Traces", ("dynamodb:DescribeTable", "dynamodb:GetItem", "dynamodb:Scan"), BOTH),
    ),
    "ask": ASK,
    "start": (*DRIVE, *START),
    "cutover": (*DRIVE, *FLIP),
    "rollback": (*DRIVE, *FLIP),
    "complete": (*DRIVE, *FLIP, *COMPLETE),
    "clean": (*AFTER, *CLEAN),
    "retire": (*AFTER, *RETIRE),
    "controller": (*DRIVE, *START, *FLIP, *COMPLETE),
    "replicator": REPLICATOR,
    "verifier": VERIFIER,
}
"""By step. `ask` is an operator's for every other command, `clean` and `retire` are an operator's, too; `start` to
`complete` are the controller's, step by step, and `controller` is all of them; `replicator` and `verifier` are those
processes' all along."""


class Named(NamedTuple):
    """What a migration's tables are called.

    Attributes:
        migration: its name.
        source: name or ARN.
        target: name or ARN; empty where a step needs none.
    """

    migration: str
    source: str
    target: str


def resources(settings: ControllerSettings, named: Named) -> dict[str, list[str]]:
    """Return the ARNs of each kind of resource. An account that nothing tells is a wildcard."""
    found: dict[str, list[str]] = {"*": ["*"]}
    home = access_to(settings).region
    partition = "aws-cn" if home.startswith("cn-") else "aws-us-gov" if home.startswith("us-gov-") else "aws"
    for side, table, stream in (
        (Side.SOURCE, named.source, settings.source_stream),
        (Side.TARGET, named.target, settings.target_stream),
    ):
        access = access_to(settings, side)
        region, account = access.region, access.role_arn.split(":")[4] if access.role_arn else "*"
        if table.startswith("arn:"):
            region, account = table.split(":")[3:5]
        arn = f"arn:{partition}:dynamodb:{region}:{account}:table/{table_name(table)}"
        found[side.value] = [arn]
        found[f"{side.value}-stream"] = [f"arn:{partition}:kinesis:{region}:{account}:stream/{stream}"]
        found[f"{side.value}-table-stream"] = [f"{arn}/stream/*"]
        found[f"{side.value}-export"] = [f"{arn}/export/*"]
        found[f"{side.value}-import"] = [f"{arn}/import/*"]
    found["any-stream"] = [f"arn:{partition}:kinesis:*:*:stream/*"]
    found["integrations"] = [f"arn:{partition}:{service}:*:*:integration:*" for service in ("glue", "redshift")]
    found["feed-stream"] = [f"arn:{partition}:kinesis:{home}:*:stream/{settings.feed_stream}"]
    for kind, name in control_tables(named.migration)._asdict().items():
        found[kind.replace("_", "-")] = [f"arn:{partition}:dynamodb:{home}:*:table/{name}"]
    bucket = settings.bucket or "NAME-OF-THE-BUCKET"
    found["bucket"] = [f"arn:{partition}:s3:::{bucket}"]
    found["objects"] = [f"arn:{partition}:s3:::{bucket}/{settings.bucket_prefix}/*"]
    found["import-log"] = [f"arn:{partition}:logs:*:*:log-group:/aws-dynamodb/*"]
    role = "kinesisreplication.dynamodb.amazonaws.com/AWSServiceRoleForDynamoDBKinesisDataStreamsReplication"
    found["capture-role"] = [f"arn:{partition}:iam::*:role/aws-service-role/{role}"]
    return found


def policy(step: str, arns: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return a step's policy, as IAM takes it.

    Args:
        step: of `POLICIES`.
        arns: of `resources`.
    """
    return {"Version": "2012-10-17", "Statement": [_statement(each, arns) for each in _once(POLICIES[step])]}


def _once(statements: Iterable[Statement]) -> list[Statement]:
    """Return each statement once: its Sid must be the policy's only one."""
    return list({each.sid: each for each in statements}.values())


def _statement(each: Statement, arns: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    said: dict[str, Any] = {"Sid": each.sid, "Effect": "Allow", "Action": sorted(each.actions)}
    said["Resource"] = [arn for kind in each.on for arn in arns[kind]]
    return said | ({"Condition": dict(each.condition)} if each.condition else {})
