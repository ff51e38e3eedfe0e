"""What the services refuse, typed; and what their error answers mean for a retry.

Error types come bare or prefixed ("com.amazonaws.dynamodb.v20120810#ValidationException"), messages as `message` or
`Message`, depending on the engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Final

import msgspec

from crossfade.core.values.errors import StoreRefused
from crossfade.core.values.image import Image

THROTTLES: Final = frozenset(
    {
        "KMSThrottlingException",
        "LimitExceededException",
        "ProvisionedThroughputExceeded",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "Throttling",
        "ThrottlingError",
        "ThrottlingException",
        "TooManyRequestsException",
        # Not about rate, but the cure is the same: the item is busy, come back later. Nothing was written.
        "ReplicatedWriteConflictException",
        "TransactionConflict",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)
"""Error types, of requests, statements, records and cancellation reasons, that ask for fewer or later calls."""

FAULTS: Final = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "InternalFailureException",
        "InternalServerError",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
        "ServiceUnavailableException",
    }
)
"""Error types by which a service says that it failed itself."""

UNFIT: Final = frozenset(
    {
        "ItemCollectionSizeLimitExceeded",
        "ItemCollectionSizeLimitExceededException",
        "ValidationError",
        "ValidationException",
    }
)
"""Error types, of requests and statements, by which a table refuses one write for good, and says nothing of others."""

EXPIRED_KEYS: Final = frozenset({"ExpiredToken", "ExpiredTokenException", "UnrecognizedClientException"})
CLOCK_SKEW: Final = frozenset(
    {"InvalidSignatureException", "RequestExpired", "RequestInTheFuture", "RequestTimeTooSkewed"}
)


class ServiceError(StoreRefused):
    """The service refused the request permanently.

    Attributes:
        reason: its error type, bare ("ExpiredIteratorException").
        body: its answer as it came, for the fields that some types carry.
    """

    def __init__(self, message: str, *, reason: str, body: bytes) -> None:
        super().__init__(message, reason=reason)
        self.body = body


class ConditionFailed(StoreRefused):
    """The condition of a single write did not hold; nothing was written.

    Attributes:
        item: the item that was met; None when the request didn't ask for it, or when there is none.
    """

    code = "condition_failed"

    def __init__(self, message: str, *, item: Image | None) -> None:
        super().__init__(message, reason="ConditionalCheckFailedException")
        self.item = item


class TransactionCanceled(StoreRefused):
    """The whole transaction was cancelled; nothing was written.

    Attributes:
        reasons: per action its bare code, "None" for those that didn't object, and the item that was met where the
            action asked for it.
        retryable: whether each reason is one that passes (throttling, a conflict with another transaction).
    """

    code = "transaction_canceled"

    def __init__(self, message: str, *, reasons: Sequence[tuple[str, Image | None]]) -> None:
        super().__init__(message, reason="TransactionCanceledException")
        self.reasons = list(reasons)
        codes = {code for code, _ in reasons if code != "None"}
        self.retryable = bool(codes) and codes <= THROTTLES | FAULTS


class Cure(Enum):
    """What may help against an error answer."""

    NONE = "none"
    WAIT = "wait"  # a throttle: nothing was done
    RETRY = "retry"  # a fault: outcome unknown
    REFRESH = "refresh"  # other credentials
    CLOCK = "clock"  # sign with the service's time


class Reason(msgspec.Struct):
    """Why one action of a transaction objected."""

    code: str = msgspec.field(name="Code", default="None")
    item: Image | None = msgspec.field(name="Item", default=None)


class Refusal(msgspec.Struct):
    """The body of an error answer."""

    kind: str = msgspec.field(name="__type", default="")
    message: str | None = None
    capital_message: str | None = msgspec.field(name="Message", default=None)
    item: Image | None = msgspec.field(name="Item", default=None)
    reasons: list[Reason] | None = msgspec.field(name="CancellationReasons", default=None)


_decode_refusal = msgspec.json.Decoder(Refusal).decode


def bare(kind: str) -> str:
    """Strip namespace and documentation address from an error type."""
    return kind.rpartition("#")[2].partition(":")[0]


def read_refusal(status: int, headers: dict[bytes, bytes], body: bytes) -> tuple[Refusal, Cure]:
    """Read an error answer.

    Args:
        status: of the HTTP response, 300 or above.
        headers: names in lower case.
        body: JSON from the service, anything from a proxy.

    Returns:
        The refusal, its type bare ("HTTP 502" where the answer names none), and what may help.
    """
    try:
        refusal = _decode_refusal(body)
    except msgspec.MsgspecError:
        refusal = Refusal(message=body[:200].decode("utf-8", "replace"))
    kind = refusal.kind or headers.get(b"x-amzn-errortype", b"").decode("latin-1")
    refusal.kind = bare(kind) or f"HTTP {status}"
    return refusal, _cure(status, refusal.kind)


def _cure(status: int, kind: str) -> Cure:
    if kind in THROTTLES or status == 429:
        return Cure.WAIT
    if kind in FAULTS or status >= 500:
        return Cure.RETRY
    if kind in EXPIRED_KEYS:
        return Cure.REFRESH
    if kind in CLOCK_SKEW:
        return Cure.CLOCK
    return Cure.NONE


def refused(operation: str, refusal: Refusal, body: bytes) -> StoreRefused:
    """Return the typed error of a refusal that no retry will change."""
    message = f"{operation}: {refusal.kind}: {refusal.message or refusal.capital_message or ''}"
    if refusal.kind == "ConditionalCheckFailedException":
        return ConditionFailed(message, item=refusal.item)
    if refusal.kind == "TransactionCanceledException" and refusal.reasons is not None:
        return TransactionCanceled(message, reasons=[(bare(each.code), each.item) for each in refusal.reasons])
    return ServiceError(message, reason=refusal.kind, body=body)
