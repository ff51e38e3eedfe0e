"""Change records: one record of Kinesis Data Streams for DynamoDB, decoded as far as a decision needs it.

The shape is the one AWS documents for `recordFormat: application/json` (aws-facts.md): no sequence number inside, the
commit time in ms or µs as its precision field says, both seen in one stream after the setting changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

import msgspec
from msgspec import Raw, Struct

from crossfade.core.errors import PoisonRecord
from crossfade.core.image import Image
from crossfade.core.keys import Key, encode_key


class ChangeKind(Enum):
    """What happened to the item."""

    INSERT = "INSERT"
    MODIFY = "MODIFY"
    REMOVE = "REMOVE"


class _Identity(Struct, gc=False):
    type: str = ""
    principalId: str = ""  # noqa: N815 - the wire's own name


class _Body(Struct, gc=False):
    ApproximateCreationDateTime: int
    Keys: dict[str, Raw]
    NewImage: dict[str, Raw] | None = None
    OldImage: dict[str, Raw] | None = None
    ApproximateCreationDateTimePrecision: str = "MILLISECOND"


class _Record(Struct, gc=False):
    eventName: ChangeKind  # noqa: N815 - the wire's own name
    tableName: str  # noqa: N815 - the wire's own name
    dynamodb: _Body
    userIdentity: _Identity | None = None  # noqa: N815 - the wire's own name


_decode = msgspec.json.Decoder(_Record).decode


class Change(NamedTuple):
    """One change record.

    Attributes:
        table: name of the table that changed.
        kind: INSERT, MODIFY or REMOVE.
        key: the encoded key.
        committed_us: commit time, µs since the epoch, whatever the record's precision.
        precise: whether the record carries µs; capture needs it (rule 6).
        new: image after the change; None for a REMOVE.
        old: image before it; None for an INSERT.
        expired: a delete by the table's TTL, not by a writer.
    """

    table: str
    kind: ChangeKind
    key: Key
    committed_us: int
    precise: bool
    new: Image | None
    old: Image | None
    expired: bool


def decode_change(payload: bytes, key_names: Sequence[str]) -> Change:
    """Decode one record; every value but the key stays raw.

    Args:
        payload: the record's bytes as Kinesis returns them (base64 taken off).
        key_names: the table's key attributes, in the order of its key schema.

    Raises:
        PoisonRecord: it is no change record of this shape.
    """
    try:
        record = _decode(payload)
    except msgspec.MsgspecError as error:
        raise PoisonRecord(f"not a change record: {error}") from error
    body = record.dynamodb
    precise = body.ApproximateCreationDateTimePrecision == "MICROSECOND"
    who = record.userIdentity
    return Change(
        table=record.tableName,
        kind=record.eventName,
        key=encode_key(body.Keys, key_names),
        committed_us=body.ApproximateCreationDateTime * (1 if precise else 1000),
        precise=precise,
        new=body.NewImage,
        old=body.OldImage,
        expired=who is not None and who.type == "Service" and who.principalId == "dynamodb.amazonaws.com",
    )
