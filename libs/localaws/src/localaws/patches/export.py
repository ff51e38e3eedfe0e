"""Exports to S3: they need point-in-time recovery, roll back to their time, and write the files of the service.

ministack 1.5.33 takes an export of any table, writes nothing, and calls it COMPLETED after a second.

Source: Amazon DynamoDB developer guide, "DynamoDB data export to Amazon S3" (file layout, manifests,
incremental lines); API reference of ExportTableToPointInTime. Not kept to: an incremental export may span
less than 15 minutes, since a demo is over by then.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
import time
import uuid
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast

import ministack.services.dynamodb as dynamodb
import ministack.services.s3 as s3
import msgspec
from ministack.core.responses import error_response_json, json_response

from localaws.patches.change_records import capture
from localaws.patches.point_in_time import Change, items_of, journal_of
from localaws.patches.registry import patch

Json = dict[str, Any]
Answer = tuple[int, dict[str, str], Any]

ITEMS_PER_FILE = 2000
ITEMS_PER_STEP = 200
"""Rendered in one go on the event loop, about 1 ms; requests go on between the steps."""

LONGEST_INCREMENT_S = 86_400
CLOCK_SLACK_S = 1.0
"""Clients give their own now as the export's time."""

_encode = msgspec.json.Encoder().encode


class _S3Refused(Exception):
    """The bucket of an export does not take its files."""


class Span(NamedTuple):
    """What an incremental export covers: from inclusive, to exclusive."""

    from_us: int
    to_us: int
    old_images: bool


def _refuse(code: str, message: str) -> Answer:
    return cast(Answer, error_response_json(code, message, 400))


def _seconds(value: Any) -> float | None:
    return None if value is None else float(value)


def _span(request: Json, since_us: int, now_s: float) -> Span | str:
    """Return the span of an incremental export, or what is wrong with it."""
    wanted = request.get("IncrementalExportSpecification") or {}
    from_s, to_s = _seconds(wanted.get("ExportFromTime")), _seconds(wanted.get("ExportToTime")) or now_s
    if from_s is None or not from_s < to_s <= now_s + CLOCK_SLACK_S or to_s - from_s > LONGEST_INCREMENT_S:
        return "The export period must end by now, begin before its end, and span at most 24 hours"
    if from_s * 1e6 < since_us:
        return "The export period begins before point in time recovery was enabled"
    view = wanted.get("ExportViewType") or "NEW_AND_OLD_IMAGES"
    return Span(int(from_s * 1e6), int(to_s * 1e6), view == "NEW_AND_OLD_IMAGES")


@patch("export", dynamodb, "_export_table_to_point_in_time")
def export_table(original: Any) -> Any:
    """Starts an export that reads the table as it was, beside the requests."""

    def mended(request: Json) -> Answer:
        known = set(dynamodb._exports.keys())
        table = dynamodb._tables.get(dynamodb._table_name_from_arn(request.get("TableArn")) or "")
        journal = journal_of(table) if table else None
        if table and journal is None:
            return _refuse(
                "PointInTimeRecoveryUnavailableException",
                f"Point in time recovery is not enabled for table '{table['TableName']}'",
            )
        if request.get("ExportFormat") == "ION":
            return _refuse("ValidationException", "localaws exports DYNAMODB_JSON only")
        now_s = time.time()
        at_s = _seconds(request.get("ExportTime")) or now_s
        incremental = request.get("ExportType") == "INCREMENTAL_EXPORT"
        span: Span | str | None = None
        if journal is not None and incremental:
            span = _span(request, journal.since_us, now_s)
            if isinstance(span, str):
                return _refuse("InvalidExportTimeException", span)
        elif journal is not None and not journal.since_us / 1e6 - CLOCK_SLACK_S <= at_s <= now_s + CLOCK_SLACK_S:
            return _refuse("InvalidExportTimeException", "ExportTime is outside the window that can be restored")
        answer = cast(Answer, original(request))
        if answer[0] != 200 or table is None or journal is None:
            return answer
        arn = json.loads(answer[2])["ExportDescription"]["ExportArn"]
        if arn in known:  # the same ClientToken again
            return answer
        description = dynamodb._exports[arn]
        description["ExportTime"] = at_s
        if isinstance(span, Span):
            description["IncrementalExportSpecification"] = request["IncrementalExportSpecification"]
            lines = [_change_line(table, each, span) for each in journal.between(span.from_us, span.to_us)]
        else:
            then = journal.roll_back(items_of(table), int(at_s * 1e6))
            lines = [{"Item": item} for item in then.values()]
        capture.later(_write(description, lines))
        return cast(Answer, json_response({"ExportDescription": description}))

    return mended


