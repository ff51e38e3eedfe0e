"""Whether a key is sampled, by its encoded form.

The ramp's own hash is `crossfade.core.ownership.ramp.ramp_point`, the verifier's buckets have theirs. Each has a seed
of its own, so that a bucket or a sample is spread evenly over the ramp instead of being a part of it.
"""

from __future__ import annotations

from typing import Final

import xxhash

from crossfade.core.values.keys import Key

SAMPLE_SPACE: Final = 1_000_000
"""Sampling rates are counted in keys per million."""

_SAMPLE_SEED: Final = 3


def is_sampled(key: Key, per_million: int) -> bool:
    """Say whether a key is in the sample; a key stays in when the rate rises."""
    point: int = xxhash.xxh3_64_intdigest(key, seed=_SAMPLE_SEED) % SAMPLE_SPACE
    return point < per_million
