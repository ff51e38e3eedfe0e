"""What the API refuses, as the contract names it (proto/crossfade/engagement/v1/errors.proto)."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final, NamedTuple
from urllib.parse import quote

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from grpc import StatusCode

from crossfade.core.protocol.keyed.operation import Amount
from crossfade.core.values.keys import Key
from crossfade.gen.engagement.v1 import errors_pb2
from crossfade.runtime.statuses import Refusal
from engagement_api.balances import shown
from engagement_api.keys import wallet_of
from engagement_api.operations import LARGEST_BALANCE

DOMAIN: Final = "crossfade.engagement.v1"


class InsufficientPoints(Refusal):
    """The wallet holds fewer points than are to be spent."""

    code = "insufficient_points"
    status = StatusCode.FAILED_PRECONDITION
    reason = "INSUFFICIENT_POINTS"

    def __init__(self, balance: Amount, asked: int) -> None:
        super().__init__(f"the wallet holds {Decimal(balance):f} points, {asked} were requested")
        self.balance = balance
        self.asked = asked

    def details(self) -> Sequence[Message]:
        """Say how many there are."""
        integer, inexact, exact = shown(self.balance)
        return (
            errors_pb2.InsufficientPoints(
                balance=integer, asked=self.asked, balance_inexact=inexact, balance_decimal=exact
            ),
        )


class BalanceLimitExceeded(Refusal):
    """With the points added, the balance would not fit into 64 bits; nothing was applied (ADR 0023)."""

    code = "balance_limit_exceeded"
    status = StatusCode.FAILED_PRECONDITION
    reason = "BALANCE_LIMIT_EXCEEDED"

    def __init__(self, balance: Amount, asked: int) -> None:
        super().__init__(
            f"the wallet holds {Decimal(balance):f} points; with {asked} more it would be above the limit of "
            f"{LARGEST_BALANCE}"
        )
        self.balance = balance
        self.asked = asked

    def details(self) -> Sequence[Message]:
        """Name the limit, and how many points there are."""
        integer, inexact, exact = shown(self.balance)
        return (
            errors_pb2.BalanceLimitExceeded(
                balance=integer,
                asked=self.asked,
                limit=LARGEST_BALANCE,
                balance_inexact=inexact,
                balance_decimal=exact,
            ),
        )


class TransactionExpired(Refusal):
    """The id is at or below the wallet's floor: it may have been applied and forgotten. The outcome is unknown."""

    code = "transaction_expired"
    status = StatusCode.ABORTED
    reason = "TRANSACTION_EXPIRED"

    def __init__(self, transaction_id: str, now_ms: int) -> None:
        super().__init__("the transaction id is older than what the wallet remembers: the outcome is unknown")
        self.transaction_id = transaction_id
        self.now_ms = now_ms

    def details(self) -> Sequence[Message]:
        """Tell the server's time, so that a client can see that its ids are old."""
        return (errors_pb2.TransactionExpired(transaction_id=self.transaction_id, server_time=timestamp(self.now_ms)),)


class Payload(NamedTuple):
    """What an operation does to a wallet.

    Attributes:
        kind: "earn", "spend" or "delete".
        amount: points, positive; 0 for a delete.
    """

    kind: str
    amount: int


class TransactionMismatch(Refusal):
    """The id was applied before and did something else; nothing was applied now (ADR 0023)."""

    code = "transaction_mismatch"
    status = StatusCode.FAILED_PRECONDITION
    reason = "TRANSACTION_MISMATCH"

    def __init__(self, transaction_id: str, applied: Payload, asked: Payload) -> None:
        super().__init__(
            f"transaction id {transaction_id} was applied as {applied.kind} of {applied.amount}, "
            f"and can't be used for {asked.kind} of {asked.amount}: send it under an id of its own"
        )
        self.transaction_id, self.applied, self.asked = transaction_id, applied, asked

    def details(self) -> Sequence[Message]:
        """Name both payloads."""
        applied, asked = (
            errors_pb2.TransactionMismatch.Payload(kind=each.kind, amount=each.amount)
            for each in (self.applied, self.asked)
        )
        return (errors_pb2.TransactionMismatch(transaction_id=self.transaction_id, applied=applied, asked=asked),)


