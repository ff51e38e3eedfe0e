"""What samples prove of a mapping: that a row comes back as it was, and that no two rows meet in one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Raw

from crossfade.core.mapping.interface import Mapping as MappingProtocol
from crossfade.core.mapping.rows import image_of_row
from crossfade.core.values.canonical import same_value
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.keys import Key, encode_key, key_image
from crossfade.core.values.shape import Direction


def prove_round_trip(mapping: MappingProtocol, direction: Direction, row: Mapping[str, Any]) -> list[str]:
    """Map a row there and back, and name what comes back changed; nothing named means proven.

    Args:
        mapping: the mapping to prove.
        direction: whose source the row is from.
        row: as it stands in that table; raw, or as boto3 gives it (`crossfade.core.mapping.rows`).

    Returns:
        Attributes, in the source's names (`cf_ttl` for the TTL value), that are lost, added or changed.

    Raises:
        ConfigError: the row has a value that no table holds.
        PoisonRecord: the row can't be mapped there, or its image not back.
    """
    image, spelling = image_of_row(row), mapping.protocol.spelling
    back = Direction.REVERSE if direction is Direction.FORWARD else Direction.FORWARD
    source, target = mapping.shape(direction.origin), mapping.shape(direction.destination)
    there = mapping.carry(direction, image)
    other = mapping.other_key(direction, encode_key(image, source.key), image)
    returned = mapping.carry(back, key_image(other, target.key) | there)
    aside = {*source.key, *spelling.own, *spelling.ignored}
    expected = {name: raw for name, raw in image.items() if name not in aside and name not in source.kept}
    returned = {name: raw for name, raw in returned.items() if name not in target.kept}
    if spelling.ttl and source.ttl in expected:
        expected[spelling.ttl] = expected.pop(source.ttl)
    return differing(expected, returned)


def differing(one: Mapping[str, Raw], other: Mapping[str, Raw]) -> list[str]:
    """Name the attributes that two images don't have alike."""
    return sorted(
        name
        for name in one.keys() | other.keys()
        if name not in one or name not in other or not same_value(one[name], other[name])
    )


def why_not_one_to_one(mapping: MappingProtocol, keys: Iterable[Key]) -> list[str]:
    """Say which sampled keys of the source a mapping can't bring over one to one; empty when it can.

    Args:
        mapping: of the migration.
        keys: of sampled rows.
    """
    found, wrong = dict[Key, Key](), list[str]()
    for key in keys:
        try:
            there = mapping.other_key(Direction.FORWARD, key, None)
        except PoisonRecord as error:
            wrong.append(f"{key.decode()}: {error}")
            continue
        first = found.setdefault(there, key)
        if first != key:
            wrong.append(f"{key.decode()}: has the same key in the target as {first.decode()}")
    return wrong
