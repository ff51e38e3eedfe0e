"""What AWS says of a table, question by question, and what it didn't say.

Every question is a call that only reads. One that is refused, or that nobody answers, is `Unknown` with the right it
needs: a plan made with too few rights is incomplete and says so, and nothing in it is taken for absent because it
couldn't be seen. The questions are data, so that one loop asks them and the IAM policy of `plan` is made of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from crossfade.core.values.shape import table_name


class Unknown(NamedTuple):
    """What couldn't be found out.

    Attributes:
        needs: the action of IAM that the call takes, "dynamodb:DescribeTimeToLive".
        because: why there is no answer, if it wasn't IAM that refused; empty otherwise.
    """

    needs: str
    because: str = ""

    def __str__(self) -> str:
        """Say it as `plan` shows it."""
        return f"unknown: {self.because} ({self.needs})" if self.because else f"unknown: needs {self.needs}"


Answers: TypeAlias = Mapping[str, Any]
"""By question: the named part of AWS's answer, None where there is no such thing, or `Unknown`."""

Requests: TypeAlias = Sequence[dict[str, Any]] | Unknown


class Question(NamedTuple):
    """One call.

    Attributes:
        name: of the question.
        service: as botocore and IAM call it.
        operation: of the service.
        part: of the answer; a list is gathered over all pages and requests, None elsewhere.
        requests: made of the table's reference, what is known so far and the time in seconds; none when there is
            nothing to ask about.
        later: whether it needs the answers of the others.
        absent: error codes that say there is no such thing.
    """

    name: str
    service: str
    operation: str
    part: str
    requests: Callable[[str, Answers, float], Requests]
    later: bool = False
    absent: tuple[str, ...] = ()

    @property
    def action(self) -> str:
        """The right that it needs."""
        return f"{self.service}:{self.operation}"


PEAK_DAYS: Final = 14
PEAK_PERIOD_S: Final = 900
"""The peak of a table is its busiest quarter of an hour within two weeks: 1,344 values, and a call gives 1,440."""

AUTOSCALED: Final = "dynamodb"


def _of_table(table: str, _told: Answers, _now_s: float) -> Requests:
    return [{"TableName": table}]


def _once(_table: str, _told: Answers, _now_s: float) -> Requests:
    return [{}]


def _by_arn(name: str) -> Callable[[str, Answers, float], Requests]:
    def requests(_table: str, told: Answers, _now_s: float) -> Requests:
        facts = told["table"]
        if isinstance(facts, Unknown):
            return facts
        return [{name: facts["TableArn"]}] if facts else []

    return requests


def _stream_readers(_table: str, told: Answers, _now_s: float) -> Requests:
    facts = told["table"]
    if isinstance(facts, Unknown):
        return facts
    return [{"EventSourceArn": facts["LatestStreamArn"]}] if streams(facts) else []


def _of_kinesis(name: str) -> Callable[[str, Answers, float], Requests]:
    def requests(_table: str, told: Answers, _now_s: float) -> Requests:
        found = told["destinations"]
        if isinstance(found, Unknown):
            return found
        return [{name: each["StreamArn"]} for each in found or () if each["DestinationStatus"] != "DISABLED"]

    return requests


def _pipes(_table: str, told: Answers, _now_s: float) -> Requests:
    facts, found = told["table"], told["destinations"]
    for each in (facts, found):
        if isinstance(each, Unknown):
            return each
    arns = [facts["TableArn"]] if facts else []
    return [{"SourcePrefix": arn} for arn in (*arns, *(each["StreamArn"] for each in found or ()))]


def _scalable(table: str, told: Answers, _now_s: float) -> Requests:
    facts = told["table"]
    if isinstance(facts, Unknown):
        return facts
    if not facts:
        return []
    name = table_name(table)
    named = [f"table/{name}/index/{each['IndexName']}" for each in facts.get("GlobalSecondaryIndexes") or ()]
    return [{"ServiceNamespace": AUTOSCALED, "ResourceIds": [f"table/{name}", *named]}]


