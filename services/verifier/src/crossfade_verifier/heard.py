"""The last change records of both streams, for whoever asks about a key: bounded, and without values."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from msgspec import Raw

from crossfade.core.replication.change import Change, ChangeKind
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.image import Image
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade_verifier.reading.rows import GENERATION, ROLE, VERSION
from crossfade_verifier.reading.values import value_of

REMEMBERED: Final = 10_000
"""Records of each stream; the oldest are forgotten."""

OF_A_KEY: Final = 10
"""Records of one key and stream that are listed."""

_LONGEST: Final = 64
"""Bytes of a protocol attribute that are kept: a version or a generation has fewer."""


class Record(NamedTuple):
    """One change record.

    Attributes:
        key: the encoded key.
        heard_s: when it was read, monotonic.
        kind: what happened.
        committed_us: commit time in its table, µs.
        expired: whether the table's TTL deleted the row.
        version: raw `cf_mv` of the image after the change; empty where there is none.
        role: raw `cf_role`, likewise.
        generation: raw `cf_gen`, likewise.
    """

    key: Key
    heard_s: float
    kind: ChangeKind
    committed_us: int
    expired: bool
    version: bytes
    role: bytes
    generation: bytes


class Heard:
    """Remembers records. A busy stream doesn't push out those of the other."""

    def __init__(self, now_s: Callable[[], float], remembered: int = REMEMBERED) -> None:
        """Remember nothing yet.

        Args:
            now_s: monotonic clock.
            remembered: records of each stream.
        """
        self._now_s, self._most = now_s, remembered
        self._records: dict[Side, deque[Record]] = {side: deque(maxlen=remembered) for side in Side}

    def hear(self, side: Side, change: Change) -> None:
        """Take in a change record of either stream."""
        image = change.new or {}
        self._records[side].append(
            Record(
                change.key,
                self._now_s(),
                change.kind,
                change.committed_us,
                change.expired,
                *(_kept(image, name) for name in (VERSION, ROLE, GENERATION)),
            )
        )

    def of(self, key: Key, side: Side) -> list[Record]:
        """Return the last records of a key, newest first."""
        return [each for each in reversed(self._records[side]) if each.key == key][:OF_A_KEY]

    def since_s(self, side: Side) -> float | None:
        """Return from when on no record was forgotten, monotonic; None while none was forgotten."""
        records = self._records[side]
        return records[0].heard_s if len(records) == self._most else None


def text_of(raw: bytes) -> str | None:
    """Return what is in a protocol attribute of a record; None where there is none, or nothing that can be read."""
    try:
        return str(value_of(raw)[1]) if raw else None
    except PoisonRecord:
        return None


def _kept(image: Image, name: str) -> bytes:
    raw = image.get(name, Raw(b""))
    return bytes(raw) if len(raw) <= _LONGEST else b""
