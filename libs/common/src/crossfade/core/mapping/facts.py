"""What a mapping declares of its rows that no rule needs: a row that breaks it is carried anyway, and named."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from msgspec import Raw

from crossfade.core.values import image as wire
from crossfade.core.values.errors import PoisonRecord
from crossfade.core.values.image import Image

_SHORT: Final = re.compile(rb'\{"N":"-?[0-9]{1,18}"\}')
"""A whole number that any 64 bits hold, as export files spell it: nearly every row's, so it is looked for first."""

INEXACT_CURE: Final = (
    "they are moved unchanged, and operations on them are exact, but answers round them: correct the rows in the "
    "source table before BOTH_WAYS (later that is a stray), or leave them if clients can take a rounded answer"
)
"""What an operator does about such rows."""


LEAST: Final = -(2**63)
MOST: Final = 2**63 - 1


def why_inexact(wholes: Iterable[str], image: Image) -> str:
    """Say which numbers of a source row aren't whole and of 64 bits, and why; empty when there is none.

    Args:
        wholes: attributes, in the source's names, that the domain answers as such; a row may lack them.
        image: the row.
    """
    return "; ".join(f"{name} {why}" for name in wholes if name in image and (why := _why(image[name])))


def _why(raw: Raw) -> str:
    if _SHORT.fullmatch(raw):
        return ""
    try:
        value = wire.decimal(raw)
    except PoisonRecord as error:
        return f"is not a number: {error}"
    if value != value.to_integral_value():
        return "has a fraction"
    return "" if LEAST <= value <= MOST else "is beyond 64 bits"