@patch("export", dynamodb, "_describe_export")
def describe_export(_original: Any) -> Any:
    """An export is over when its files are written, not when a second is."""

    def mended(request: Json) -> Answer:
        description = dynamodb._exports.get(request.get("ExportArn"))
        if description is None:
            return _refuse("ExportNotFoundException", f"Export not found: {request.get('ExportArn')}")
        return cast(Answer, json_response({"ExportDescription": description}))

    return mended


def _change_line(table: Json, change: Change, span: Span) -> Json:
    present = cast(Json, change.new or change.old)
    keys = {name: present[name] for name in (table["pk_name"], table["sk_name"]) if name}
    line: Json = {"Metadata": {"WriteTimestampMicros": {"N": str(change.at_us)}}, "Keys": keys}
    if change.old is not None and span.old_images:
        line["OldImage"] = change.old
    if change.new is not None:
        line["NewImage"] = change.new
    return line


def _put(bucket: str, key: str, body: bytes) -> str:
    """Put an object and return its ETag."""
    status, headers, answer = s3._put_object(bucket, key, body, {})
    if status != 200:
        raise _S3Refused(answer.decode(errors="replace"))
    return str(headers["ETag"]).strip('"')


def _put_manifest(bucket: str, stem: str, body: bytes) -> None:
    _put(bucket, f"{stem}.json", body)
    _put(bucket, f"{stem}.checksum", _md5(body).encode())


def _md5(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()


def _time(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


async def _write(description: Json, lines: list[Json]) -> None:
    """Write the files of an export and note its end in its description."""
    try:
        await _write_files(description, lines)
    except _S3Refused as refusal:
        failed = {"ExportStatus": "FAILED", "FailureCode": "S3NoSuchBucket", "FailureMessage": str(refusal)}
        description.update(failed, EndTime=time.time())


async def _write_files(description: Json, lines: list[Json]) -> None:
    bucket, incremental = description["S3Bucket"], description["ExportType"] == "INCREMENTAL_EXPORT"
    prefix = (description.get("S3Prefix") or "").rstrip("/")
    root = f"{prefix}/AWSDynamoDB" if prefix else "AWSDynamoDB"
    home = f"{root}/{description['ExportArn'].rpartition('/')[2]}"
    _put(bucket, f"{home}/_started", b"")
    files: list[Json] = []
    billed_bytes = 0
    for start in range(0, max(1, len(lines)), ITEMS_PER_FILE):
        part = lines[start : start + ITEMS_PER_FILE]
        raw = b"".join([step async for step in _rendered(part)])
        packed = await asyncio.to_thread(gzip.compress, raw, 1)
        key = f"{root if incremental else home}/data/{uuid.uuid4().hex[:26]}.json.gz"
        etag = _put(bucket, key, packed)
        billed_bytes += len(raw)
        files.append({"itemCount": len(part), "md5Checksum": _md5(packed), "etag": etag, "dataFileS3Key": key})
    _put_manifest(bucket, f"{home}/manifest-files", b"".join(_encode(each) + b"\n" for each in files))
    end_s = time.time()
    summary = {
        "version": "2023-08-01" if incremental else "2020-06-30",
        "exportArn": description["ExportArn"],
        "startTime": _time(description["StartTime"]),
        "endTime": _time(end_s),
        "tableArn": description["TableArn"],
        "tableId": description["TableId"],
        "exportTime": _time(description["ExportTime"]),
        "s3Bucket": bucket,
        "s3Prefix": description.get("S3Prefix"),
        "s3SseAlgorithm": "AES256",
        "s3SseKmsKeyId": None,
        "manifestFilesS3Key": f"{home}/manifest-files.json",
        "billedSizeBytes": billed_bytes,
        "itemCount": len(lines),
        "outputFormat": "DYNAMODB_JSON",
        "exportType": description["ExportType"],
    }
    if incremental:
        wanted = description["IncrementalExportSpecification"]
        summary["outputView"] = wanted.get("ExportViewType") or "NEW_AND_OLD_IMAGES"
        summary["exportFromTime"] = _time(float(wanted["ExportFromTime"]))
        summary["exportToTime"] = _time(float(wanted.get("ExportToTime") or description["StartTime"]))
    _put_manifest(bucket, f"{home}/manifest-summary", _encode(summary))
    description.update(
        ExportStatus="COMPLETED",
        EndTime=end_s,
        ItemCount=len(lines),
        BilledSizeBytes=billed_bytes,
        ExportManifest=f"{home}/manifest-summary.json",
    )


async def _rendered(lines: list[Json]) -> Any:
    """Yield the lines as JSON, in steps with room for requests between them."""
    for start in range(0, len(lines), ITEMS_PER_STEP):
        yield b"".join(_encode(line) + b"\n" for line in lines[start : start + ITEMS_PER_STEP])
        await asyncio.sleep(0)
