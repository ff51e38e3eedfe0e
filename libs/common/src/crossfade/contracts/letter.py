"""Dead letters: written by consumers and the sweeper, read by operators, gates and redrive."""

from __future__ import annotations

from typing import ClassVar, Final

from crossfade.contracts.document import Document
from crossfade.core.values.keys import Key

STRAY: Final = "stray"
"""Code of the dead letters that tell of a writer outside the protocol."""

DIVERGED: Final = "diverged"
"""Code of the dead letters that tell of a key whose rows hold different things at one version (ADR 0017)."""


class DeadLetter(Document, frozen=True):
    """A record that could not be applied, or that no pod made (a stray, ADR 0016), with its payload.

    Attributes:
        role: the consumer that parked it, as in `Report`.
        sequence: opaque, with the role it is the letter's identity: the stream position "shard:sequence number", or of
            a stray "stray:…", which is the same whenever and wherever the same write is read again.
        key: the encoded key; empty when the record could not be decoded.
        version: of the transfer; None when there is none.
        reason: for a person.
        code: for machines: "conflict", "poison_record", "unmappable", "unversioned", "stray" …
        payload: the record as it came.
        trace: traceparent of the write, if the record carries one.
        at_us: when it was parked.
        table: that the record tells of; empty when it could not be decoded.
        committed_us: commit time of the record in that table, µs; 0 when it could not be decoded.
        settled: nothing is left to do but to stop the writer: a stray on an owner, which was carried over and lifted.
        cure: what a person does about it, one sentence; empty where the code says enough.
    """

    NAME: ClassVar[str] = "dead letter"

    role: str
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
