"""Domain events, embedded in the write they describe (design.md, section 3, Events).

An owner write carries its events in `cf_events`. Key, version and index within the write are an event's identity and
are not stored twice. Which record tells them, the protocol says (`crossfade.core.protocol.seam.RecordReader.events`).

An event says all that its operation changes, which binds a transaction id to what it did (ADR 0023). One number of 64
bits is `delta`, as it has always been written; what that can't say is in `changes`, in DynamoDB's own terms:

    {"M":{"kind":{"S":"receive"},"delta":{"N":"5"},"reason":…,"txn":…,"trace":…}}
    {"M":{"kind":{"S":"reserve"},"delta":{"N":"0"},"reason":…,"txn":…,"trace":…,
          "changes":{"M":{"on_hand":{"N":"-0.25"},"reserved":{"N":"0.25"}}}}}
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec
from msgspec import Raw, Struct

from crossfade.core.values import image as wire
from crossfade.core.values.canonical import canonical_value
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key

_encode = msgspec.json.encode

EVENTS: Final = "cf_events"
"""The attribute."""


Changes: TypeAlias = tuple[tuple[str, bytes], ...]
"""Attributes, in the source's names, with what is added to each or what each is set to, as raw values."""


class Event(Struct, frozen=True, gc=False):
    """One domain event.

    Attributes:
        kind: name of the verb; what it removes or deletes follows from that.
        delta: what the operation adds to its one attribute, if that is a whole number of 64 bits; else 0.
        reason: the client's word.
        transaction_id: the client's ULID, 16 bytes.
        traceparent: W3C trace context of the call; empty when it had none.
        changes: all that the operation adds and sets; empty where `delta` says it.
    """

    kind: str
    delta: int
    reason: str
    transaction_id: bytes
    traceparent: str
    changes: Changes = ()


@dataclass(frozen=True, slots=True)
class PublishedEvent:
    """An event as the feed publishes it.

    Attributes:
        key: the encoded key.
        version: of the write that carried it.
        index: within that write; with key and version its identity.
        previous: version of the key's previous event; 0 when there was none. A consumer sees a gap by it.
        event: what happened.
    """

    key: Key
    version: int
    index: int
    previous: int
    event: Event


def encode_event(event: Event) -> bytes:
    """Encode an event as one raw DynamoDB value, an element of `cf_events`."""
    # Spliced by hand: every operation of the API passes here, and a map of values takes five times as long.
    more = b',"changes":%b' % bytes(changes_value(event)) if event.changes else b""
    return b'{"M":{"kind":{"S":%b},"delta":{"N":"%d"},"reason":{"S":%b},"txn":%b,"trace":{"S":%b}%b}}' % (
        _encode(event.kind),
        event.delta,
        _encode(event.reason),
        bytes(wire.of_binary(event.transaction_id)),
        _encode(event.traceparent),
        more,
    )


def changes_value(event: Event) -> Raw:
    """Return an event's changes as one raw DynamoDB map."""
    return wire.of_map({name: Raw(raw) for name, raw in event.changes})


def changes_of(value: Raw) -> Changes:
    """Read `changes_value` back.

    Raises:
        PoisonRecord: it is not a map.
    """
    return tuple((name, bytes(raw)) for name, raw in wire.map_of(value).items())


def decode_events(events: Raw) -> list[Event]:
    """Decode `cf_events`.

    Raises:
        PoisonRecord: it is not a list of events.
    """
    return [_decode_event(each) for each in wire.list_of(events)]


def _decode_event(raw: Raw) -> Event:
    fields = wire.map_of(raw)
    return Event(
        kind=wire.string(fields.get("kind", _MISSING)),
        delta=wire.number(fields.get("delta", _MISSING)),
        reason=wire.string(fields.get("reason", _MISSING)),
        transaction_id=wire.binary(fields.get("txn", _MISSING)),
        traceparent=wire.string(fields.get("trace", _MISSING)),
        changes=changes_of(fields["changes"]) if "changes" in fields else (),
    )


def trace_of(image: Image) -> str:
    """Return the trace context of the last event that an image carries, whoever wrote it; empty when there is none."""
    try:
        return decode_events(image[EVENTS])[-1].traceparent if EVENTS in image else ""
    except (PoisonRecord, IndexError):
        return ""


def event_of(events: bytes, transaction_id: bytes) -> Event | None:
    """Return what a transaction id did, as far as a row can tell: its event, if the row's last write was of this id.

    Args:
        events: raw `cf_events`; empty when the row has none.
        transaction_id: 16 bytes.

    Returns:
        None where the row can't tell: a later write has put its own event there, or it is not one of ours.
    """
    try:
        told = decode_events(Raw(events)) if events else []
    except PoisonRecord:  # another writer's: it says nothing of the id
        return None
    return next((each for each in told if each.transaction_id == transaction_id), None)


def is_other_deed(event: bytes, done: Event) -> bool:
    """Say whether an operation with this event does something else than what was done: another kind or other changes.

    Reason and trace context don't count: they change nothing in the row. Nor does how an engine spells a value.

    Raises:
        PoisonRecord: `event` is not an event.
    """
    return _deed(_decode_event(Raw(event))) != _deed(done)


def _deed(event: Event) -> tuple[str, int, bytes]:
    return event.kind, event.delta, canonical_value(changes_value(event)) if event.changes else b""


_MISSING = Raw(b"{}")
