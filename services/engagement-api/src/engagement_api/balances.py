"""Balances on the wire: integers of 64 bits, and the exact decimal number where that isn't one (ADR 0023)."""

from __future__ import annotations

from typing import Final

from crossfade.core.protocol.keyed.operation import Amount
from crossfade.core.values.numbers import normal_number
from engagement_api.operations import LARGEST_BALANCE

SMALLEST_BALANCE: Final = -LARGEST_BALANCE - 1


def shown(balance: Amount) -> tuple[int, bool, str]:
    """Return a balance as the contract has it.

    Returns:
        The balance, or the integer of 64 bits next to it, towards 0; whether that is not the balance itself; and if so,
        the balance as a decimal number, without an exponent.
    """
    integer = int(balance)
    if integer == balance and SMALLEST_BALANCE <= integer <= LARGEST_BALANCE:
        return integer, False, ""
    return min(max(integer, SMALLEST_BALANCE), LARGEST_BALANCE), True, normal_number(str(balance))
