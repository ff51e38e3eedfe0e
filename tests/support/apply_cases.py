"""Records, rows and histories that the tests of the apply path share."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from crossfade.core.protocol.events import Event, encode_event
from crossfade.core.protocol.keyed.item import FIRST_STAMPED
from crossfade.core.replication.apply import ApplyRule, Decision
from crossfade.core.replication.change import Change, decode_change
from crossfade.core.values import image as wire
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key, key_image, key_of_strings
from crossfade.core.values.shape import Direction, Side
from engagement_migration import MAPPING

KEY = key_of_strings("USER#7", "POINTS#chan-3")
V = FIRST_STAMPED + 1_700_000_000_000_000_001
"""19 digits and odd: no float holds it."""

COMMITTED_US = 1_764_230_400_123_456
TABLES = {side: MAPPING.shape(side).table for side in Side}
RULES = {direction: ApplyRule(MAPPING, direction) for direction in Direction}
TXN = bytes(range(16))
EVENT = Raw(encode_event(Event("earn", 5, "watch", TXN, "00-aa-bb-01")))


def source(key: Key = KEY, balance: int = 5, /, **more: Raw) -> Image:
    """A source row as somebody without the protocol writes it."""
    row = {"balance": wire.of_number(balance), "wallet_type": wire.of_string("ENGAGEMENT")}
    return key_image(key, ("pk", "sk")) | row | more


def target(key: Key = KEY, balance: int = 5, /, **more: Raw) -> Image:
    """A row of the target table without protocol attributes."""
    return key_image(key, ("pk", "sk")) | {"points": wire.of_number(balance)} | more


def protocol(
    version: int | None = None, role: str = "", generation: int = 0, event_version: int = 0, *, deleted: bool = False
) -> dict[str, Raw]:
    """Protocol attributes; those left out are missing."""
    found: dict[str, Raw] = {}
    if version is not None:
        found["cf_mv"] = wire.of_number(version)
    if role:
        found["cf_role"] = wire.of_string(role)
    if generation:
        found["cf_gen"] = wire.of_number(generation)
    if event_version:
        found["cf_emv"] = wire.of_number(event_version)
        found["cf_events"] = wire.of_list([EVENT])
        found["cf_recent"] = Raw(b'{"BS":["AAECAwQFBgcICQoLDA0ODw=="]}')
    if deleted:
        found["cf_deleted"] = wire.of_boolean(True)
    return found


def payload(
    new_image: Image | None,
    old_image: Image | None,
    *,
    side: Side = Side.SOURCE,
    committed_us: int = COMMITTED_US,
    precise: bool = True,
    ttl: bool = False,
) -> bytes:
    """A change record as the stream carries it."""
    present = new_image if new_image is not None else old_image
    assert present is not None
    body: dict[str, Any] = {
        "ApproximateCreationDateTime": committed_us if precise else committed_us // 1000,
        "ApproximateCreationDateTimePrecision": "MICROSECOND" if precise else "MILLISECOND",
        "Keys": {name: present[name] for name in ("pk", "sk")},
        "SizeBytes": 1,
    }
    if new_image is not None:
        body["NewImage"] = new_image
    if old_image is not None:
        body["OldImage"] = old_image
    kind = "INSERT" if old_image is None else "MODIFY" if new_image is not None else "REMOVE"
    record = {
        "eventName": kind,
        "tableName": TABLES[side],
        "dynamodb": body,
        "userIdentity": {"type": "Service", "principalId": "dynamodb.amazonaws.com"} if ttl else None,
        "eventID": "x",
    }
    return msgspec.json.encode(record)


def change(new_image: Image | None, old_image: Image | None, **more: Any) -> Change:
    return decode_change(payload(new_image, old_image, **more), ("pk", "sk"))


def forward(new_image: Image | None, old_image: Image | None, **more: Any) -> Decision:
    """What forward decides about a record of the source table."""
    return RULES[Direction.FORWARD].decide(change(new_image, old_image, **more))


def reverse(new_image: Image | None, old_image: Image | None, **more: Any) -> Decision:
    """What reverse decides about a record of the target table."""
    return RULES[Direction.REVERSE].decide(change(new_image, old_image, side=Side.TARGET, **more))
