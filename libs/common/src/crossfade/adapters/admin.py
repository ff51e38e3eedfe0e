"""Tables, streams, export and import, over the wire client, so a process that only reads needs no botocore."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from crossfade.adapters.wire import ServiceError, Wire
from crossfade.adapters.wire.answers import read_answer
from crossfade.core.plan.sizes import RECORD_MOST_BYTES
from crossfade.core.values.errors import StoreUnavailable
from crossfade.core.values.shape import Index, IndexKey, table_name
from crossfade.ports.admin import Destination, ExportFacts, ImportFacts, StreamFacts, TableFacts, TableSize

NOT_FOUND: Final = frozenset({"ResourceNotFoundException", "TableNotFoundException"})
IN_USE: Final = "ResourceInUseException"
OFF: Final = frozenset({"DISABLED", "DISABLING"})

_object: Final = msgspec.json.Decoder(dict[str, Any])


def _index_keys(table: dict[str, Any], types: dict[str, str]) -> tuple[IndexKey, ...]:
    """An attribute that is the sort key of one index and the partition key of another has the narrower bound."""
    sorts: dict[str, bool] = {}
    for index in (*(table.get("GlobalSecondaryIndexes") or ()), *(table.get("LocalSecondaryIndexes") or ())):
        for part in index["KeySchema"]:
            name = part["AttributeName"]
            sorts[name] = sorts.get(name, False) or part["KeyType"] == "RANGE"
    return tuple(IndexKey(name, types[name], sorts[name]) for name in sorted(sorts))


def _indexes(table: dict[str, Any], types: dict[str, str]) -> tuple[Index, ...]:
    found = []
    for each in table.get("GlobalSecondaryIndexes") or ():
        keys = [
            IndexKey(part["AttributeName"], types[part["AttributeName"]], part["KeyType"] == "RANGE")
            for part in each["KeySchema"]
        ]
        projection = each.get("Projection") or {}
        projected = tuple(projection.get("NonKeyAttributes") or ())
        found.append(Index(each["IndexName"], tuple(keys), projection.get("ProjectionType", "ALL"), projected))
    return tuple(sorted(found))


def _index_request(index: Index) -> dict[str, Any]:
    """Return an index as a request creates it; under on-demand capacity it takes no throughput of its own."""
    projected = {"NonKeyAttributes": list(index.projected)} if index.projected else {}
    return {
        "IndexName": index.name,
        "KeySchema": [{"AttributeName": part.name, "KeyType": "RANGE" if part.sorts else "HASH"} for part in index.key],
        "Projection": {"ProjectionType": index.projection, **projected},
    }


def facts_of(name: str, table: dict[str, Any], ttl: dict[str, Any], recovery: dict[str, Any]) -> TableFacts:
    """Return what three answers say of a table.

    Args:
        name: of the table, as the caller knows it.
        table: part of DescribeTable's answer.
        ttl: of DescribeTimeToLive's; empty where that is unknown.
        recovery: of DescribeContinuousBackups'; likewise.
    """
    types = {each["AttributeName"]: each["AttributeType"] for each in table["AttributeDefinitions"]}
    schema = sorted(table["KeySchema"], key=lambda each: each["KeyType"] != "HASH")
    point_in_time = recovery.get("PointInTimeRecoveryDescription", {})
    return TableFacts(
        name=name,
        arn=table["TableArn"],
        status=table["TableStatus"],
        key=tuple((each["AttributeName"], types[each["AttributeName"]]) for each in schema),
        item_count=int(table.get("ItemCount", 0)),
        size_bytes=int(table.get("TableSizeBytes", 0)),
        ttl=ttl.get("AttributeName") if ttl.get("TimeToLiveStatus") in {"ENABLED", "ENABLING"} else None,
        recoverable=point_in_time.get("PointInTimeRecoveryStatus") == "ENABLED",
        index_keys=_index_keys(table, types),
        indexes=_indexes(table, types),
    )


class DynamoAdmin:
    """`crossfade.ports.admin.TableAdmin`."""

    def __init__(self, dynamodb: Wire, kinesis: Wire, *, bucket_owner: str = "") -> None:
        """Take a wire client of each service, and the bucket's account if it is another than the table's."""
        self._dynamodb = dynamodb
        self._kinesis = kinesis
        self._owned = {"S3BucketOwner": bucket_owner} if bucket_owner else {}

    async def size(self, name: str) -> TableSize | None:
        """Return a table's size; None if it doesn't exist."""
        table = await self._described(name)
        return None if table is None else TableSize(int(table.get("ItemCount", 0)), int(table.get("TableSizeBytes", 0)))

    async def _described(self, name: str) -> dict[str, Any] | None:
        try:
            described = await _call(self._dynamodb, "DescribeTable", {"TableName": name})
        except ServiceError as error:
            if error.reason in NOT_FOUND:
                return None
            raise
        table: dict[str, Any] = _part(described, "DescribeTable", "Table")
        return table

    async def table(self, name: str) -> TableFacts | None:
        """Describe a table; None if it doesn't exist."""
        request, table = {"TableName": name}, await self._described(name)
        if table is None:
            return None
        recovery, ttl = await asyncio.gather(
            _call(self._dynamodb, "DescribeContinuousBackups", request),
            _call(self._dynamodb, "DescribeTimeToLive", request),
        )
        return facts_of(
            name,
            table,
            _part(ttl, "DescribeTimeToLive", "TimeToLiveDescription"),
            _part(recovery, "DescribeContinuousBackups", "ContinuousBackupsDescription"),
        )

    async def stream(self, name: str) -> StreamFacts | None:
        """Describe a stream; None if it doesn't exist."""
        try:
            described = await _call(self._kinesis, "DescribeStreamSummary", {"StreamName": name})
        except ServiceError as error:
            if error.reason in NOT_FOUND:
                return None
            raise
        summary = _part(described, "DescribeStreamSummary", "StreamDescriptionSummary")
        shards: list[dict[str, Any]] = []
        if summary["StreamStatus"] == "ACTIVE":
            request: dict[str, Any] = {"StreamName": name}
            while True:
                page = await _call(self._kinesis, "ListShards", request)
                shards += _part(page, "ListShards", "Shards")
                if not page.get("NextToken"):
                    break
                request = {"NextToken": page["NextToken"]}
        return StreamFacts(
            name=name,
            arn=summary["StreamARN"],
            status=summary["StreamStatus"],
            open_shards=tuple(
                each["ShardId"] for each in shards if not each["SequenceNumberRange"].get("EndingSequenceNumber")
            ),
            retention_h=int(summary["RetentionPeriodHours"]),
            record_bytes=int(summary.get("MaxRecordSizeInKiB", 1024)) * 1024,
        )

    async def create_stream(self, name: str, *, shards: int) -> None:
        """Create a stream, unless it exists."""
        request = {"StreamName": name, "ShardCount": shards, "MaxRecordSizeInKiB": RECORD_MOST_BYTES // 1024}
        try:
            await _call(self._kinesis, "CreateStream", request)
        except ServiceError as error:
            if error.reason != IN_USE:
                raise

    async def raise_retention(self, name: str, *, hours: int) -> None:
        """Raise a stream's retention; never lowers it."""
        facts = await self.stream(name)
        if facts is not None and facts.retention_h < hours:
            request = {"StreamName": name, "RetentionPeriodHours": hours}
            await _call(self._kinesis, "IncreaseStreamRetentionPeriod", request)

    async def destinations(self, table: str) -> list[Destination]:
        """Return a table's change streams."""
        asked = "DescribeKinesisStreamingDestination"
        answer = await _call(self._dynamodb, asked, {"TableName": table})
        return [
            Destination(
                stream_arn=each["StreamArn"],
                status=each["DestinationStatus"],
                precision=each.get("ApproximateCreationDateTimePrecision", "MILLISECOND"),
            )
            for each in _part(answer, asked, "KinesisDataStreamDestinations")
        ]

    async def enable_destination(self, table: str, stream_arn: str) -> None:
        """Send a table's change records to a stream, with MICROSECOND precision; no error if it already does."""
        found = [each for each in await self.destinations(table) if each.stream_arn == stream_arn]
        target = {"TableName": table, "StreamArn": stream_arn}
        if any(each.status in {"ACTIVE", "ENABLING", "UPDATING"} for each in found):
            if any(each.precision != "MICROSECOND" and each.status == "ACTIVE" for each in found):
                request = {
                    **target,
                    "UpdateKinesisStreamingConfiguration": {"ApproximateCreationDateTimePrecision": "MICROSECOND"},
                }
                await _call(self._dynamodb, "UpdateKinesisStreamingDestination", request)
            return
        request = {
            **target,
            "EnableKinesisStreamingConfiguration": {"ApproximateCreationDateTimePrecision": "MICROSECOND"},
        }
        await _call(self._dynamodb, "EnableKinesisStreamingDestination", request)

    async def switch_ttl(self, table: str, attribute: str, *, on: bool) -> str:
        """See `crossfade.ports.admin.TableAdmin`."""
        told = await _call(self._dynamodb, "DescribeTimeToLive", {"TableName": table})
        expiry = _part(told, "DescribeTimeToLive", "TimeToLiveDescription")
        status, wanted = str(expiry.get("TimeToLiveStatus", "DISABLED")), "ENABLED" if on else "DISABLED"
        if status == wanted:
            return ""
        if status in ("ENABLED", "DISABLED"):
            specification = {"AttributeName": attribute, "Enabled": on}
            request = {"TableName": table, "TimeToLiveSpecification": specification}
            try:
                await _call(self._dynamodb, "UpdateTimeToLive", request)
            except ServiceError as error:
                if error.reason != "ValidationException":  # changed less than an hour ago: later
                    raise
                return f"the TTL of {table} by {attribute} to be {wanted}: {error}"
        return f"the TTL of {table} by {attribute} to be {wanted}; it is {status}, which may take an hour"

    async def disable_destination(self, table: str, stream_arn: str) -> None:
        """Stop sending change records; no error if it already has."""
        found = [each for each in await self.destinations(table) if each.stream_arn == stream_arn]
        if any(each.status not in OFF for each in found):
            request = {"TableName": table, "StreamArn": stream_arn}
            await _call(self._dynamodb, "DisableKinesisStreamingDestination", request)

    async def export(self, table_arn: str, *, at_s: int, bucket: str, prefix: str, token: str) -> str:
        """Start an export of the table as it was at a moment, and return its ARN."""
        request = {
            "TableArn": table_arn,
            "ExportTime": at_s,
            "ExportFormat": "DYNAMODB_JSON",
            "S3Bucket": bucket,
            "S3Prefix": prefix,
            "ClientToken": token,
            **self._owned,
        }
        answer = await _call(self._dynamodb, "ExportTableToPointInTime", request)
        return str(_part(answer, "ExportTableToPointInTime", "ExportDescription", "ExportArn"))

    async def export_facts(self, arn: str) -> ExportFacts:
        """Describe an export."""
        answer = await _call(self._dynamodb, "DescribeExport", {"ExportArn": arn})
        facts = _part(answer, "DescribeExport", "ExportDescription")
        return ExportFacts(
            status=_part(facts, "DescribeExport", "ExportStatus"),
            manifest=facts.get("ExportManifest") or "",
            failure=_failure(facts),
            took_s=facts["EndTime"] - facts["StartTime"] if {"StartTime", "EndTime"} <= facts.keys() else None,
        )

    async def import_table(
        self,
        name: str,
        key: Sequence[tuple[str, str]],
        *,
        indexes: Sequence[Index],
        bucket: str,
        prefix: str,
        token: str,
    ) -> str:
        """Start an import that creates a table, and return its ARN."""
        kinds = ("HASH", "RANGE")
        attributes = dict(key) | {part.name: part.kind for index in indexes for part in index.key}
        request = {
            "ClientToken": token,
            "S3BucketSource": {"S3Bucket": bucket, "S3KeyPrefix": prefix, **self._owned},
            "InputFormat": "DYNAMODB_JSON",
            "InputCompressionType": "GZIP",
            "TableCreationParameters": {
                "TableName": table_name(name),
                "BillingMode": "PAY_PER_REQUEST",
                "AttributeDefinitions": [
                    {"AttributeName": each, "AttributeType": kind} for each, kind in attributes.items()
                ],
                "KeySchema": [
                    {"AttributeName": each, "KeyType": kind} for (each, _), kind in zip(key, kinds, strict=False)
                ],
                **({"GlobalSecondaryIndexes": [_index_request(each) for each in indexes]} if indexes else {}),
            },
        }
        answer = await _call(self._dynamodb, "ImportTable", request)
        return str(_part(answer, "ImportTable", "ImportTableDescription", "ImportArn"))

    async def import_facts(self, arn: str) -> ImportFacts:
        """Describe an import."""
        answer = await _call(self._dynamodb, "DescribeImport", {"ImportArn": arn})
        facts = _part(answer, "DescribeImport", "ImportTableDescription")
        return ImportFacts(
            status=_part(facts, "DescribeImport", "ImportStatus"),
            imported=int(facts.get("ImportedItemCount", 0)),
            errors=int(facts.get("ErrorCount", 0)),
            failure=_failure(facts),
        )


def _failure(facts: dict[str, Any]) -> str:
    return ": ".join(filter(None, (facts.get("FailureCode"), facts.get("FailureMessage"))))


async def _call(wire: Wire, operation: str, request: object) -> dict[str, Any]:
    answer = await wire.call(operation, msgspec.json.encode(request))
    return read_answer(_object, operation, answer) if answer else {}


def _part(answer: dict[str, Any], operation: str, *path: str) -> Any:
    """Return what every answer of an operation holds.

    Raises:
        StoreUnavailable: it is missing: an empty answer is no table, stream or export without anything.
    """
    found: Any = answer
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    if found is None:
        raise StoreUnavailable(f"{operation}: the answer has no {'.'.join(path)}")
    return found
