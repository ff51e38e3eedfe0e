"""The feed: how an event is published (design.md, section 3, Events). Which record tells it, the protocol says."""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from crossfade.core.protocol.events import Event, PublishedEvent, changes_of, changes_value
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.keys import Key
from crossfade.core.values.masking import reason_of

LONGEST_PARTITION_KEY: Final = 256
"""Of a Kinesis record, in characters."""


class _Published(msgspec.Struct):
    key: msgspec.Raw
    version: str
    index: int
    previous: str
    kind: str
    delta: int
    reason: str
    transaction_id: str
    traceparent: str
    changes: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


def encode_published(published: PublishedEvent) -> bytes:
    """Encode an event as the feed stream carries it: JSON, versions as strings, the transaction id in hexadecimal.

    {"key":[{"S":"ART#7"},{"S":"SHOP#c"}],"version":"1842…","index":0,"previous":"0","kind":"receive","delta":5,…}

    Where `delta` doesn't say all, `changes` follows as in the row: {"M":{"on_hand":{"N":"-0.25"},…}}.
    """
    event = published.event
    return msgspec.json.encode(
        _Published(
            key=msgspec.Raw(published.key),
            version=str(published.version),
            index=published.index,
            previous=str(published.previous),
            kind=event.kind,
            delta=event.delta,
            reason=event.reason,
            transaction_id=event.transaction_id.hex(),
            traceparent=event.traceparent,
            changes=changes_value(event) if event.changes else msgspec.UNSET,
        )
    )


def decode_published(payload: bytes) -> PublishedEvent:
    """Decode a record of the feed stream.

    Raises:
        PoisonRecord: it is not an event.
    """
    try:
        found = msgspec.json.decode(payload, type=_Published)
        return PublishedEvent(
            key=Key(bytes(found.key)),
            version=int(found.version),
            index=found.index,
            previous=int(found.previous),
            event=Event(
                kind=found.kind,
                delta=found.delta,
                reason=found.reason,
                transaction_id=bytes.fromhex(found.transaction_id),
                traceparent=found.traceparent,
                changes=() if found.changes is msgspec.UNSET else changes_of(found.changes),
            ),
        )
    except (msgspec.MsgspecError, ValueError) as error:
        raise PoisonRecord(f"not a published event: {reason_of(error)}") from error


def partition_key(key: Key) -> str:
    """Return the partition key of a key's events: the encoded key, or its SHA-256 where that is too long."""
    text = key.decode()
    return text if len(text) <= LONGEST_PARTITION_KEY else hashlib.sha256(key).hexdigest()
