"""Where a key falls: its bucket, and whether it is sampled. One function each, over the encoded key.

The ramp's own is `crossfade.core.ownership.ramp.ramp_point`. Each has a seed of its own, so that a bucket or a sample
is spread evenly over the ramp instead of being a part of it.
"""

from __future__ import annotations

from typing import Final

import xxhash

from crossfade.core.values.keys import Key

SAMPLE_SPACE: Final = 1_000_000
"""Sampling rates are counted in keys per million."""

_BUCKET_SEED: Final = 2
_SAMPLE_SEED: Final = 3


def bucket_of(key: Key, buckets: int) -> int:
    """Return the bucket of a key, 0 to `buckets` - 1."""
    bucket: int = xxhash.xxh3_64_intdigest(key, seed=_BUCKET_SEED) % buckets
    return bucket


def is_sampled(key: Key, per_million: int) -> bool:
    """Say whether a key is in the sample; a key stays in when the rate rises."""
    point: int = xxhash.xxh3_64_intdigest(key, seed=_SAMPLE_SEED) % SAMPLE_SPACE
    return point < per_million
