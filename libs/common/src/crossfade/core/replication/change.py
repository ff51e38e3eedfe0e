"""Change records: one record of Kinesis Data Streams for DynamoDB, decoded as far as a decision needs it.

The shape is the one AWS documents for `recordFormat: application/json` (aws-facts.md): no sequence number inside, the
commit time in ms or µs as its precision field says, both seen in one stream after the setting changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Final

import msgspec
from msgspec import Raw, Struct

from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.image import Image, number
from crossfade.core.values.keys import Key, key_of_values
from crossfade.core.values.masking import reason_of


class ChangeKind(Enum):
    """What happened to the item."""

    INSERT = "INSERT"
    MODIFY = "MODIFY"
    REMOVE = "REMOVE"


class _Identity(Struct, gc=False):
    type: str = ""
    principalId: str = ""  # noqa: N815 - the wire's own name


_NOTHING: Final = Raw()


class _Body(Struct, gc=False):
    ApproximateCreationDateTime: int
    Keys: dict[str, dict[str, str]]
    NewImage: dict[str, Raw] | None = None
    OldImage: Raw = _NOTHING
    ApproximateCreationDateTimePrecision: str = ""


class _Record(Struct, gc=False):
    eventName: ChangeKind  # noqa: N815 - the wire's own name
    tableName: str  # noqa: N815 - the wire's own name
    dynamodb: _Body
    userIdentity: _Identity | None = None  # noqa: N815 - the wire's own name


class _Number(Struct, gc=False):
    N: str


class _Version(Struct, gc=False):
    cf_mv: _Number | None = None


_decode = msgspec.json.Decoder(_Record).decode
_decode_version = msgspec.json.Decoder(_Version | None).decode
_decode_old = msgspec.json.Decoder(dict[str, Raw] | None).decode
FENCE: Final = "cf_mv"
"""What orders a standby's row, whatever protocol its owner follows."""

_FIRST: Final = 10**12
_LAST: Final = 10**13
"""Commit times in ms have 13 digits from 2001 to 2286, and in µs 16: neither can be meant by the other."""

_FIRST_US: Final = 1000 * _FIRST
_LAST_US: Final = 1000 * _LAST


def _committed(at: int, precision: str) -> tuple[int, bool]:
    """Return a commit time in µs, and whether it came in µs: as its precision field says, if it can be.

    A record without the field is older than the field, and in ms; one that has 16 digits nevertheless is in µs, since
    in ms it would be committed 50,000 years from now, and its version would be above those of all stamped rows.

    Raises:
        PoisonRecord: the time is impossible in the field's unit, or the unit is unknown.
    """
    if precision == "MICROSECOND" or (not precision and at >= _FIRST_US):
        if _FIRST_US <= at < _LAST_US:
            return at, True
    elif precision in ("MILLISECOND", ""):
        if _FIRST <= at < _LAST:
            return at * 1000, False
    else:
        raise PoisonRecord(f"not a change record: a commit time of the precision {precision!r}, which is unknown")
    unit = precision or "ms or µs"
    raise PoisonRecord(f"not a change record: a commit time of {at} can't be in {unit}, between 2001 and 2286")


class Change(Struct, gc=False):
    """One change record.

    Attributes:
        table: name of the table that changed.
        kind: INSERT, MODIFY or REMOVE.
        key: the encoded key.
        committed_us: commit time, µs since the epoch, whatever the record's precision.
        precise: whether the record carries µs; capture needs it (rule 6).
        new: image after the change; None for a REMOVE.
        before: image before it, as it came; None for an INSERT. Use `old` and `old_version`.
        expired: a delete by the table's TTL, not by a writer.
    """

    table: str
    kind: ChangeKind
    key: Key
    committed_us: int
    precise: bool
    new: Image | None
    before: Raw | Image | None
    expired: bool

    @property
    def old(self) -> Image | None:
        """Image before the change; None for an INSERT. Decoded at each use: most records need only its version.

        Raises:
            PoisonRecord: it is not a JSON object.
        """
        before = self.before
        if not isinstance(before, Raw):
            return before
        try:
            old: Image | None = _decode_old(before)
        except msgspec.MsgspecError as error:
            raise PoisonRecord(f"not an item: {reason_of(error)}") from error
        return old

    def version(self) -> int | None:
        """Return `cf_mv`, the fence of every protocol, of the image after; None when it has none.

        Raises:
            PoisonRecord: it is not an integer.
        """
        return None if self.new is None or FENCE not in self.new else number(self.new[FENCE])

    def old_version(self) -> int:
        """Return `cf_mv` of the image before; 0 when it has none, or when there was none.

        Raises:
            PoisonRecord: it is not an integer.
        """
        before = self.before
        if before is None:
            return 0
        if not isinstance(before, Raw):
            return number(before[FENCE]) if FENCE in before else 0
        try:
            found = _decode_version(before)
            return 0 if found is None or found.cf_mv is None else int(found.cf_mv.N)
        except (msgspec.MsgspecError, ValueError) as error:
            raise PoisonRecord(f"no version in the old image: {reason_of(error)}") from error


def decode_change(payload: bytes, key_names: Sequence[str]) -> Change:
    """Decode one record; every value but the key stays raw.

    Args:
        payload: the record's bytes as Kinesis returns them (base64 taken off).
        key_names: the table's key attributes, in the order of its key schema.

    Raises:
        PoisonRecord: it is not a change record of this shape, or its commit time is impossible.
    """
    try:
        record = _decode(payload)
    except msgspec.MsgspecError as error:
        raise PoisonRecord(f"not a change record: {reason_of(error)}") from error
    body = record.dynamodb
    committed_us, precise = body.ApproximateCreationDateTime, True
    if body.ApproximateCreationDateTimePrecision != "MICROSECOND" or not _FIRST_US <= committed_us < _LAST_US:
        committed_us, precise = _committed(committed_us, body.ApproximateCreationDateTimePrecision)
    who, before = record.userIdentity, body.OldImage
    return Change(
        record.tableName,
        record.eventName,
        key_of_values(body.Keys, key_names),
        committed_us,
        precise,
        body.NewImage,
        None if before is _NOTHING else before,
        who is not None and who.type == "Service" and who.principalId == "dynamodb.amazonaws.com",
    )
