"""Digests of items that add up, by bucket.

Digests are xxh3 at 128 bits. They are compared between two copies of our own data, where errors are accidents and
nobody gains by a collision; a cryptographic hash would cost several times as much and guard against nothing here.
Digests of items are *added* (mod 2^128), not XORed: under XOR two equal wrong rows cancel.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import xxhash

from crossfade.core.protocol.row import Row, canonical_content
from crossfade.core.values.hashes import bucket_of
from crossfade.core.values.keys import Key

MODULUS: Final = 2**128


def item_digest(key: Key, item: Row) -> int:
    """Return the digest of a live item, 128 bits; the key is part of it, or two swapped rows would add up the same.

    Args:
        key: the encoded key.
        item: in the names of the target table, whichever table it stands in.
    """
    digest: int = xxhash.xxh3_128_intdigest(b"%d:%b%b" % (len(key), key, canonical_content(item)))
    return digest


class BucketDigests:
    """Running digests of one side: per bucket the sum of its items' digests and their count, free of order."""

    def __init__(self, buckets: int) -> None:
        self._sums = [0] * buckets
        self._counts = [0] * buckets

    def add(self, key: Key, item: Row | None) -> None:
        """Count an item. An absent one, a tombstone and a stub count nothing."""
        if item is not None and not item.deleted:
            self._move(key, item_digest(key, item), 1)

    def count_digest(self, key: Key, digest: int) -> None:
        """Count an item by its digest, where that is known."""
        self._move(key, digest, 1)

    def remove(self, key: Key, item: Row | None) -> None:
        """Take back what `add` counted for the same item."""
        if item is not None and not item.deleted:
            self._move(key, -item_digest(key, item), -1)

    def _move(self, key: Key, digest: int, count: int) -> None:
        bucket = bucket_of(key, len(self._sums))
        self._sums[bucket] = (self._sums[bucket] + digest) % MODULUS
        self._counts[bucket] += count

    @property
    def count(self) -> int:
        """Items counted."""
        return sum(self._counts)

    @property
    def total(self) -> int:
        """Sum of all buckets."""
        return sum(self._sums) % MODULUS

    def buckets(self) -> Iterator[tuple[int, int]]:
        """Return (sum, count) of each bucket."""
        return zip(self._sums, self._counts, strict=True)

    def differing(self, other: BucketDigests) -> list[int]:
        """Return the numbers of the buckets in which two sides differ."""
        pairs = zip(self.buckets(), other.buckets(), strict=True)
        return [number for number, (ours, theirs) in enumerate(pairs) if ours != theirs]
