"""What can go wrong between a stream and its reader, and what each fault calls for.

A client of the user's own may raise its own exceptions. The engine does not need to know their
types: it looks at two attributes that any of them may carry, `reason` (the service's error type,
bare, such as "ExpiredIteratorException") and `retryable`.
"""

from __future__ import annotations

import asyncio
from enum import Enum

_ITERATOR_EXPIRED = frozenset({"ExpiredIteratorException"})
_TRIMMED = frozenset({"TrimmedDataAccessException"})
_THROTTLED = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "LimitExceededException",
        "ThrottlingException",
        "RequestLimitExceeded",
        "KMSThrottlingException",
    }
)
_UNAVAILABLE = frozenset({"InternalFailure", "InternalFailureException", "InternalServerError", "ServiceUnavailable"})


class KinesisTransportError(Exception):
    """Any error that this library raises on purpose.

    Attributes:
        code: stable, for machines.
        retryable: whether the same call may succeed later.
    """

    code = "internal"
    retryable = False


class LeaseLost(KinesisTransportError):
    """Another worker holds the shard by now, or may: stop at once, and write nothing more for it."""

    code = "lease_lost"


class CheckpointExpired(KinesisTransportError):
    """The stream may no longer hold what follows the checkpoint. Going on could skip records unseen."""

    code = "checkpoint_expired"


class IteratorUnusable(KinesisTransportError):
    """Iterators expire as soon as they are made: asking for the next at once would only spend the shard's calls."""

    code = "iterator_unusable"
    retryable = True


class ServiceError(KinesisTransportError):
    """AWS refused a call or did not answer it.

    Attributes:
        reason: the service's error type, bare.
    """

    code = "service"

    def __init__(self, message: str, *, reason: str, retryable: bool) -> None:
        super().__init__(message)
        self.reason = reason
        self.retryable = retryable


class Fault(Enum):
    """What an exception of a client calls for."""

    ITERATOR_EXPIRED = "ask for another iterator"
    TRIMMED = "the position is gone: stop, loudly"
    RETRY = "back off and try again"
    FATAL = "trying again can't help"


def fault_of(error: Exception) -> Fault:
    """Classify an exception that a client raised.

    Args:
        error: any exception; its `reason` and `retryable` count where it has them.
    """
    reason = getattr(error, "reason", None)
    if reason in _ITERATOR_EXPIRED:
        return Fault.ITERATOR_EXPIRED
    if reason in _TRIMMED:
        return Fault.TRIMMED
    if reason in _THROTTLED or reason in _UNAVAILABLE or getattr(error, "retryable", False):
        return Fault.RETRY
    if isinstance(error, (OSError, asyncio.TimeoutError)):
        return Fault.RETRY
    return Fault.FATAL


def is_retryable_reason(reason: str, http_status: int) -> bool:
    """Tell whether an AWS error asks for a retry.

    Args:
        reason: the error type, bare.
        http_status: status of the response; 0 where there was none.
    """
    return reason in _THROTTLED or reason in _UNAVAILABLE or http_status >= 500
