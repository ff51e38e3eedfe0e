"""What the verifier says about one key, read a moment ago: the answer to GET /keys/{key}.

Versions and times in µs are text: JSON readers round 64-bit numbers. Values of rows are shown by type, length and mark,
unless an operator asks to reveal them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeAlias

import msgspec

from crossfade.contracts.document import Document

SideName: TypeAlias = Literal["source", "target"]


class Shown(msgspec.Struct, frozen=True, omit_defaults=True):
    """One attribute value.

    Attributes:
        type: of DynamoDB: "S", "N", "M"; "?" for what is no attribute value.
        length: characters of a text or number, bytes of a binary, members of a list, map or set.
        mark: stands for the value: two different values have different ones, within the answers of one process.
        value: decoded, when it is revealed: numbers as text, binaries in base64.
    """

    type: str
    length: int
    mark: str
    value: Any = None


class AttributeReport(msgspec.Struct, frozen=True):
    """One attribute of both rows, side by side.

    Attributes:
        name: in the source table.
        target_name: in the target table; the same unless the mapping renames it.
        source, target: its values; null where the row doesn't have it.
        differs: whether the two are different.
    """

    name: str
    target_name: str
    source: Shown | None
    target: Shown | None
    differs: bool


class RowReport(msgspec.Struct, frozen=True):
    """One row, as it stands in its table.

    Attributes:
        table: name of the table.
        role: `cf_role`: "A" owns the key, "S" is standby; null where there is none.
        version: `cf_mv`; null where there is none.
        generation: `cf_gen`.
        deleted: whether it is a tombstone or a stub.
        held_out: whether it stays with its owner because the other table refuses it.
        ids: number of operation ids that it remembers (`cf_recent`).
        events_version: version of its last events (`cf_emv`); "0" where there are none.
        trouble: why it can't be read, or doesn't fit the mapping; empty when it does. Values in it are masked.
        dropped: names of its attributes that the mapping doesn't carry to the other table.
        trace: trace id of the request that wrote its last events (`cf_events`); empty where there is none.
    """

    table: str
    role: str | None
    version: str | None
    generation: str
    deleted: bool
    held_out: bool
    ids: int
    events_version: str
    trouble: str
    dropped: Sequence[str]
    trace: str = ""


class ChangeReport(msgspec.Struct, frozen=True):
    """One change record of the key.

    Attributes:
        kind: "INSERT", "MODIFY" or "REMOVE".
        committed_us: commit time in its table, µs.
        heard_age_s: how long ago the verifier read it from the stream.
        version: `cf_mv` after the change; null where there is none.
        role: `cf_role` after the change; null where there is none.
        generation: `cf_gen` after the change; null where there is none.
        expired: whether the table's TTL deleted the row.
    """

    kind: str
    committed_us: str
    heard_age_s: float
    version: str | None
    role: str | None
    generation: str | None
    expired: bool


class StreamReport(msgspec.Struct, frozen=True):
    """What one table's stream said of the key.

    Attributes:
        since_s: how far back the verifier remembers: older changes aren't listed; null while it isn't reading.
        reading: whether it is reading the stream now.
        why: why it isn't; empty when it is.
        changes: the last ones, newest first.
    """

    since_s: float | None
    reading: bool
    why: str
    changes: Sequence[ChangeReport]


class CalledReport(msgspec.Struct, frozen=True):
    """What a sweep or the continuous mode called the key.

    Attributes:
        found: the class; "class" in JSON.
        first_seen_us: when it was first called, µs; null if unknown.
        last_seen_us: when it was last called, µs; null if unknown.
        called_by: which mode called it.
        pass_id: the pass that called it last; empty in the continuous mode.
    """

    found: str = msgspec.field(name="class")
    first_seen_us: str | None
    last_seen_us: str | None
    called_by: str
    pass_id: str


class KeyReport(Document, frozen=True):
    """The whole answer.

    Attributes:
        key: encoded.
        short: the same, as people write it; null where it can't be.
        bucket: number of its bucket.
        at_us: when it was read, by the verifier's wall clock, µs.
        found: its class now; "class" in JSON.
        means: what that means for this key, in one sentence.
        cure: what to do about it: a command where there is one.
        settled: whether owner, standby and owner again were read without the owner changing in between.
        owner: the table that owns the key; null while neither or both do.
        behind_s: for how long, at least, the rows are known to have been different; null if they are equal.
        source, target: both rows; null where there is none.
        attributes: of both rows, side by side: the content, then protocol attributes, then TTL.
        differs: what differs, by name: attributes of the mapping, then others.
        cause: why the other table refuses the key, if it is held out; empty otherwise.
        streams: the last change records, by the name of the side.
        called: what the modes called the key, the sweep first.
        masked: whether values are hidden; with `?reveal=true` an operator sees them, which is journalled.
    """

    NAME: ClassVar[str] = "key report"

    key: str
    short: str | None
    bucket: int
    at_us: str
    found: str = msgspec.field(name="class")
    means: str
    cure: str
    settled: bool
    owner: SideName | None
    behind_s: float | None
    source: RowReport | None
    target: RowReport | None
    attributes: Sequence[AttributeReport]
    differs: Sequence[str]
    cause: str
    streams: Mapping[str, StreamReport]
    called: Sequence[CalledReport]
    masked: bool
