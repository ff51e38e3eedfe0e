"""Marks of values: two values that differ look different, and neither is shown (ADR 0039).

A mark is a hash under a key that this process makes at its start and never writes down. So it can be compared with the
other marks of the same process, and with nothing else: who has a list of likely values can't hash them and look.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

from crossfade.core.values.canonical import canonical_value
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.masking import described

_KEY: Final = secrets.token_bytes(32)

MARK_BYTES: Final = 4
"""Of one mark: two values of a page look alike by accident once in 4 billion pairs."""


def mark_of(form: bytes) -> str:
    """Return the mark of a value, hexadecimal.

    Args:
        form: canonical, so that one value has one mark however it is spelled.
    """
    return hashlib.blake2b(form, key=_KEY, digest_size=MARK_BYTES).hexdigest()


def veiled(raw: bytes) -> str:
    """Return what may be shown of a value in a text: "S of 4 characters #3f9a01bc".

    Args:
        raw: an attribute value, as DynamoDB has it.
    """
    try:
        form = canonical_value(raw)
    except PoisonRecord:
        form = raw
    return f"{described(raw)} #{mark_of(form)}"


def plain(raw: bytes) -> str:
    """Return a value as it is: for what an operator reveals."""
    return raw.decode(errors="replace")
