"""How large a record of a stream can be, and that of a change which is larger: it never comes.

ministack 1.5.33 forgets the limit that a stream is created with, doesn't know UpdateMaxRecordSize, and delivers change
records of any size. Both images of an item of 400 KB make a record above 1 MiB, the default. PutRecord and PutRecords
keep to 1 MiB here, whatever the limit.

Source: Kinesis API reference, CreateStream and UpdateMaxRecordSize (MaxRecordSizeInKiB, 1,024 to 10,240), and
docs/aws-facts.md.
"""

from __future__ import annotations

import json
from typing import Any, Final

import ministack.services.kinesis as kinesis
from ministack.core.responses import error_response_json, json_response

from localaws.patches.registry import patch

Json = dict[str, Any]
Answer = tuple[int, dict[str, str], Any]

DEFAULT_KIB: Final = 1024
MOST_KIB: Final = 10_240
_LIMIT: Final = "MaxRecordSizeInKiB"


def most_bytes(stream_arn: str) -> int:
    """Return how many bytes a record of a stream can have."""
    stream: Json = kinesis._resolve_stream_by_arn(stream_arn) or {}
    return int(stream.get(_LIMIT, DEFAULT_KIB)) * 1024


def _refused(wanted: Any) -> Answer | None:
    if isinstance(wanted, int) and DEFAULT_KIB <= wanted <= MOST_KIB:
        return None
    message = f"{_LIMIT} is {wanted}, and must be from {DEFAULT_KIB} to {MOST_KIB}"
    refusal: Answer = error_response_json("ValidationException", message, 400)
    return refusal


@patch("record_sizes", kinesis, "_create_stream")
def create_stream(original: Any) -> Any:
    """A stream keeps the limit that it is created with."""

    def mended(request: Json) -> Answer:
        wanted = request.get(_LIMIT, DEFAULT_KIB)
        answer: Answer = _refused(wanted) or original(request)
        if answer[0] == 200:
            kinesis._streams[request["StreamName"]][_LIMIT] = wanted
        return answer

    return mended


@patch("record_sizes", kinesis, "_describe_stream_summary")
def describe_stream_summary(original: Any) -> Any:
    """Shows the limit."""

    def mended(request: Json) -> Answer:
        status, headers, body = original(request)
        if status != 200:
            return status, headers, body
        shown = json.loads(body)
        _, stream = kinesis._resolve_stream(request)
        shown["StreamDescriptionSummary"][_LIMIT] = stream.get(_LIMIT, DEFAULT_KIB)
        return status, headers, json.dumps(shown).encode()

    return mended


@patch("record_sizes", kinesis, "put_record_internal")
def put_record(original: Any) -> Any:
    """A change record that is too large is lost; nobody is told."""

    def mended(stream_arn: str, partition_key: str, payload: bytes) -> bool:
        return len(payload) <= most_bytes(stream_arn) and bool(original(stream_arn, partition_key, payload))

    return mended


def update_max_record_size(request: Json) -> Answer:
    """Change a stream's limit."""
    stream = kinesis._resolve_stream_by_arn(request.get("StreamARN"))
    if not stream:
        missing: Answer = error_response_json(
            "ResourceNotFoundException", f"Stream {request.get('StreamARN')} not found", 400
        )
        return missing
    if refusal := _refused(request.get(_LIMIT)):
        return refusal
    stream[_LIMIT] = request[_LIMIT]
    answer: Answer = json_response({})
    return answer
