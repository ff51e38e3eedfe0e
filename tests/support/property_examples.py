"""How many examples a property has: what it says in `make test`, a quarter of them in `make check`."""

from __future__ import annotations

from hypothesis import settings


def examples(count: int) -> int:
    """Return how many of `count` examples the profile in force (conftest.py) wants."""
    return max(1, count * settings().max_examples // 100)