def _consumed(metric: str) -> Callable[[str, Answers, float], Requests]:
    def requests(table: str, _told: Answers, now_s: float) -> Requests:
        end_s = int(now_s) // PEAK_PERIOD_S * PEAK_PERIOD_S
        return [
            {
                "Namespace": "AWS/DynamoDB",
                "MetricName": metric,
                "Dimensions": [{"Name": "TableName", "Value": table_name(table)}],
                "StartTime": end_s - PEAK_DAYS * 86_400,
                "EndTime": end_s,
                "Period": PEAK_PERIOD_S,
                "Statistics": ["Sum"],
            }
        ]

    return requests


NO_POLICY: Final = ("PolicyNotFoundException",)
NO_TABLE: Final = ("ResourceNotFoundException", "TableNotFoundException")

QUESTIONS: Final = (
    Question("table", "dynamodb", "DescribeTable", "Table", _of_table, absent=NO_TABLE),
    Question("ttl", "dynamodb", "DescribeTimeToLive", "TimeToLiveDescription", _of_table, absent=NO_TABLE),
    Question("recovery", "dynamodb", "DescribeContinuousBackups", "ContinuousBackupsDescription", _of_table,
             absent=NO_TABLE),
    Question("destinations", "dynamodb", "DescribeKinesisStreamingDestination", "KinesisDataStreamDestinations",
             _of_table, absent=NO_TABLE),
    Question("insights", "dynamodb", "DescribeContributorInsights", "ContributorInsightsStatus", _of_table,
             absent=NO_TABLE),
    Question("limits", "dynamodb", "DescribeLimits", "TableMaxWriteCapacityUnits", _once),
    Question("written", "cloudwatch", "GetMetricStatistics", "Datapoints", _consumed("ConsumedWriteCapacityUnits")),
    Question("clusters", "dax", "DescribeClusters", "Clusters", _once),
    Question("pipelines", "osis", "ListPipelines", "Pipelines", _once),
    Question("tags", "dynamodb", "ListTagsOfResource", "Tags", _by_arn("ResourceArn"), later=True),
    Question("policy", "dynamodb", "GetResourcePolicy", "Policy", _by_arn("ResourceArn"), later=True, absent=NO_POLICY),
    Question("backups", "dynamodb", "ListBackups", "BackupSummaries", _of_table, absent=NO_TABLE),
    Question("recovery_points", "backup", "ListRecoveryPointsByResource", "RecoveryPoints", _by_arn("ResourceArn"),
             later=True),
    Question("scalable", "application-autoscaling", "DescribeScalableTargets", "ScalableTargets", _scalable,
             later=True),
    Question("triggers", "lambda", "ListEventSourceMappings", "EventSourceMappings", _stream_readers, later=True),
    Question("stream_triggers", "lambda", "ListEventSourceMappings", "EventSourceMappings",
             _of_kinesis("EventSourceArn"), later=True),
    Question("stream_consumers", "kinesis", "ListStreamConsumers", "Consumers", _of_kinesis("StreamARN"), later=True),
    Question("pipes", "pipes", "ListPipes", "Pipes", _pipes, later=True),
    Question("redshift", "redshift", "DescribeIntegrations", "Integrations", _once),
    Question("glue", "glue", "DescribeIntegrations", "Integrations", _once),
)  # fmt: skip
"""All that is asked of the source; of a target that is there, the same."""


def streams(facts: Mapping[str, Any]) -> bool:
    """Say whether a described table has a DynamoDB stream that somebody may read."""
    return bool((facts.get("StreamSpecification") or {}).get("StreamEnabled") and facts.get("LatestStreamArn"))


def nothing_known(because: str) -> dict[str, Any]:
    """Return the answers of a world that can't be asked."""
    return {each.name: Unknown(each.action, because) for each in QUESTIONS}


def unknowns(answers: Answers) -> dict[str, Unknown]:
    """Return what couldn't be found out, by question."""
    return {name: told for name, told in answers.items() if isinstance(told, Unknown)}


def peak_per_s(answers: Answers, name: str = "written") -> float | None:
    """Return the units a second of the busiest quarter of an hour; None when no metric tells."""
    points = answers[name]
    if isinstance(points, Unknown) or not points:
        return None
    return max(float(each["Sum"]) for each in points) / PEAK_PERIOD_S
