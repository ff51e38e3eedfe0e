"""The difference of both sides' sums, bucket by bucket, kept up by the change records of both streams.

Each record takes the digest of the image before it out of its side's sum and puts the one after it in. Records commute,
so their order means nothing; once a key's last change has arrived on both sides, both sums have moved by the same, and
the difference is what it was. A clean pass makes it zero (`rebase`), so a bucket that differs while none of its keys is
open says that a record was lost, or counted twice, or that something changed without one. That asks for a pass, and is
no proof: only reads call a class.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from crossfade.core.values.shape import Side
from crossfade_verifier.reading.digests import MODULUS, bucket_of


class RunningDifference:
    """Differences of the buckets.

    Attributes:
        based: whether a clean pass has told what it is; nothing is counted before.
    """

    def __init__(self, buckets: int) -> None:
        """Start with nothing known.

        Args:
            buckets: how many.
        """
        self._buckets: Final = buckets
        self._by_bucket: dict[int, int] = {}
        self._open: Counter[int] = Counter()
        self._to_rebase: set[int] = set()
        self._unknown: set[int] = set()
        self._off_since_s: dict[int, float] = {}
        self.based = False

    def bucket_of(self, key: bytes) -> int:
        """Return the number of a key's bucket."""
        return bucket_of(key, self._buckets)

    def count(self, side: Side, bucket: int, before: int, after: int) -> None:
        """Count a change of one side.

        Args:
            side: whose.
            bucket: of the key.
            before: digest of the image before; 0 for nothing.
            after: digest of the image after; 0 for nothing.
        """
        change = after - before if side is Side.SOURCE else before - after
        if change and self.based:
            difference = (self._by_bucket.get(bucket, 0) + change) % MODULUS
            if difference:
                self._by_bucket[bucket] = difference
            else:
                del self._by_bucket[bucket]
                self._off_since_s.pop(bucket, None)

    def open(self, bucket: int) -> None:
        """Note a key whose sides aren't known to be the same."""
        self._open[bucket] += 1
        self._off_since_s.pop(bucket, None)

    def close(self, bucket: int, *, equal: bool) -> None:
        """Note that a key's sides are the same, or that nobody watches it any more: then the bucket isn't known."""
        if not equal:
            self._unknown.add(bucket)
        if self._open[bucket] > 1:
            self._open[bucket] -= 1
            return
        del self._open[bucket]
        if bucket in self._to_rebase:
            self._zero(bucket)

    def forget(self) -> None:
        """Know nothing any more: records were lost. `open` keys stay."""
        self.based = False
        for each in (self._by_bucket, self._to_rebase, self._unknown, self._off_since_s):
            each.clear()

    def rebase(self) -> None:
        """Take a clean pass as the base: what has no open key is the same on both sides; what has, once it has none."""
        self.forget()
        self.based = True
        self._to_rebase.update(self._open)

    def _zero(self, bucket: int) -> None:
        self._to_rebase.discard(bucket)
        self._by_bucket.pop(bucket, None)
        self._off_since_s.pop(bucket, None)

    def off(self, now_s: float, bound_s: float) -> list[int]:
        """Return the buckets that have differed for longer than a record may be late, without an open key."""
        for bucket in self._by_bucket:
            if bucket not in self._open and bucket not in self._unknown:
                self._off_since_s.setdefault(bucket, now_s)
        return sorted(bucket for bucket, since_s in self._off_since_s.items() if now_s - since_s >= bound_s)
