"""Keys as people write them: encoded, as every report shows them, or short."""

from __future__ import annotations

from typing import Final

import msgspec

from crossfade.core.mapping.interface import Mapping
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.keys import Key, encode_key, key_image, key_of_strings
from crossfade.core.values.shape import Side
from crossfade.runtime.http import invalid

SEPARATOR: Final = "/"
"""Between the values of a short key."""

_decode = msgspec.json.Decoder(list[dict[str, str]]).decode


def key_of_text(text: str, mapping: Mapping, *, field: str = "key") -> Key:
    """Read a key of the migration.

    Args:
        text: encoded, `[{"S":"ART#7"},{"S":"SHOP#1"}]`, or short, "ART#7/SHOP#1", where all its values are strings.
        mapping: of the migration.
        field: its name in the error.

    Raises:
        HttpRefused: 400, it isn't a key of the migration.
    """
    names = mapping.shape(Side.SOURCE).key
    try:
        if text.startswith("["):
            key = encode_key(key_image(Key(text.encode()), names), names)
        else:
            parts = text.split(SEPARATOR)
            if len(parts) != len(names) or not all(parts):
                raise ValueError("another number of values")
            key = key_of_strings(*parts)
    except (PoisonRecord, ValueError) as error:
        example = ",".join(f'{{"S":"{name}"}}' for name in names)
        raise invalid(
            f"{field}: {text[:80]!r} is not a key of {len(names)} values ({', '.join(names)}): give it encoded, as "
            f"/parity shows it, [{example}], or short, {SEPARATOR.join(names)}, and URL-escaped in a path"
        ) from error
    if not mapping.belongs(key):
        raise invalid(f"{field}: {text[:80]!r} does not belong to the migration: the mapping {mapping.name!r} decides")
    return key


def short_of(key: bytes) -> str | None:
    """Return a key's short form; None where it has none: a value is no string, or contains the separator."""
    texts = [each.get("S", "") for each in _decode(key)]
    if not all(texts) or any(SEPARATOR in each for each in texts) or texts[0].startswith("["):
        return None
    return SEPARATOR.join(texts)
