"""gRPC servers: health, reflection, bounded messages, a graceful end, and the one place where errors become statuses.

Every refusal is a `google.rpc.Status` with typed details (AIP-193): always an `ErrorInfo`, a `RetryInfo` where waiting
helps, a `BadRequest` where a field is wrong, and what the error itself adds.
"""

from __future__ import annotations

import asyncio
import functools
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple, NoReturn, Protocol, TypeVar

import grpc
import structlog
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from crossfade.core.values import errors
from crossfade.core.values.errors import CrossfadeError
from crossfade.runtime import telemetry
from crossfade.runtime.telemetry.contract import RPC_DURATION, RPC_METHOD, RPC_STATUS, RPC_SYSTEM, SERVER_FAULTS
from crossfade.runtime.telemetry.span_contract import RPC
from crossfade.runtime.tls import TlsFiles, server_context

log = structlog.get_logger()

DETAILS_KEY: Final = "grpc-status-details-bin"
"""Trailing metadata that carries the whole `google.rpc.Status`."""

TRACEPARENT: Final = "traceparent"

RETRY_AFTER_S: Final = 0.2
"""Asked of the client when a retry helps and the error doesn't know better."""

_W3C: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


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


class _Known(NamedTuple):
    status: grpc.StatusCode
    reason: str


