"""Values of customers without what is in them (ADR 0039): by type and size, as messages, logs and spans may have them.

Whoever raises an error about a value says it by `described`, so that no message has to be cleaned of it later.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec
from msgspec import Raw

_UNITS: Final = {
    "S": "characters",
    "N": "characters",
    "M": "entries",
    "L": "members",
    "SS": "members",
    "NS": "members",
    "BS": "members",
}


_QUOTED: Final = re.compile(r"'.*'", re.DOTALL)


def reason_of(error: Exception) -> str:
    """Say why something can't be decoded: what the decoder says, without the value that it may quote.

    Args:
        error: of msgspec, which quotes values of enumerations, and has types and places in other marks; or another.
    """
    return _QUOTED.sub("another value", str(error)) if isinstance(error, msgspec.MsgspecError) else type(error).__name__


def described(value: Raw | bytes | Any) -> str:
    """Say what an attribute value is: "S of 12 characters", "B of 16 bytes", "BOOL".

    Args:
        value: raw, or decoded; whatever it is.
    """
    try:
        decoded = msgspec.json.decode(value) if isinstance(value, (bytes, Raw)) else value
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return f"{len(bytes(value))} bytes that aren't JSON"
    if not isinstance(decoded, dict) or len(decoded) != 1:
        return "no attribute value"
    ((kind, inner),) = decoded.items()
    if kind in ("BOOL", "NULL"):
        return str(kind)
    if kind == "B" and isinstance(inner, str):
        return f"B of {len(inner) * 3 // 4 - inner.count('=')} bytes"
    if kind not in _UNITS:
        return "no attribute value"
    return f"{kind} of {len(inner)} {_UNITS[kind]}" if isinstance(inner, str | list | dict) else f"no {kind}"
