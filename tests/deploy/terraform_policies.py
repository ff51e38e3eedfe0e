"""What the IAM policies allow, beside the calls of the demo: each entry with the code that needs it."""

from __future__ import annotations

from typing import Final, NamedTuple

from crossfade.core.migration.control import control_tables

SOURCE, TARGET = "wallet", "engagement"
BOTH = (SOURCE, TARGET)
STREAMS = ("wallet-changes", "engagement-changes")
JOURNAL, LETTERS, REPORTS = "engagement-journal", "engagement-dead-letters", "engagement-reports"

ADAPTERS = "libs/common/src/crossfade/adapters"


class Listed(NamedTuple):
    """Actions that the demo does not take.

    Attributes:
        services: whose.
        actions: of IAM.
        resources: names.
        why: when they are taken.
        file: where.
        text: stands there.
    """

    services: tuple[str, ...]
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    why: str
    file: str
    text: str


def _mirrored(actions: tuple[str, ...], why: str, file: str, text: str, *, at: str) -> list[Listed]:
    """List what both replicators do, each at its own side: at its source or at its target."""
    forward, reverse = (SOURCE, TARGET) if at == "source" else (TARGET, SOURCE)
    return [
        Listed(("forward",), actions, (forward,), why, file, text),
        Listed(("reverse",), actions, (reverse,), why, file, text),
    ]


