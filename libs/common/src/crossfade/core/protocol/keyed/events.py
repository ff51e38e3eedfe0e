"""Domain events, embedded in the write they tell of (design.md, section 3, Events).

An owner write carries its events in `cf_events` and sets `cf_emv` to its own version. Key, version and index within the
write are an event's identity and are not stored twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import msgspec
from msgspec import Raw

from crossfade.core.values import image as wire
from crossfade.core.values.keys import Key

_encode = msgspec.json.encode


class Event(NamedTuple):
    """One domain event.

    Attributes:
        kind: "earn", "spend" or "delete".
        delta: change of the balance, negative for a spend; 0 for a delete.
        reason: the client's word.
        transaction_id: the client's ULID, 16 bytes.
        traceparent: W3C trace context of the call; empty when it had none.
    """

    kind: str
    delta: int
    reason: str
    transaction_id: bytes
    traceparent: str


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
    return b'{"M":{"kind":{"S":%b},"delta":{"N":"%d"},"reason":{"S":%b},"txn":%b,"trace":{"S":%b}}}' % (
        _encode(event.kind),
        event.delta,
        _encode(event.reason),
        bytes(wire.of_binary(event.transaction_id)),
        _encode(event.traceparent),
    )


def decode_events(events: Raw) -> list[Event]:
    """Decode `cf_events`.

    Raises:
        PoisonRecord: it is no list of events.
    """
    decoded = []
    for each in wire.list_of(events):
        fields = wire.map_of(each)
        event = Event(
            kind=wire.string(fields.get("kind", _MISSING)),
            delta=wire.number(fields.get("delta", _MISSING)),
            reason=wire.string(fields.get("reason", _MISSING)),
            transaction_id=wire.binary(fields.get("txn", _MISSING)),
            traceparent=wire.string(fields.get("trace", _MISSING)),
        )
        decoded.append(event)
    return decoded


_MISSING = Raw(b"{}")
