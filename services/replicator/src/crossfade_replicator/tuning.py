"""Process-wide settings that the apply path's speed depends on."""

from __future__ import annotations

import gc


def tune_garbage_collection() -> None:
    """Look for reference cycles seldom: a batch makes tens of thousands of objects, and none of them is in a cycle."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
