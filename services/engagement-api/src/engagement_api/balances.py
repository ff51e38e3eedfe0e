"""Balances on the wire: integers of 64 bits, and the exact decimal number where that isn't one (ADR 0023)."""

from __future__ import annotations

from decimal import Decimal
from typing import Final, NamedTuple

from crossfade.core.values.numbers import normal_number
from engagement_api.operations import LARGEST_BALANCE

SMALLEST_BALANCE: Final = -LARGEST_BALANCE - 1


class Shown(NamedTuple):
    """A balance as the contract has it.

    Attributes:
        integer: the balance, or the integer of 64 bits next to it, towards 0.
        inexact: whether `integer` is not the balance itself.
        decimal: the balance as a decimal number, without an exponent; empty unless `inexact`.
    """

    integer: int
    inexact: bool = False
    decimal: str = ""


def shown(balance: Decimal) -> Shown:
    """Return a balance as the contract has it."""
    integer = int(balance)
    if integer == balance and SMALLEST_BALANCE <= integer <= LARGEST_BALANCE:
        return Shown(integer)
    return Shown(min(max(integer, SMALLEST_BALANCE), LARGEST_BALANCE), True, normal_number(str(balance)))
