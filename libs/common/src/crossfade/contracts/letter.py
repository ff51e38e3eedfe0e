"""Dead letters: written by consumers and the sweeper; read by operators, gates and redrive."""

from __future__ import annotations

from typing import ClassVar, Final

from crossfade.contracts.document import Document
from crossfade.core.values.keys import Key

STRAY: Final = "stray"
"""Code of the letters about writes from outside the protocol."""

DIVERGED: Final = "diverged"
"""Code of the letters about keys whose two rows have the same version and different content (ADR 0017)."""

UNRECORDED: Final = "unrecorded"
HOLD_BROKEN: Final = "hold_broken"
LATE: Final = "late"
WIDE: Final = "wide"
"""Codes of the plain protocol's letters about rows (ADR 0044)."""

ROWS: Final = frozenset({DIVERGED, UNRECORDED, HOLD_BROKEN, LATE})
"""Codes of the letters that show rows, not a change: their payload is `{"images": {table: row}}`."""

HINT: Final = "hint"
"""Code of the letters by which the verifier hands over keys that a flip may have missed (ADR 0046)."""


class DeadLetter(Document, frozen=True):
    """A record that couldn't be applied, or that no pod wrote (a stray, ADR 0016), with its payload.

    Attributes:
        consumer: the consumer that parked it, named as in `Report`.
        sequence: opaque; identifies the letter together with the consumer. Either the position in the stream,
            "shard:sequence number", or for a stray "stray:…", derived from the write, so that a record read twice
            makes one letter.
        key: the encoded key; empty if the record couldn't be decoded.
        version: version of the transfer; null if there is none.
        reason: why it was parked, for people.
        code: why it was parked, for programs: "conflict", "poison_record", "unmappable", "unversioned", "stray" …
        payload: the record as it arrived.
        trace: traceparent of the write, if the record carries one.
        at_us: when it was parked, µs.
        table: table that the record came from; empty if it couldn't be decoded.
        committed_us: commit time of the record in that table, µs; 0 if it couldn't be decoded.
        settled: whether nothing is left to do but stop the writer: a stray on an owner, already carried over.
        cure: what to do about it, in one sentence; empty if the code says enough.
    """

    NAME: ClassVar[str] = "dead letter"

    consumer: str
    sequence: str
    key: Key
    version: int | None
    reason: str
    code: str
    payload: bytes
    trace: str
    at_us: int
    table: str = ""
    committed_us: int = 0
    settled: bool = False
    cure: str = ""
