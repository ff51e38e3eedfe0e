"""Content: its canonical form, whether two items have the same, and digests that add up.

DynamoDB JSON is not unique: engines space it differently, sets and maps have no order, `7.50` is `7.5`. So raw bytes
that are equal mean equal values, but bytes that differ mean nothing yet: the decoded, canonical form decides.

Digests are xxh3 at 128 bits. They are compared between two copies of our own data, where errors are accidents and
nobody gains by a collision; a cryptographic hash would cost several times as much and guard against nothing here.
Digests of items are *added* (mod 2^128), not XORed: under XOR two equal wrong rows cancel.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import xxhash
from msgspec import Raw

from crossfade.core.errors import PoisonRecord
from crossfade.core.hashes import bucket_of
from crossfade.core.item import Item
from crossfade.core.keys import Key
from crossfade.core.numbers import normal_number

MODULUS: Final = 2**128

_TTL_NAME: Final = "\x00ttl"
"""Stands for the TTL value among the attributes; no attribute is called so."""

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder(order="sorted").encode


def canonical_value(raw: Raw | bytes) -> bytes:
    """Return the canonical form of one attribute value: equal exactly when the values are equal.

    Raises:
        PoisonRecord: it is no attribute value.
    """
    return _encode(_canonical(_parse(raw)))


def canonical_content(item: Item) -> bytes:
    """Return the canonical form of an item's mapped attributes and its TTL value.

    A tombstone or stub has none, so all of them are the same. Protocol attributes are not content.

    Raises:
        PoisonRecord: a value is no attribute value.
    """
    if item.deleted:
        return b"{}"
    content = {name: _canonical(_parse(raw)) for name, raw in item.content}
    if item.ttl:
        content[_TTL_NAME] = _canonical(_parse(item.ttl))
    return _encode(content)


def same_value(one: Raw | bytes, other: Raw | bytes) -> bool:
    """Say whether two raw values are the same value."""
    return bytes(one) == bytes(other) or canonical_value(one) == canonical_value(other)


def same_content(one: Item, other: Item) -> bool:
    """Say whether two items, both in the names of one side, have the same content.

    Two tombstones have; a tombstone and a live item never have, not even an empty one.

    Raises:
        PoisonRecord: a value is no attribute value.
    """
    if one.deleted or other.deleted:
        return one.deleted and other.deleted
    if one.content == other.content and one.ttl == other.ttl:
        return True
    return canonical_content(one) == canonical_content(other)


def item_digest(key: Key, item: Item) -> int:
    """Return the digest of a live item, 128 bits; the key is part of it, or two swapped rows would add up the same.

    Args:
        key: the encoded key.
        item: in the names of the new table, whichever table it stands in.
    """
    digest: int = xxhash.xxh3_128_intdigest(b"%d:%b%b" % (len(key), key, canonical_content(item)))
    return digest


class BucketDigests:
    """Running digests of one side: per bucket the sum of its items' digests and their count, free of order."""

    def __init__(self, buckets: int) -> None:
        self._sums = [0] * buckets
        self._counts = [0] * buckets

    def add(self, key: Key, item: Item | None) -> None:
        """Count an item. An absent one, a tombstone and a stub count nothing."""
        if item is not None and not item.deleted:
            self._move(key, item_digest(key, item), 1)

    def count_digest(self, key: Key, digest: int) -> None:
        """Count an item by its digest, where that is known."""
        self._move(key, digest, 1)

    def remove(self, key: Key, item: Item | None) -> None:
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


def _parse(raw: Raw | bytes) -> Any:
    try:
        return _decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise PoisonRecord(f"not an attribute value: {error}") from error


def _canonical(value: Any) -> Any:
    """Canonicalise one decoded value; text needs nothing, so it comes first."""
    if not isinstance(value, dict) or len(value) != 1:
        raise PoisonRecord(f"not an attribute value: {str(value)[:80]!r}")
    ((kind, inner),) = value.items()
    try:
        match kind:
            case "S" if isinstance(inner, str):
                return value
            case "BOOL" | "NULL" if isinstance(inner, bool):
                return value
            case "N":
                return {kind: normal_number(inner)}
            case "B":
                return {kind: _base64(inner)}
            case "M":
                return {kind: {name: _canonical(each) for name, each in inner.items()}}
            case "L":
                return {kind: [_canonical(each) for each in inner]}
            case "SS":
                return {kind: sorted(map(_text, inner))}
            case "NS":
                return {kind: sorted(map(normal_number, inner))}
            case "BS":
                return {kind: sorted(map(_base64, inner))}
    except (TypeError, ValueError, AttributeError) as error:
        raise PoisonRecord(f"not a value of type {kind}: {str(inner)[:80]!r}") from error
    raise PoisonRecord(f"no value of a known type: {str(value)[:80]!r}")


def _text(text: Any) -> str:
    if not isinstance(text, str):
        raise TypeError
    return text


def _base64(text: str) -> str:
    try:
        return b64encode(b64decode(text, validate=True)).decode()
    except binascii.Error as error:
        raise PoisonRecord(f"not base64: {text[:80]!r}") from error
