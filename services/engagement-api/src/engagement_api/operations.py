"""Earn, spend and delete as operations in DynamoDB's terms: all that is known of points below the API (ADR 0023)."""

from __future__ import annotations

from enum import Enum
from typing import Final

from crossfade.core.protocol.keyed.item import Item
from crossfade.core.protocol.keyed.operation import Amount, Operation, Verb, build_operation, counted
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import TableShape

BALANCE: Final = "balance"
"""The attribute that has the points, in the source table; the mapping says how the target calls it."""

LARGEST_BALANCE: Final = 2**63 - 1
"""The most that an earn may make of a balance, which clients read as a signed integer of 64 bits (ADR 0023)."""

EARN: Final = Verb("earn", adds=(BALANCE,), at_most=(BALANCE,), creates=True)
SPEND: Final = Verb("spend", adds=(BALANCE,), at_least=(BALANCE,))
DELETE: Final = Verb("delete", deletes=True)


class Kind(Enum):
    """What a client asks of a wallet."""

    EARN = "earn"
    SPEND = "spend"
    DELETE = "delete"


def points_operation(
    kind: Kind, key: Key, transaction_id: bytes, amount: int, seed: int, *, reason: str = "", traceparent: str = ""
) -> Operation:
    """Return what a client asks for.

    Args:
        kind: earn, spend or delete.
        key: the encoded key of the wallet.
        transaction_id: the client's ULID, 16 bytes.
        amount: points, positive; not looked at for a delete.
        seed: of the version, wall clock in µs << 10.
        reason: the client's word.
        traceparent: W3C trace context of the call; empty when it had none.
    """
    if kind is Kind.EARN:
        most = (LARGEST_BALANCE - amount,)
        return build_operation(
            key, EARN, transaction_id, seed, amounts=(amount,), most=most, reason=reason, traceparent=traceparent
        )
    if kind is Kind.SPEND:
        return build_operation(
            key,
            SPEND,
            transaction_id,
            seed,
            amounts=(-amount,),
            least=(amount,),
            reason=reason,
            traceparent=traceparent,
        )
    return build_operation(key, DELETE, transaction_id, seed, reason=reason, traceparent=traceparent)


def points_of(operation: Operation) -> int:
    """Return how many points were asked for; 0 of a delete."""
    return abs(int(operation.amounts[0])) if operation.amounts else 0


def balance_of(item: Item | None, shape: TableShape) -> Amount:
    """Return the balance, exactly; 0 for an absent item, a tombstone or a stub.

    What our writes make of a whole number within 64 bits is one again; other writers may have left any number.

    Raises:
        PoisonRecord: it is not a number.
    """
    return counted(BALANCE, item, shape)