_INTERNAL: Final = _Known(grpc.StatusCode.INTERNAL, "INTERNAL")
_UNAVAILABLE: Final = _Known(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
_REFUSED: Final = _Known(grpc.StatusCode.FAILED_PRECONDITION, "FAILED_PRECONDITION")

STATUSES: Final[Mapping[type[CrossfadeError], _Known]] = {
    errors.ConfigError: _INTERNAL,
    errors.Throttled: _UNAVAILABLE,  # the store's word, not the caller's quota
    errors.StoreUnavailable: _UNAVAILABLE,
    errors.StoreRefused: _INTERNAL,
    errors.StateMissing: _UNAVAILABLE,
    errors.LeaseLost: _UNAVAILABLE,
    errors.CheckpointExpired: _Known(grpc.StatusCode.DATA_LOSS, "CHECKPOINT_EXPIRED"),
    errors.IllegalTransition: _REFUSED,
    errors.MigrationPaused: _REFUSED,
    errors.PoisonRecord: _INTERNAL,
    errors.DriftDetected: _REFUSED,
    errors.KeyNotServed: _REFUSED,
    errors.OwnershipAmbiguous: _INTERNAL,
}
"""What the common errors mean to a caller; a subclass means what its nearest base here does."""


def _known(error: Exception) -> _Known:
    if isinstance(error, Refusal):
        return _Known(error.status, error.reason)
    for each in type(error).__mro__:
        found = STATUSES.get(each)
        if found is not None:
            return found
    return _INTERNAL


def is_fault(error: Exception) -> bool:
    """Say whether an error is our fault, and counts against us. The others are the caller's affair, by contract."""
    return (isinstance(error, Refusal) and error.is_fault) or _known(error).status.name in SERVER_FAULTS


def status_of(error: Exception, domain: str) -> status_pb2.Status:
    """Return the status that tells a caller of an error: the one place where errors are mapped.

    Args:
        error: what was raised. Errors that aren't ours say nothing of themselves to the caller.
        domain: of the `ErrorInfo`, the contract's package.
    """
    known = _known(error)
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


def _code(number: int) -> grpc.StatusCode:
    return next(each for each in grpc.StatusCode if each.value[0] == number)


async def fail(context: grpc.aio.ServicerContext[Any, Any], status: status_pb2.Status) -> NoReturn:
    """End a call with a status and its details."""
    await context.abort(
        _code(status.code), status.message, trailing_metadata=((DETAILS_KEY, status.SerializeToString()),)
    )
    raise AssertionError("abort always raises")  # the stubs don't know


class _Servicer(Protocol):
    domain: str
    service: str


ServicerT = TypeVar("ServicerT", bound=_Servicer)
RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")
_Method = Callable[[ServicerT, RequestT, "grpc.aio.ServicerContext[Any, Any]"], Awaitable[ResponseT]]


def answers_errors(method: _Method[ServicerT, RequestT, ResponseT]) -> _Method[ServicerT, RequestT, ResponseT]:
    """Wrap a unary method of a servicer, so that what it raises ends the call with `status_of`.

    The servicer's `domain` names the contract, its `service` the gRPC service. An interceptor would do the same at
    several times the cost. With telemetry on, the method runs in a span of its own and its time is kept.
    """

    async def answered(self: ServicerT, request: RequestT, context: grpc.aio.ServicerContext[Any, Any]) -> ResponseT:
        try:
            return await method(self, request, context)
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            await fail(context, status_of(error, self.domain))

    @functools.wraps(method)
    async def call(self: ServicerT, request: RequestT, context: grpc.aio.ServicerContext[Any, Any]) -> ResponseT:
        observed = telemetry.active()
        if observed is None:
            return await answered(self, request, context)
        with _Observed(observed, f"{self.service}/{method.__name__}", context) as told:
            try:
                response = await answered(self, request, context)
                told.status = grpc.StatusCode.OK
            finally:
                if told.status is None:
                    told.status = _aborted_with(context)
        return response

    return call


def _aborted_with(context: grpc.aio.ServicerContext[Any, Any]) -> grpc.StatusCode:
    code: Any = context.code()  # a number, whatever the stubs say; 0 when nobody aborted: the caller went away
    return _code(code) if isinstance(code, int) and code else grpc.StatusCode.CANCELLED


class _Observed:
    """A call that telemetry looks on at: its span, where the trace is recorded, and its duration.

    Attributes:
        status: how it ended; None until then.
    """

    def __init__(self, observed: telemetry.Telemetry, method: str, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self.status: grpc.StatusCode | None = None
        self._telemetry, self._method = observed, method
        self._span = observed.start(RPC, {RPC_SYSTEM: "grpc", RPC_METHOD: method}, parent=callers_traceparent(context))
        self._started_s = time.perf_counter()

    def __enter__(self) -> _Observed:
        self._token = telemetry.current.set(self._span)
        return self

    def __exit__(self, *_: object) -> None:
        telemetry.current.reset(self._token)
        taken_s = time.perf_counter() - self._started_s
        status = (self.status or grpc.StatusCode.UNKNOWN).name
        attributes = {RPC_SYSTEM: "grpc", RPC_METHOD: self._method, RPC_STATUS: status}
        self._telemetry.record(RPC_DURATION, taken_s, attributes, self._span)
        if self._span is not None:
            self._span.set(RPC_STATUS, status)
            if status in SERVER_FAULTS:
                self._span.fail(status)
            self._span.end()


def traceparent_of(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """Return the W3C trace context that the call's effects carry on.

    Its own span's where that is recorded, else its caller's; empty when there is neither.
    """
    span = telemetry.current.get()
    return callers_traceparent(context) if span is None else span.traceparent


def callers_traceparent(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """Return the caller's W3C trace context; empty when it brings none, or one that isn't valid."""
    for name, value in context.invocation_metadata() or ():
        if name == TRACEPARENT:
            text = value if isinstance(value, str) else value.decode("ascii", "replace")
            return text if _W3C.fullmatch(text) else ""
    return ""


def new_traceparent() -> str:
    """Return a fresh, sampled trace context, for a call that is to be traced and brings none."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


def server_credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Return credentials that demand a client's certificate, and follow the files when they are renewed.

    Raises:
        ConfigError: a file can't be read, or isn't what it should be.
    """

    def configuration() -> grpc.ServerCertificateConfiguration:
        server_context(files)  # gRPC would say nothing of a file that is none
        pair = (files.key.read_bytes(), files.cert.read_bytes())
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=files.client_ca.read_bytes())

    current = configuration()
    known = files.stamps()

    def renewed() -> grpc.ServerCertificateConfiguration:
        """Asked at each new connection."""
        nonlocal current, known
        try:
            stamps = files.stamps()
            if stamps != known:
                current, known = configuration(), stamps
        except (OSError, errors.ConfigError) as error:
            log.warning("renewed certificates can't be used yet", error=str(error))
        return current

    return grpc.dynamic_ssl_server_credentials(current, renewed, require_client_authentication=True)


class RpcServer:
    """A gRPC server on one address, with health (grpc.health.v1) and reflection.

    It answers NOT_SERVING until `serving` says otherwise and from the moment `stop` begins.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        max_message_bytes: int = 1 << 20,
        max_concurrent_calls: int = 2_000,
        max_connection_age_s: float | None = None,
        tls: TlsFiles | None = None,
    ) -> None:
        """Prepare the server; `start` opens the port.

        Args:
            host: address to listen on.
            port: 0 for any free one.
            max_message_bytes: of one request or response.
            max_concurrent_calls: more are refused with RESOURCE_EXHAUSTED.
            max_connection_age_s: after which clients are asked to connect anew, so that they spread over new pods;
                None for never.
            tls: clients must then show a certificate; None for plain connections.
        """
        options: list[tuple[str, int]] = [
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", max_message_bytes),
            ("grpc.so_reuseport", 0),  # a port that is taken is an error, not a second server
        ]
        if max_connection_age_s is not None:
            options.append(("grpc.max_connection_age_ms", int(max_connection_age_s * 1000)))
        self.server: grpc.aio.Server = grpc.aio.server(options=options, maximum_concurrent_rpcs=max_concurrent_calls)
        self._address = f"[{host}]" if ":" in host else host
        self._port = port
        self._tls = tls
        self._names: list[str] = []
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.server)

    def serves(self, name: str) -> None:
        """Announce a service that was added to `server`, by its full name, for health and reflection."""
        self._names.append(name)

    async def start(self) -> str:
        """Open the port.

        Returns:
            The address, "127.0.0.1:50051".

        Raises:
            ConfigError: the port is taken, or the certificates can't be read.
        """
        address = f"{self._address}:{self._port}"
        try:
            if self._tls is None:
                self._port = self.server.add_insecure_port(address)
            else:
                self._port = self.server.add_secure_port(address, server_credentials(self._tls))
        except RuntimeError as error:
            raise errors.ConfigError(f"can't listen on {address}: {error}") from error
        everything = (*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(everything, self.server)
        await self.serving(False)
        await self.server.start()
        return f"{self._address}:{self._port}"

    async def serving(self, ready: bool) -> None:
        """Say to health checks whether calls are welcome."""
        kind = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *self._names):
            await self._health.set(name, kind)

    async def stop(self, *, notice_s: float = 0.0, grace_s: float = 10.0) -> None:
        """End: NOT_SERVING at once, then no new calls, then wait for those that run.

        Args:
            notice_s: how long calls are still taken after NOT_SERVING, so that balancers turn away first.
            grace_s: how long running calls may take; what runs longer is cancelled.
        """
        await self._health.enter_graceful_shutdown()
        if notice_s:
            await asyncio.sleep(notice_s)
        await self.server.stop(grace_s)