LISTED: Final = [
    Listed(
        ("controller",),
        ("dynamodb:PartiQLInsert",),
        BOTH,
        "a marker's copy in a table that lost its row of the canary",
        "services/controller/src/crossfade_controller/markers.py",
        "world.copies[side].transfer(",
    ),
    Listed(
        ("controller",),
        ("dynamodb:PutItem",),
        (LETTERS,),
        "a key whose rows differ is parked before a copy could overwrite either",
        "services/controller/src/crossfade_controller/diverged.py",
        "self._letters.park(",
    ),
    Listed(
        ("controller",),
        ("dynamodb:GetItem", "dynamodb:DeleteItem"),
        (LETTERS,),
        "letters are discarded by an operator's word, with their payload in the journal first",
        "services/controller/src/crossfade_controller/settling.py",
        "ctx.world.letters.remove(",
    ),
    Listed(
        ("engagement-api",),
        ("dynamodb:BatchGetItem",),
        BOTH,
        "reads of several wallets, and handovers of many at once: the demo's clients read one",
        "libs/common/src/crossfade/application/reading.py",
        "table.read_many(",
    ),
    Listed(
        ("engagement-api", "controller"),
        ("dynamodb:PutItem",),
        BOTH,
        "a stub for a key that is nowhere, before it is created",
        f"{ADAPTERS}/owner_requests.py",
        "isinstance(write, SealAbsent | Restore)",
    ),
    Listed(
        ("engagement-api", "reverse"),
        ("dynamodb:PartiQLInsert",),
        (SOURCE,),
        "a wallet that was created in the target table is copied back",
        f"{ADAPTERS}/transfer_text.py",
        "INSERT INTO",
    ),
    *_mirrored(
        ("dynamodb:GetItem",),
        "a large transfer: whether the row can take it is looked at before it is sent",
        f"{ADAPTERS}/transfers.py",
        "self._dynamodb.get_item(",
        at="target",
    ),
    *_mirrored(
        ("dynamodb:BatchGetItem",),
        "strays: the other table's rows are read before the owner is lifted; conflicts that the target has passed",
        "services/replicator/src/crossfade_replicator/interventions.py",
        "self._destination.read_many(",
        at="target",
    ),
    *_mirrored(
        ("dynamodb:UpdateItem",),
        "a stray: the owner is lifted (rule 5)",
        "services/replicator/src/crossfade_replicator/interventions.py",
        "acts.lift(key, seen",
        at="source",
    ),
    *_mirrored(
        ("dynamodb:PutItem",),
        "a standby row that somebody removed is put back (rule 3)",
        "services/replicator/src/crossfade_replicator/interventions.py",
        "acts.restore(removed.key",
        at="source",
    ),
    Listed(
        ("forward", "reverse", "feed"),
        ("dynamodb:PutItem",),
        (LETTERS,),
        "a poison record is parked (rule 11)",
        f"{ADAPTERS}/control/dead_letters.py",
        "await self._db.put_item(",
    ),
    Listed(
        ("forward", "reverse"),
        ("dynamodb:GetItem", "dynamodb:DeleteItem"),
        (LETTERS,),
        "parked conflicts are read and taken out",
        f"{ADAPTERS}/control/dead_letters.py",
        "await self._db.delete_item(",
    ),
    Listed(
        ("verifier",),
        ("dynamodb:PutItem",),
        (LETTERS,),
        "after a flip, keys that it may have missed are handed over",
        "services/verifier/src/crossfade_verifier/handing.py",
        "self._letters.park(",
    ),
    Listed(
        ("verifier",),
        ("dynamodb:DescribeTable",),
        BOTH,
        "what the first pass will cost",
        "services/verifier/src/crossfade_verifier/main.py",
        "size=self._admin.size",
    ),
    Listed(
        ("verifier",),
        ("dynamodb:PartiQLInsert", "dynamodb:PartiQLUpdate"),
        BOTH,
        "repair by a transfer",
        "services/verifier/src/crossfade_verifier/repair.py",
        "self._transfers[",
    ),
    Listed(
        ("verifier",),
        ("dynamodb:UpdateItem",),
        BOTH,
        "repair by a lift or a burial",
        "services/verifier/src/crossfade_verifier/repair.py",
        "perform(step.write.write)",
    ),
    Listed(
        ("verifier",),
        ("dynamodb:GetItem", "dynamodb:PutItem"),
        (JOURNAL,),
        "repairs are journaled",
        "services/verifier/src/crossfade_verifier/repairs.py",
        'self._journal.append("repair"',
    ),
    Listed(
        ("verifier",),
        (
            "dynamodb:ConditionCheckItem",
            "dynamodb:DeleteItem",
            "dynamodb:GetItem",
            "dynamodb:PutItem",
            "dynamodb:Query",
            "dynamodb:UpdateItem",
        ),
        (REPORTS,),
        "passes: records, units under leases, checkpoints",
        f"{ADAPTERS}/control/passes.py",
        "class DynamoPassStore",
    ),
    Listed(
        ("controller", "operator"),
        ("dynamodb:GetItem",),
        (JOURNAL,),
        "an entry whose answer was lost is looked for",
        f"{ADAPTERS}/control/journal.py",
        "async def _is_mine",
    ),
    Listed(
        ("controller",),
        ("dynamodb:UpdateKinesisStreamingDestination",),
        BOTH,
        "somebody turned capture on with milliseconds",
        f"{ADAPTERS}/admin.py",
        '"UpdateKinesisStreamingDestination"',
    ),
    Listed(
        ("operator",),
        ("dynamodb:DescribeContinuousBackups", "dynamodb:DescribeTimeToLive"),
        (TARGET,),
        "plan finds a table where there should be none",
        f"{ADAPTERS}/admin.py",
        '"DescribeContinuousBackups"',
    ),
    Listed(
        ("operator",),
        ("dynamodb:DescribeKinesisStreamingDestination",),
        (TARGET,),
        "plan holds a target that is there against the source",
        "libs/common/src/crossfade/core/plan/described.py",
        '"DescribeKinesisStreamingDestination"',
    ),
    Listed(
        ("operator",),
        ("dynamodb:DescribeContributorInsights", "dynamodb:GetResourcePolicy", "dynamodb:ListTagsOfResource"),
        BOTH,
        "plan: what the target has of the source",
        "libs/common/src/crossfade/core/plan/described.py",
        "QUESTIONS: Final",
    ),
    Listed(
        ("operator",),
        (
            "application-autoscaling:DescribeScalableTargets",
            "backup:ListRecoveryPointsByResource",
            "cloudwatch:GetMetricStatistics",
            "dax:DescribeClusters",
            "dynamodb:DescribeLimits",
            "dynamodb:ListBackups",
            "lambda:ListEventSourceMappings",
            "osis:ListPipelines",
            "pipes:ListPipes",
        ),
        ("?",),
        "plan: who else is attached to the source",
        "libs/common/src/crossfade/core/plan/described.py",
        "QUESTIONS: Final",
    ),
    Listed(
        ("operator",),
        ("kinesis:ListStreamConsumers",),
        ("*",),
        "plan: consumers of the stream that the source has",
        "libs/common/src/crossfade/core/plan/described.py",
        '"ListStreamConsumers"',
    ),
    Listed(
        ("operator",),
        ("glue:DescribeIntegrations", "redshift:DescribeIntegrations"),
        ("integration:*",),
        "plan: zero-ETL",
        "libs/common/src/crossfade/core/plan/described.py",
        '"DescribeIntegrations"',
    ),
    Listed(
        ("operator",),
        ("dynamodb:Scan",),
        (TARGET,),
        "a target table that exists is sampled: does it own keys?",
        "services/controller/src/crossfade_controller/history.py",
        "world.rows(Side.TARGET, anything",
    ),
    Listed(
        ("operator",),
        ("dynamodb:DescribeContinuousBackups", "dynamodb:Scan", "dynamodb:UpdateTable"),
        control_tables(TARGET),
        "control create, where tables exist: as one that was restored",
        f"{ADAPTERS}/control/tables.py",
        '"DeletionProtectionEnabled": True',
    ),
    Listed(
        ("operator",),
        ("kinesis:ListShards",),
        STREAMS,
        "plan finds the streams, as Terraform made them",
        f"{ADAPTERS}/admin.py",
        '"ListShards"',
    ),
    Listed(
        ("operator",),
        (
            "dynamodb:BatchGetItem",
            "dynamodb:GetItem",
            "dynamodb:PartiQLInsert",
            "dynamodb:PartiQLUpdate",
            "dynamodb:PutItem",
            "dynamodb:UpdateItem",
        ),
        BOTH,
        "replicator replay and dead-letters: through the same rule as the stream",
        "services/replicator/src/crossfade_replicator/tools.py",
        "apply_pipeline(",
    ),
    Listed(
        ("operator",),
        ("dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"),
        (LETTERS,),
        "replicator dead-letters",
        "services/replicator/src/crossfade_replicator/tools.py",
        "DynamoDeadLetters(",
    ),
    Listed(
        ("operator",),
        ("kinesis:PutRecords",),
        ("engagement-events",),
        "parked events are published",
        "services/replicator/src/crossfade_replicator/replay.py",
        "class Redrive",
    ),
    Listed(
        ("operator",),
        ("dynamodb:DeleteItem",),
        BOTH,
        "until COMPLETE only the operator's role may delete an item (rule 3); by hand, no code does",
        "deploy/terraform/modules/access/policies.tf",
        "OnlyTheOperatorDeletes",
    ),
]
"""Calls that only happen on errors, or by commands that the demo does not use."""

