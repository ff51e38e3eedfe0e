"""What Lambda hands in and wants back: the event of a Kinesis event source mapping, and the partial batch response."""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from crossfade.core.values.errors import ConfigError

_SOURCE: Final = re.compile(
    r"arn:[\w-]+:kinesis:[\w-]*:\d*:stream/(?P<stream>[\w.-]+)(/consumer/[\w.-]+:\d+)?", re.ASCII
)


class EventRecord(NamedTuple):
    """One record of an event.

    Attributes:
        sequence_number: its place in the shard, opaque.
        data: the payload.
        arrived_s: when the stream took it, seconds since the epoch.
    """

    sequence_number: str
    data: bytes
    arrived_s: float


class EventBatch(NamedTuple):
    """The records of an event: all of one shard.

    Attributes:
        stream: name of the stream.
        shard_id: the shard.
        records: in shard order; at least one.
    """

    stream: str
    shard_id: str
    records: list[EventRecord]


def read_event(event: Mapping[str, Any]) -> EventBatch:
    """Read the event of a Kinesis event source mapping.

    Raises:
        ConfigError: it is of another kind: the function is behind something else.
    """
    try:
        found = event["Records"]
        first = found[0]
        shard_id, _, _ = first["eventID"].rpartition(":")
        stream = stream_of(first["eventSourceARN"])
        records = [
            EventRecord(
                each["kinesis"]["sequenceNumber"],
                binascii.a2b_base64(each["kinesis"]["data"]),
                float(each["kinesis"]["approximateArrivalTimestamp"]),
            )
            for each in found
        ]
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise ConfigError(f"this is not an event of a Kinesis event source mapping: {error!r}") from error
    return EventBatch(stream, shard_id, records)


def stream_of(arn: str) -> str:
    """Return the name of the stream that an event comes from.

    An event source is the stream, or one of its consumers with enhanced fan-out, whose ARN continues with
    `/consumer/NAME:TIMESTAMP` (ConsumerARN in Kinesis' API reference).

    Raises:
        ValueError: it is the ARN of something else.
    """
    found = _SOURCE.fullmatch(arn)
    if found is None:
        raise ValueError(f"{arn!r} is neither a Kinesis stream's ARN nor that of a consumer of one")
    return found["stream"]


def done_up_to(batch: EventBatch, left: int | None) -> dict[str, Any]:
    """Return the partial batch response: Lambda sends the record at `left`, and all behind it, again.

    Args:
        batch: the records.
        left: place of the first that is not done; None when all are.
    """
    failures = [] if left is None else [{"itemIdentifier": batch.records[left].sequence_number}]
    return {"batchItemFailures": failures}
