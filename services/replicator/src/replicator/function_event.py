"""What Lambda hands in and wants back: the event of a Kinesis event source mapping, and the partial batch response."""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from typing import Any, NamedTuple

from crossfade.core.values.errors import ConfigError


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
        stream = first["eventSourceARN"].rpartition(":stream/")[2]
        records = [
            EventRecord(
                each["kinesis"]["sequenceNumber"],
                binascii.a2b_base64(each["kinesis"]["data"]),
                float(each["kinesis"]["approximateArrivalTimestamp"]),
            )
            for each in found
        ]
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise ConfigError(f"this is no event of a Kinesis event source mapping: {error!r}") from error
    return EventBatch(stream, shard_id, records)


def done_up_to(batch: EventBatch, left: int | None) -> dict[str, Any]:
    """Return the partial batch response: Lambda sends the record at `left`, and all behind it, again.

    Args:
        batch: the records.
        left: place of the first that is not done; None when all are.
    """
    failures = [] if left is None else [{"itemIdentifier": batch.records[left].sequence_number}]
    return {"batchItemFailures": failures}
