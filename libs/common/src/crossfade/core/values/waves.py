"""Batches that hold each key once: DynamoDB refuses a request that names an item twice."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def waves(items: Iterable[tuple[bytes, T]]) -> list[list[T]]:
    """Split items into waves that hold each key once, keeping the order of each key (rule 8, rule 10).

    Args:
        items: key and item, in order.
    """
    depth: dict[bytes, int] = {}
    found: list[list[T]] = []
    for key, item in items:
        level = depth.get(key, 0)
        depth[key] = level + 1
        if level == len(found):
            found.append([])
        found[level].append(item)
    return found
