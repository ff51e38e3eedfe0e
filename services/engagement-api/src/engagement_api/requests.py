"""Requests, checked: bounded sizes, whole numbers in range, ids that are ULIDs and not from the future."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Protocol

from crossfade.core.ownership.trim import AHEAD_MS, is_from_the_future, ulid_ms
from crossfade.core.protocol.keyed.operation import Operation
from crossfade.core.protocol.keyed.versions import seeded
from crossfade.core.values.keys import Key
from crossfade.runtime.statuses import InvalidArgument
from engagement_api.keys import wallet_key
from engagement_api.operations import Kind, points_operation
from engagement_api.refusals import TransactionFromFuture
from engagement_api.ulids import decode_ulid

NAME_BYTES: Final = 128
"""Longest user or channel."""

REASON_BYTES: Final = 256
"""Longest reason; it is kept in the item until the next write."""

MAX_AMOUNT: Final = 1_000_000_000
"""Most points of one operation."""

MAX_BATCH: Final = 500
"""Most operations or wallets of one call."""

_CONTROLS: Final = r"\x00-\x1f\x7f-\x9f"  # all of Unicode's (category Cc), C0 and C1
_NAME: Final = re.compile(f"[^{_CONTROLS}#]+")
_TEXT: Final = re.compile(f"[^{_CONTROLS}]*")


class WalletFields(Protocol):
    """What names a wallet in a request."""

    @property
    def user(self) -> str:
        """Whose."""
        ...

    @property
    def channel(self) -> str:
        """Of which channel."""
        ...


class OperationFields(WalletFields, Protocol):
    """What every operation's request has."""

    @property
    def reason(self) -> str:
        """Why."""
        ...

    @property
    def transaction_id(self) -> str:
        """The client's ULID, as text."""
        ...


def _name(text: str, field: str) -> str:
    if _NAME.fullmatch(text) and len(text.encode()) <= NAME_BYTES:
        return text
    if not text:
        raise InvalidArgument(field, "must not be empty")
    if len(text.encode()) > NAME_BYTES:
        raise InvalidArgument(field, f"must not be longer than {NAME_BYTES} bytes")
    raise InvalidArgument(field, "must not contain '#' or control characters")


def read_wallet(request: WalletFields) -> Key:
    """Return the key of the wallet that a request names.

    Raises:
        InvalidArgument: naming the field.
    """
    return wallet_key(_name(request.user, "user"), _name(request.channel, "channel"))


def read_wallets(requests: Iterable[WalletFields]) -> list[Key]:
    """Return the keys of the wallets of a batch.

    Raises:
        InvalidArgument: naming the field of the first one that is wrong.
    """
    keys: list[Key] = []
    for number, each in enumerate(requests):
        try:
            keys.append(read_wallet(each))
        except InvalidArgument as error:
            raise error.within(f"wallets[{number}].") from None
    return keys


def read_amount(amount: int) -> int:
    """Return the amount of an earn or a spend.

    Raises:
        InvalidArgument: it isn't 1 to `MAX_AMOUNT`.
    """
    if not 1 <= amount <= MAX_AMOUNT:
        raise InvalidArgument("amount", f"must be 1 to {MAX_AMOUNT}, not {amount}")
    return amount


def read_operation(request: OperationFields, kind: Kind, amount: int, *, now_us: int, traceparent: str) -> Operation:
    """Return the operation that a request asks for, with its event.

    Args:
        request: the request.
        kind: what it asks for.
        amount: checked already; 0 for a delete.
        now_us: wall clock, µs since the epoch; it seeds the version and judges the id.
        traceparent: W3C trace context for the event; empty when there is none.

    Raises:
        InvalidArgument: naming the field.
        TransactionFromFuture: the id's time is more than 5 s ahead.
    """
    key = read_wallet(request)
    reason = request.reason
    if len(reason.encode()) > REASON_BYTES:
        raise InvalidArgument("reason", f"must not be longer than {REASON_BYTES} bytes")
    if not _TEXT.fullmatch(reason):
        raise InvalidArgument("reason", "must not contain control characters")
    transaction_id = decode_ulid(request.transaction_id)
    if transaction_id is None:
        raise InvalidArgument("transaction_id", "must be a ULID, 26 characters of Crockford's base 32")
    now_ms = now_us // 1000
    if is_from_the_future(transaction_id, now_ms):
        raise TransactionFromFuture(
            "transaction_id",
            request.transaction_id,
            now_ms=now_ms,
            ahead_ms=ulid_ms(transaction_id) - now_ms,
            tolerance_ms=AHEAD_MS,
        )
    return points_operation(kind, key, transaction_id, amount, seeded(now_us), reason=reason, traceparent=traceparent)


def check_batch(length: int, field: str) -> None:
    """Refuse an empty batch and one that is too long.

    Raises:
        InvalidArgument: naming the field.
    """
    if not 1 <= length <= MAX_BATCH:
        raise InvalidArgument(field, f"must have 1 to {MAX_BATCH} elements, not {length}")
