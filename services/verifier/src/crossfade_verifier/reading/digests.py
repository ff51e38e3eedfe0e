"""Digests that add up, by bucket.

xxh3 at 128 bits: two copies of our own data are compared, where errors are accidents and nobody gains by a collision.
Digests are *added* (mod 2^128), not XORed: under XOR two equal wrong rows cancel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

import xxhash

MODULUS: Final = 2**128
_BUCKET_SEED: Final = 2
_point = xxhash.xxh3_64_intdigest

BucketSum: TypeAlias = tuple[int, bytes, int]
"""Number of a bucket, its sum as 16 bytes, its count."""


def bucket_of(key: bytes, buckets: int) -> int:
    """Return the number of an encoded key's bucket."""
    return _point(key, _BUCKET_SEED) % buckets


class BucketDigests:
    """Per bucket the sum of digests and their count, free of order. All digests of one are of one form."""

    def __init__(self, buckets: int) -> None:
        self._sums, self._counts = [0] * buckets, [0] * buckets

    def count(self, digests: Iterable[tuple[bytes, int]]) -> None:
        """Count (encoded key, digest)."""
        sums, counts, buckets = self._sums, self._counts, len(self._sums)
        for key, digest in digests:
            bucket = _point(key, _BUCKET_SEED) % buckets
            sums[bucket] = (sums[bucket] + digest) % MODULUS
            counts[bucket] += 1

    def buckets(self) -> Iterator[tuple[int, int]]:
        """Return (sum, count) of each bucket."""
        return zip(self._sums, self._counts, strict=True)

    def sums(self) -> list[BucketSum]:
        """Return the buckets that have anything in them."""
        return [
            (number, total.to_bytes(16, "big"), count)
            for number, (total, count) in enumerate(self.buckets())
            if total or count
        ]

    def add(self, sums: Iterable[BucketSum]) -> None:
        """Add what `sums` returned of as many buckets; of more or fewer, nothing."""
        for number, total, count in sums:
            self._sums[number] = (self._sums[number] + int.from_bytes(total, "big")) % MODULUS
            self._counts[number] += count


class SideDigests:
    """One side: what was read value by value, and what was proven equal, which is the same for both sides."""

    def __init__(self, proven: BucketDigests, buckets: int) -> None:
        self._proven, self.valued = proven, BucketDigests(buckets)

    @property
    def count(self) -> int:
        """Rows counted."""
        return sum(count for each in (self._proven, self.valued) for _, count in each.buckets())

    @property
    def total(self) -> int:
        """One number for all; whoever compares sides compares buckets of one form (`differing`)."""
        return sum(total for each in (self._proven, self.valued) for total, _ in each.buckets()) % MODULUS

    def buckets(self) -> Iterator[tuple[int, int]]:
        """Return (sum, count) of each bucket, over both forms."""
        pairs = zip(self._proven.buckets(), self.valued.buckets(), strict=True)
        return (((ours[0] + theirs[0]) % MODULUS, ours[1] + theirs[1]) for ours, theirs in pairs)

    def differing(self, other: SideDigests) -> list[int]:
        """Return the numbers of the buckets in which two sides differ; what is proven equal can't."""
        pairs = zip(self.valued.buckets(), other.valued.buckets(), strict=True)
        return [number for number, (ours, theirs) in enumerate(pairs) if ours != theirs]
