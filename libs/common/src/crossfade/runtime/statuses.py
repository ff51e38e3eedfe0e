"""Errors as gRPC statuses: the one place where they are mapped.

Every refusal is a `google.rpc.Status` with typed details (AIP-193): always an `ErrorInfo`, a `RetryInfo` where waiting
helps, a `BadRequest` where a field is wrong, and what the error itself adds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, NamedTuple, Self

import grpc
import structlog
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from crossfade.core.values import errors
from crossfade.core.values.errors import CrossfadeError
from crossfade.runtime.telemetry.contract import SERVER_FAULTS

log = structlog.get_logger()

RETRY_AFTER_S: Final = 0.2
"""Asked of the client when a retry helps and the error doesn't know better."""


class Refusal(CrossfadeError):
    """An error that a service's contract names. A subclass says its gRPC code, its reason and what details it carries.

    Attributes:
        status: the gRPC code.
        reason: of the `ErrorInfo`, in capitals, as the contract lists it.
        is_fault: whether it is ours though its status says that the caller has to act; see `is_fault`.
        field: path of the request's field that is to blame ("operations[3].user"); empty when none is.
    """

    code = "refused"
    status: ClassVar[grpc.StatusCode] = grpc.StatusCode.FAILED_PRECONDITION
    reason: ClassVar[str] = "REFUSED"
    is_fault: ClassVar[bool] = False
    field: str = ""

    def details(self) -> Sequence[Message]:
        """Return the details of the contract's own types."""
        return ()

    def within(self, path: str) -> Self:
        """Name the field, with which the message begins, by its place in the call's request: "operations[3].user"."""
        if self.field:
            self.args = (path + str(self),)
            self.field = path + self.field
        return self


class InvalidArgument(Refusal):
    """A field of the request is wrong.

    Args:
        field: path of the field, as the contract spells it.
        wrong: what is wrong with it, as a predicate: "must not be empty".
    """

    code = "invalid_argument"
    status = grpc.StatusCode.INVALID_ARGUMENT
    reason = "INVALID_ARGUMENT"

    def __init__(self, field: str, wrong: str) -> None:
        super().__init__(f"{field} {wrong}")
        self.field = field


class Known(NamedTuple):
    """What an error is to a caller: its gRPC code, and the reason of its `ErrorInfo`."""

    status: grpc.StatusCode
    reason: str


_INTERNAL: Final = Known(grpc.StatusCode.INTERNAL, "INTERNAL")
_UNAVAILABLE: Final = Known(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
_REFUSED: Final = Known(grpc.StatusCode.FAILED_PRECONDITION, "FAILED_PRECONDITION")

STATUSES: Final[Mapping[type[CrossfadeError], Known]] = {
    errors.ConfigError: _INTERNAL,
    errors.Throttled: _UNAVAILABLE,  # the store's word, not the caller's quota
    errors.StoreUnavailable: _UNAVAILABLE,
    errors.Unavailable: _UNAVAILABLE,
    errors.StoreRefused: _INTERNAL,
    errors.StateMissing: _UNAVAILABLE,
    errors.UnknownDocument: _INTERNAL,
    errors.LeaseLost: _UNAVAILABLE,
    errors.CheckpointExpired: Known(grpc.StatusCode.DATA_LOSS, "CHECKPOINT_EXPIRED"),
    errors.IllegalTransition: _REFUSED,
    errors.MigrationPaused: _REFUSED,
    errors.PoisonRecord: _INTERNAL,
    errors.SnapshotBroken: _REFUSED,
    errors.KeyNotServed: _REFUSED,
    errors.OwnershipAmbiguous: _INTERNAL,
}
"""What the common errors mean to a caller; a subclass means what its nearest base here does."""


def known_status(kind: type[Exception]) -> Known:
    """Return what errors of a kind mean to a caller."""
    if issubclass(kind, Refusal):
        return Known(kind.status, kind.reason)
    return next((STATUSES[each] for each in kind.__mro__ if each in STATUSES), _INTERNAL)


def is_fault(error: Exception) -> bool:
    """Say whether an error is our fault, and counts against us. The others are the caller's affair, by contract."""
    return counts_against_us(type(error))


def counts_against_us(kind: type[Exception]) -> bool:
    """Say the same of all errors of a kind."""
    return (issubclass(kind, Refusal) and kind.is_fault) or known_status(kind).status.name in SERVER_FAULTS


def status_of(error: Exception, domain: str) -> status_pb2.Status:
    """Return the status that tells a caller of an error: the one place where errors are mapped.

    Args:
        error: what was raised. Errors that aren't ours say nothing of themselves to the caller.
        domain: of the `ErrorInfo`, the contract's package.
    """
    known = known_status(type(error))
    if known.status in (grpc.StatusCode.INTERNAL, grpc.StatusCode.DATA_LOSS):
        log.error("request failed", error=str(error), kind=type(error).__name__, exc_info=error)
    ours = isinstance(error, CrossfadeError)
    info = error_details_pb2.ErrorInfo(reason=known.reason, domain=domain)
    if isinstance(error, CrossfadeError):
        info.metadata["code"] = error.code
    status = status_pb2.Status(code=known.status.value[0], message=str(error) if ours else "internal error")
    details: list[Message] = [info]
    if isinstance(error, Refusal):
        details += error.details()
        if error.field:
            wrong = str(error).removeprefix(error.field).strip()
            violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=wrong)
            details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, CrossfadeError) and (error.retry_after_s is not None or error.retryable):
        wait_s = RETRY_AFTER_S if error.retry_after_s is None else error.retry_after_s
        delay = Duration()
        delay.FromNanoseconds(int(wait_s * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    for detail in details:
        status.details.add().Pack(detail)
    return status
