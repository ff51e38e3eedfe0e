"""Numbers with 38 significant digits, as DynamoDB stores and compares them: by their value, however they are spelled.

ministack 1.5.33 calculates with Python's default of 28 digits, so a version of 38 digits that is raised by one comes
back rounded, and stores the sum of an ADD in whatever notation Python prints (`1E+2`). It compares keys and members
of number sets as texts: `{"N": "5.0"}` doesn't find the item 5, and an update by it makes a second one; an ADD of
`1.0` to the set of `1` is refused as a duplicate. `number_spelling`: each number of a request is read as it will be
stored.

Source: Amazon DynamoDB developer guide, "Data types": up to 38 digits of precision.
"""

from __future__ import annotations

import decimal
from typing import Any

import ministack.services._dynamodb_keywords as keywords
import ministack.services.dynamodb as dynamodb

from localaws.patches.registry import patch

DIGITS = 38

Context = decimal.Context(prec=DIGITS, rounding=decimal.ROUND_HALF_EVEN)


class ExactDecimal(decimal.Decimal):
    """A decimal whose sums and differences keep 38 digits, whatever thread or task asks."""

    def __add__(self, other: Any) -> ExactDecimal:
        return ExactDecimal(Context.add(self, other))

    def __sub__(self, other: Any) -> ExactDecimal:
        return ExactDecimal(Context.subtract(self, other))

    def normalize(self, context: decimal.Context | None = None) -> ExactDecimal:
        """Return the same number without trailing zeros, with 38 digits unless `context` says otherwise."""
        return ExactDecimal(super().normalize(context or Context))


@patch("exact_numbers", dynamodb, "Decimal")
def exact_decimal(_original: Any) -> Any:
    """What all arithmetic of the module goes through."""
    return ExactDecimal


@patch("exact_numbers", keywords, "Decimal")
def exact_literal(_original: Any) -> Any:
    """What the numbers written in a PartiQL statement go through."""
    return ExactDecimal


@patch("plain_sums", dynamodb, "_apply_add")
def add_in_plain_notation(original: Any) -> Any:
    """The sum of an ADD is stored like any other number."""

    def mended(item: Any, tokens: Any, values: Any, names: Any, updated: Any) -> None:
        original(item, tokens, values, names, updated)
        for part in dynamodb._split_by_comma(tokens):
            path = dynamodb._parse_path_from_tokens(part[:-1], names)
            found = dynamodb._get_at_path(item, path)
            if isinstance(found, dict) and "N" in found:
                plain = dynamodb._ddb_canonicalize_number(found["N"])
                if plain is None:
                    raise ValueError(
                        "Number overflow. Attempting to store a number with magnitude larger than supported range"
                    )
                found["N"] = plain
            elif isinstance(found, dict) and "NS" in found:
                found["NS"] = sorted(found["NS"], key=decimal.Decimal)

    return mended


def _spell(value: Any) -> None:
    """Spell a valid number, or the members of a valid set of numbers, as they are stored, in place."""
    ((kind, inner),) = value.items()
    if kind == "N":
        value[kind] = dynamodb._ddb_canonicalize_number(inner)
    elif kind == "NS" and isinstance(inner, list):
        value[kind] = [dynamodb._ddb_canonicalize_number(each) for each in inner]


@patch("number_spelling", dynamodb, "_attribute_value_error")
def value_error(original: Any) -> Any:
    """Each attribute value of a request passes here, keys and parts of values too; a valid one is respelled."""

    def mended(value: Any) -> Any:
        error = original(value)
        if error is None and isinstance(value, dict) and len(value) == 1:
            _spell(value)
        return error

    return mended
