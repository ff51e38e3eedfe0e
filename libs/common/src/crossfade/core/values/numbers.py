"""DynamoDB numbers: up to 38 significant digits, exactly, in one spelling."""

from __future__ import annotations

import re
from decimal import Context, Decimal, InvalidOperation
from typing import Final

from crossfade.core.values.errors import PoisonRecord

MAX_DIGITS: Final = 38
"""Significant digits of a DynamoDB number."""

_CANONICAL: Final = re.compile(r"0|-?(0\.[0-9]*[1-9]|[1-9][0-9]*(\.[0-9]*[1-9])?)")
# The default context rounds to 28 digits; these round nothing that DynamoDB can hold, nor a sum of two such numbers.
_EXACT: Final = Context(prec=MAX_DIGITS)
_WIDE: Final = Context(prec=400)


def added(one: Decimal, other: Decimal) -> Decimal:
    """Return the exact sum of two DynamoDB numbers, which may have more digits than DynamoDB keeps."""
    return _WIDE.add(one, other)


def normal_number(text: str) -> str:
    """Return the one spelling of a number: `007.50`, `7.5` and `75e-1` are all `7.5`.

    Raises:
        PoisonRecord: it is not a number, or has more digits than DynamoDB keeps.
    """
    if len(text) <= MAX_DIGITS and _CANONICAL.fullmatch(text):
        return text
    try:
        exact = Decimal(text)
        normal = exact.normalize(_EXACT)
    except InvalidOperation as error:
        raise PoisonRecord(f"not a number: {len(text)} characters") from error
    if not normal.is_finite() or normal != exact:
        raise PoisonRecord(f"not a number of at most {MAX_DIGITS} digits: {len(text)} characters")
    return "0" if normal.is_zero() else format(normal, "f")
