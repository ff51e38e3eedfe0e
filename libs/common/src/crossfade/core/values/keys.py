"""The encoded key: one spelling of an item's key for both tables, every hash, mark, event and dead letter.

A mapping may rename key attributes but never changes their values, so a key encodes the same on either side.
The encoding is the JSON list of the canonical key values, in the order of the key schema:
`[{"S":"ART#7"},{"S":"SHOP#north"}]`. It is read by people and decoded by machines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NewType

import msgspec
from msgspec import Raw

from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.image import Image
from crossfade.core.values.masking import reason_of
from crossfade.core.values.numbers import normal_number

Key = NewType("Key", bytes)
"""An encoded key."""

_decode_values = msgspec.json.Decoder(dict[str, str]).decode
decode_key = msgspec.json.Decoder(list[Raw]).decode
"""Returns the raw values of an encoded key."""

_encode = msgspec.json.encode


def encode_key(image: Mapping[str, Raw], names: Sequence[str]) -> Key:
    """Encode the key of an item.

    Args:
        image: the item, or just its key attributes.
        names: of the key attributes, in the order of the key schema.

    Raises:
        PoisonRecord: a key attribute is missing, or no valid key value.
    """
    try:
        return key_of_values({name: _decode_values(image[name]) for name in names}, names)
    except KeyError as error:
        raise PoisonRecord(f"the item has no key attribute {error.args[0]!r}") from error
    except msgspec.MsgspecError as error:
        raise PoisonRecord(f"not a key value: {reason_of(error)}") from error


def key_of_values(decoded: Mapping[str, dict[str, str]], names: Sequence[str]) -> Key:
    """Encode a key whose values are decoded already: `{"pk": {"S": "USER#7"}}`.

    Args:
        decoded: the key attributes by name.
        names: of the key attributes, in the order of the key schema.

    Raises:
        PoisonRecord: a key attribute is missing, or no valid key value.
    """
    values = []
    try:
        for name in names:
            value = decoded[name]
            if "N" in value:
                value["N"] = normal_number(value["N"])
            values.append(value)
    except KeyError as error:
        raise PoisonRecord(f"the item has no key attribute {error.args[0]!r}") from error
    return Key(_encode(values))


def key_image(key: Key, names: Sequence[str]) -> Image:
    """Return the key attributes of an encoded key, named as `names` says."""
    return dict(zip(names, decode_key(key), strict=True))


def key_of_strings(*values: str) -> Key:
    """Encode a key of string values: `key_of_strings("ART#7", "SHOP#north")`."""
    return Key(_encode([{"S": value} for value in values]))
