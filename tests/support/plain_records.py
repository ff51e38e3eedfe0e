"""Records and maps of the plain protocol that tests share: orders, which move from one table to another as they are."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from crossfade.core.mapping.rules import RuleMapping, Table, key_prefixes
from crossfade.core.protocol.plain.map import OwnerMap, drained_from, first_map, flipped_from, opened_from, sealed_from
from crossfade.core.protocol.plain.protocol import PLAIN
from crossfade.core.values import image as wire
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key, key_image, key_of_strings
from crossfade.core.values.shape import Side

S = 1_000_000
"""A second, in µs."""

BEGAN_US = 1_764_230_400_000_000
AT_US = BEGAN_US + 10 * S
"""When something was written in the first interval."""

HELD_US = BEGAN_US + 600 * S
"""When the first flip was proven, by either table's clock: here they agree."""

MAPPING = RuleMapping(
    "orders",
    source=Table("orders", key=("customer", "entry"), ttl="expires_at"),
    target=Table("orders-next", key=("customer", "entry")),
    belongs=key_prefixes("CUSTOMER#", ""),
    rules=(),
    is_open=True,
    protocol=PLAIN,
)
KEY = key_of_strings("CUSTOMER#7", "ORDER#1")
FIRST = first_map(BEGAN_US)
SEALED = sealed_from(drained_from(FIRST))
FLIPPED = opened_from(flipped_from(SEALED, held_us=HELD_US, other_held_us=HELD_US))


def back(held_us: int = HELD_US + 600 * S) -> OwnerMap:
    """The map after a second flip, back to the source."""
    return opened_from(flipped_from(sealed_from(drained_from(FLIPPED)), held_us=held_us, other_held_us=held_us))


def row(total: int = 5, key: Key = KEY, /, *, mv: int | None = None, deleted: bool = False, **more: Raw) -> Image:
    """A row; with a fence, as it stands on a standby."""
    found = key_image(key, ("customer", "entry"))
    if not deleted:
        found |= {"total": wire.of_number(total)} | more
    else:
        found["cf_deleted"] = wire.of_boolean(True)
    if mv is not None:
        found["cf_mv"] = wire.of_number(mv)
    return found


def payload(
    new: Image | None, old: Image | None, *, side: Side = Side.SOURCE, at_us: int = BEGAN_US + S, ttl: bool = False
) -> bytes:
    """A change record as the stream carries it."""
    present = new or old
    assert present is not None
    body: dict[str, Any] = {
        "ApproximateCreationDateTime": at_us,
        "ApproximateCreationDateTimePrecision": "MICROSECOND",
        "Keys": {name: present[name] for name in ("customer", "entry")},
        "SizeBytes": 1,
    }
    body |= {name: image for name, image in (("NewImage", new), ("OldImage", old)) if image is not None}
    return msgspec.json.encode(
        {
            "eventName": "INSERT" if old is None else "MODIFY" if new is not None else "REMOVE",
            "tableName": MAPPING.shape(side).table,
            "dynamodb": body,
            "userIdentity": {"type": "Service", "principalId": "dynamodb.amazonaws.com"} if ttl else None,
        }
    )


def told(total: int, old: int | None = None, *, at_us: int = AT_US, side: Side = Side.SOURCE, number: int = 1) -> bytes:
    key = key_of_strings("CUSTOMER#7", f"ORDER#{number}")
    return payload(row(total, key), None if old is None else row(old, key), at_us=at_us, side=side)


def total_of(image: Image | None) -> int | None:
    return None if image is None or "total" not in image else int(bytes(image["total"]).split(b'"')[3])
