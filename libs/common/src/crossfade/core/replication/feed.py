"""The feed: which change records yield events, and how an event is published (design.md, section 3, Events).

An owner write sets `cf_emv` to its own version, and everything that copies or moves an item changes its version or its
role, but not that. So each event is told exactly by one record, whatever is handed over, copied or lifted around it.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

from crossfade.core.protocol.keyed.events import Event, PublishedEvent, decode_events
from crossfade.core.protocol.keyed.item import EMV, EVENTS, MV
from crossfade.core.protocol.keyed.raw import is_raw_active
from crossfade.core.replication.change import Change
from crossfade.core.values import image as wire
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side

LONGEST_PARTITION_KEY: Final = 256
"""Of a Kinesis record, in characters."""


def events_of(change: Change, side: Side) -> list[PublishedEvent]:
    """Return the events of a record, in the order of the write.

    Those of its new image, if that is active, `cf_emv` is the image's own version, and the old image's `cf_emv`
    is another one.

    Args:
        change: the record, before any deduplication.
        side: the table it tells of.

    Raises:
        PoisonRecord: the events can't be read.
    """
    new = change.new
    if new is None:
        return []
    emv, version = new.get(EMV), new.get(MV)
    if emv is None or version is None or not is_raw_active(new, side):
        return []
    number = wire.number(version)
    if wire.number(emv) != number:
        return []
    previous = _event_version(change.old)
    if previous == number:
        return []
    events = new.get(EVENTS)
    if events is None:
        raise PoisonRecord("the image has cf_emv but no cf_events")
    return [
        PublishedEvent(key=change.key, version=number, index=index, previous=previous, event=event)
        for index, event in enumerate(decode_events(events))
    ]


def _event_version(image: Image | None) -> int:
    emv = None if image is None else image.get(EMV)
    return 0 if emv is None else wire.number(emv)


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


def encode_published(published: PublishedEvent) -> bytes:
    """Encode an event as the feed stream carries it: JSON, versions as strings, the transaction id in hexadecimal.

    {"key":[{"S":"USER#7"},{"S":"POINTS#c"}],"version":"1842…","index":0,"previous":"0","kind":"earn","delta":5,…}
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
        )
    )


def decode_published(payload: bytes) -> PublishedEvent:
    """Decode a record of the feed stream.

    Raises:
        PoisonRecord: it is no event.
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
            ),
        )
    except (msgspec.MsgspecError, ValueError) as error:
        raise PoisonRecord(f"not a published event: {error}") from error


def partition_key(key: Key) -> str:
    """Return the partition key of a key's events: the encoded key, or its SHA-256 where that is too long."""
    text = key.decode()
    return text if len(text) <= LONGEST_PARTITION_KEY else hashlib.sha256(key).hexdigest()