ON_BEHALF: Final = {
    "kinesis:DescribeStream": STREAMS,
    "kinesis:PutRecords": STREAMS,
    "kinesis:ListStreams": ("?",),
    "logs:DescribeLogGroups": ("?",),
    "iam:CreateServiceLinkedRole": ("AWSServiceRoleForDynamoDBKinesisDataStreamsReplication",),
    "s3:AbortMultipartUpload": ("crossfade-demo",),
    "s3:PutObjectAcl": ("crossfade-demo",),
    **dict.fromkeys(
        (
            "logs:CreateLogGroup",
            "logs:CreateLogStream",
            "logs:DescribeLogStreams",
            "logs:PutLogEvents",
            "logs:PutRetentionPolicy",
        ),
        ("/aws-dynamodb/*",),
    ),
}
"""What AWS does with the controller's right. Developer guide: "Using IAM policies for Amazon Kinesis Data Streams and
Amazon DynamoDB", "Requesting a table export in DynamoDB", "Requesting a table import in DynamoDB"."""

PREPARED: Final = {
    "kinesis:CreateStream": ("streams", "services/controller/src/crossfade_controller/deeds.py", "if stream is None:"),
    "kinesis:IncreaseStreamRetentionPeriod": ("streams", f"{ADAPTERS}/admin.py", "facts.retention_h < hours"),
}
"""Calls of the demo that Terraform makes needless, since the code looks first: granted by `controller_creates` only."""

UNUSED: Final = {"DisableKinesisStreamingDestination"}
"""Operations in the adapters that no service calls."""
