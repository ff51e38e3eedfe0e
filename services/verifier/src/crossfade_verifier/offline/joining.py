"""Rows of both exports joined by key and judged, as a pass judges rows that it reads once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, BinaryIO, Final, cast

import msgspec
import xxhash
from msgspec import Raw

from crossfade.core.parity import plain
from crossfade.core.parity.classes import Difference, Pair, agrees, classify
from crossfade.core.parity.classes import Reading as Reads
from crossfade.core.protocol.seam import RowReader
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Side
from crossfade_verifier.findings import sample
from crossfade_verifier.protocols import rows_at_rest
from crossfade_verifier.reading.pages import Reading
from crossfade_verifier.reading.plain import PlainReading
from crossfade_verifier.reading.rows import Seen

BEHIND: Final = "behind"
"""The class of a standby that is behind its owner: in flight or stuck, which one moment can't tell."""

TWICE: Final = "the key is twice in the export of {side}: it is damaged"
_BATCH: Final = 500
_GO_SEED: Final = 4
_point = xxhash.xxh3_64_intdigest


class _Line(msgspec.Struct, gc=False):
    Item: Raw


_decode_lines = msgspec.json.Decoder(_Line).decode_lines


class Joined:
    """What became of joined rows.

    Attributes:
        verified: keys found equal.
        rows: by side, rows joined.
        counts: keys by class.
        samples: some keys of each class, described.
    """

    def __init__(self, kept: int) -> None:
        self.kept, self.verified = kept, 0
        self.rows = dict.fromkeys(Side, 0)
        self.counts: dict[str, int] = {}
        self.samples: dict[str, list[dict[str, Any]]] = {}

    def call(self, name: str, shown: dict[str, Any]) -> None:
        """Count a key of a class."""
        self.counts[name] = self.counts.get(name, 0) + 1
        samples = self.samples.setdefault(name, [])
        if len(samples) < self.kept:
            samples.append(shown)

    def packed(self) -> list[Any]:
        """Return everything ready to be encoded."""
        return [self.verified, [self.rows[side] for side in Side], self.counts, self.samples]

    def plus(self, packed: list[Any]) -> None:
        """Add what `packed` gave of other rows."""
        verified, rows, counts, samples = packed
        self.verified += verified
        for side, count in zip(Side, rows, strict=True):
            self.rows[side] += count
        for name, count in counts.items():
            self.counts[name] = self.counts.get(name, 0) + count
            self.samples[name] = (self.samples.get(name, []) + samples[name])[: self.kept]


class Join:
    """Joins rows of both sides. `complete`: whether a row without a role in the target table owns its key."""

    def __init__(self, reading: Reading, *, complete: bool, kept: int) -> None:
        self._reading, self._kept = reading, kept
        self._own = rows_at_rest(reading, complete=complete)
        self._rows = cast("RowReader", self._own)

    def run(
        self,
        source: Iterable[bytes],
        target: Iterable[bytes],
        go: int,
        goes: int,
        joined: Joined,
        out: BinaryIO,
        tick: Callable[[int], None],
    ) -> None:
        """Join the rows of one place, or one share of them.

        Args:
            source: lines of the source table's export, of rows that belong.
            target: the target table's, of the same keys.
            go: number of the share.
            goes: how many there are.
            joined: where it counts.
            out: gets every difference, a line each.
            tick: called with the number of rows joined.
        """
        held: dict[bytes, bytes] = {}
        for rows in self._batches(Side.SOURCE, source, go, goes):
            joined.rows[Side.SOURCE] += len(rows)
            tick(len(rows))
            for key, raw in rows:
                if key in held:
                    self._call(joined, out, Difference.UNREADABLE.value, _twice(key, Side.SOURCE))
                held[key] = raw
        for rows in self._batches(Side.TARGET, target, go, goes):
            joined.rows[Side.TARGET] += len(rows)
            tick(len(rows))
            pairs = [(key, held.pop(key, None), raw) for key, raw in rows]
            self._compare(pairs, joined, out)
        left = iter(held.items())
        while batch := list(islice(left, _BATCH)):
            self._compare([(key, raw, None) for key, raw in batch], joined, out)

    def _batches(self, side: Side, lines: Iterable[bytes], go: int, goes: int) -> Iterator[list[tuple[bytes, bytes]]]:
        """Yield (encoded key, raw row) of one share of the rows."""
        lines = iter(lines)
        while batch := list(islice(lines, _BATCH)):
            raws = [bytes(each.Item) for each in _decode_lines(b"\n".join(batch))]
            keys = [key for key, _ in self._reading.page(side, _answer(raws)).rows]
            yield [
                (key, raw)
                for key, raw in zip(keys, raws, strict=True)
                if goes == 1 or _point(key, _GO_SEED) % goes == go
            ]

    def _compare(
        self, pairs: Sequence[tuple[bytes, bytes | None, bytes | None]], joined: Joined, out: BinaryIO
    ) -> None:
        sides = {}
        for side, raws in ((Side.SOURCE, [raw for _, raw, _ in pairs]), (Side.TARGET, [raw for _, _, raw in pairs])):
            found = iter(self._reading.page(side, _answer([raw for raw in raws if raw is not None])).rows)
            sides[side] = [None if raw is None else next(found)[1] for raw in raws]
        keys = [key for key, _, _ in pairs]
        compared = self._reading.compare(zip(keys, sides[Side.SOURCE], sides[Side.TARGET], strict=True), self._own)
        joined.verified += len(compared.proven)
        for key, one, other in compared.left:
            self._judge(Key(key), one, other, joined, out)

    def _judge(self, key: Key, source: Seen | None, target: Seen | None, joined: Joined, out: BinaryIO) -> None:
        pair, rows = Pair(source, target), self._rows
        if agrees(pair, rows):
            joined.verified += 1
            return
        side = rows.owner_of(*pair) or Side.SOURCE
        owner, standby = pair.of(side), pair.of(side.other)
        reads = Reads(side, owner, standby, owner)
        if isinstance(self._reading, PlainReading):
            found: Difference | None = plain.classify(reads, rows)
            found = Difference.STUCK if found is Difference.DIVERGED else found  # one moment tells no movement
        else:
            found = classify(reads, rows, reached=rows.version_of(owner), late=True)
        if found is None:
            raise AssertionError(f"{key.decode()}: both reads of the owner are one, and differ")
        shown = sample(key, pair, rows)
        causes = {each: rows.why_unreadable(pair.of(each)) for each in Side}
        if any(causes.values()):
            shown["cause"] = "; ".join(f"{each.value}: {cause}" for each, cause in causes.items() if cause)
        name = BEHIND if found in (Difference.STUCK, Difference.IN_FLIGHT) else found.value
        self._call(joined, out, name, shown)

    def _call(self, joined: Joined, out: BinaryIO, name: str, shown: dict[str, Any]) -> None:
        joined.call(name, shown)
        out.write(msgspec.json.encode({"class": name, **shown}) + b"\n")


def _answer(raws: Sequence[bytes]) -> bytes:
    """Return rows as an answer of Scan."""
    return b'{"Items":[%b],"ScannedCount":%d}' % (b",".join(raws), len(raws))


def _twice(key: bytes, side: Side) -> dict[str, Any]:
    return {"key": key.decode(), "cause": TWICE.format(side=side.value)}
