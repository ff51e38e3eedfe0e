"""What a mapping says of itself, as plain data: for whoever checks it by a route of its own (ADR 0035).

`crossfade.core.mapping.rules` publishes it from the rules as they were written, not from what it compiles of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from msgspec import Raw

from crossfade.core.values.shape import Side

Attributes: TypeAlias = dict[str, Raw]
"""Attribute name to one raw DynamoDB JSON value."""


class Computed(NamedTuple):
    """Attributes whose values are computed from each other.

    Attributes:
        source: names in the source table.
        target: names in the target table.
        forward: the author's function from source to target; it may raise anything.
        reverse: its inverse.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    forward: Callable[[Attributes], Attributes]
    reverse: Callable[[Attributes], Attributes]


class Declared(NamedTuple):
    """What was declared of two tables.

    Attributes:
        keys: names of the key attributes by side, in the order of the key schema; values are the same on both sides,
            unless there is a `source_key`.
        ttl: the attribute whose value travels as `cf_ttl`; None when there is none, as always under the plain protocol.
        moved: (source name, target name) of attributes that keep their value.
        constants: (side, name, raw value) of attributes that only one side has, always with this value.
        computed: the rest.
        is_open: whether an attribute that nothing names is kept under its own name instead of refused.
        prefixes: each key attribute of a row that belongs is a string that begins so; None when a function decides.
        belongs: says whether a row belongs, by its encoded key in the source.
        source_key: the encoded key in the source of a row of the target, by its encoded key there and its attributes;
            raises a PoisonRecord where there is none. None where keys keep their values.
    """

    keys: dict[Side, tuple[str, ...]]
    ttl: str | None
    moved: tuple[tuple[str, str], ...]
    constants: tuple[tuple[Side, str, bytes], ...]
    computed: tuple[Computed, ...]
    is_open: bool
    prefixes: tuple[str, ...] | None
    belongs: Callable[[bytes], bool]
    source_key: Callable[[bytes, Attributes], bytes] | None = None