class TransactionFromFuture(Refusal):
    """The time in the id is further ahead of our clock than is tolerated."""

    code = "transaction_from_future"
    status = StatusCode.OUT_OF_RANGE
    reason = "TRANSACTION_FROM_FUTURE"

    def __init__(self, field: str, transaction_id: str, *, now_ms: int, ahead_ms: int, tolerance_ms: int) -> None:
        super().__init__(
            f"{field} is {ahead_ms} ms ahead of the server's clock, {tolerance_ms} ms are allowed",
            retry_after_s=(ahead_ms - tolerance_ms) / 1000,
        )
        self.field = field
        self.transaction_id = transaction_id
        self.now_ms = now_ms
        self.tolerance_ms = tolerance_ms

    def details(self) -> Sequence[Message]:
        """Tell the server's time and its tolerance."""
        return (
            errors_pb2.TransactionFromFuture(
                transaction_id=self.transaction_id,
                server_time=timestamp(self.now_ms),
                tolerance=duration(self.tolerance_ms),
            ),
        )


class TooManyOperations(Refusal):
    """The wallet already remembers as many ids as it can, all of them too young to be forgotten."""

    code = "too_many_operations"
    status = StatusCode.RESOURCE_EXHAUSTED
    reason = "TOO_MANY_OPERATIONS"

    def __init__(self, *, remembered: int, window_ms: int, retry_after_s: float) -> None:
        super().__init__(
            f"the wallet took {remembered} operations within {window_ms // 1000} s", retry_after_s=retry_after_s
        )
        self.remembered = remembered
        self.window_ms = window_ms

    def details(self) -> Sequence[Message]:
        """Say what a wallet can take."""
        return (errors_pb2.TooManyOperations(remembered=self.remembered, window=duration(self.window_ms)),)


class WalletNotFound(Refusal):
    """There is no wallet to delete."""

    code = "wallet_not_found"
    status = StatusCode.NOT_FOUND
    reason = "WALLET_NOT_FOUND"

    def __init__(self, key: Key) -> None:
        super().__init__("there is no such wallet")
        self._wallet = _resource(key)

    def details(self) -> Sequence[Message]:
        """Name the wallet."""
        return (self._wallet,)


class WalletNotServed(Refusal):
    """This wallet can't be served until an operator has removed the cause; nothing was applied. Others are served."""

    code = "wallet_not_served"
    is_fault = True
    status = StatusCode.FAILED_PRECONDITION
    reason = "WALLET_NOT_SERVED"

    def __init__(self, key: Key, cause: str) -> None:
        self._wallet, self.cause = _resource(key), cause
        super().__init__(f"{self._wallet.resource_name} can't be served: {cause}")

    def details(self) -> Sequence[Message]:
        """Name the wallet and the cause."""
        return (errors_pb2.WalletNotServed(cause=self.cause), self._wallet)


def _resource(key: Key) -> error_details_pb2.ResourceInfo:
    user, channel = wallet_of(key)
    name = f"users/{quote(user, safe='')}/channels/{quote(channel, safe='')}"
    return error_details_pb2.ResourceInfo(resource_type=f"{DOMAIN}.Wallet", resource_name=name)


def timestamp(at_ms: int) -> Timestamp:
    """Return a time in ms since the epoch as protobuf has it."""
    return Timestamp(seconds=at_ms // 1000, nanos=at_ms % 1000 * 1_000_000)


def duration(length_ms: int) -> Duration:
    """Return a length in ms as protobuf has it."""
    return Duration(seconds=length_ms // 1000, nanos=length_ms % 1000 * 1_000_000)
