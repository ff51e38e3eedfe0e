"""gRPC servers: health, reflection, bounded messages, a graceful end; and methods whose errors become statuses."""

from __future__ import annotations

import asyncio
import functools
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, Final, NoReturn, Protocol, TypeVar

import grpc
import structlog
from google.protobuf.message import Message
from google.rpc import status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from crossfade.core.values import errors
from crossfade.runtime import telemetry
from crossfade.runtime.admission import READ_TIMES, UNTAKEN, Admission, MalformedRequest, Unfit
from crossfade.runtime.reflection import enable_reflection
from crossfade.runtime.statuses import Refusal, status_of
from crossfade.runtime.telemetry.contract import (
    RPC_DURATION,
    RPC_METHOD,
    RPC_STATUS,
    RPC_SYSTEM,
    SERVER_FAULTS,
    UNKNOWN_METHOD,
)
from crossfade.runtime.telemetry.span_contract import RPC
from crossfade.runtime.tls import TlsFiles, server_context

log = structlog.get_logger()

DETAILS_KEY: Final = "grpc-status-details-bin"
"""Trailing metadata that carries the whole `google.rpc.Status`."""

TRACEPARENT: Final = "traceparent"

_LONGEST_QUIET_S: Final = 2.0
"""How long a stopping server answers its last calls with UNAVAILABLE, for clients that didn't heed NOT_SERVING; then
what comes in is cancelled by gRPC's core."""

_W3C: Final = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


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

    def note_refusal(self, method: str, request: Message | None, error: Refusal) -> None:
        """Count a call that was refused before its method ran; its request is None when it couldn't be parsed."""
        ...


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
            if isinstance(request, Unfit):
                self.note_refusal(method.__name__, request.request, request.error)
                raise request.error
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
    """A call that telemetry watches: its span, where the trace is recorded, and its duration.

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
    """A gRPC server on one address, with health (grpc.health.v1) and reflection (v1 and v1alpha).

    It answers NOT_SERVING until `serving` says otherwise and from the moment `stop` begins.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        max_message_bytes: int = 1 << 20,
        max_concurrent_calls: int = 2_000,
        connection_age_s: float = 0.0,
        connection_grace_s: float = 10.0,
        tls: TlsFiles | None = None,
    ) -> None:
        """Prepare the server; `start` opens the port.

        Args:
            host: address to listen on.
            port: 0 for any free one.
            max_message_bytes: of one request. A response has no bound: what was applied is answered.
            max_concurrent_calls: more are refused with RESOURCE_EXHAUSTED and a retry-after.
            connection_age_s: after which clients are asked to reconnect, so that they spread over new pods; gRPC
                varies it by a tenth; 0 for never.
            connection_grace_s: how long calls may still run on a connection that was asked to end.
            tls: clients must then show a certificate; None for plain connections.
        """
        options: list[tuple[str, int]] = [
            *UNTAKEN,
            ("grpc.max_receive_message_length", READ_TIMES * max_message_bytes),
            ("grpc.so_reuseport", 0),  # a port that is taken is an error, not a second server
        ]
        if connection_age_s:
            options.append(("grpc.max_connection_age_ms", int(connection_age_s * 1000)))
            options.append(("grpc.max_connection_age_grace_ms", int(connection_grace_s * 1000)))
        self.server: grpc.aio.Server = grpc.aio.server(options=options)
        self._admission = Admission(self.server, max_concurrent_calls, max_message_bytes)
        self._address = f"[{host}]" if ":" in host else host
        self._port = port
        self._tls = tls
        self._names: list[str] = []
        self._health = health.aio.HealthServicer()
        # No method is registered in advance: at every call, grpcio 1.85 (`_server_main_loop`) waits for the next one of
        # each registered method.
        add, registers = self.server.add_generic_rpc_handlers, lambda *_: None
        server = SimpleNamespace(add_generic_rpc_handlers=add, add_registered_method_handlers=registers)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)

    def add(self, add_to_server: Callable[[ServicerT, Any], None], servicer: ServicerT) -> None:
        """Serve a service, and announce it for health and reflection.

        Args:
            add_to_server: generated code, "add_EngagementServiceServicer_to_server".
            servicer: whose methods are wrapped by `answers_errors`, and unary.
        """
        self._admission.note_unknown = functools.partial(
            servicer.note_refusal, UNKNOWN_METHOD, None, MalformedRequest("there is no such method")
        )
        add_to_server(servicer, self._admission)
        self._names.append(servicer.service)

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
        enable_reflection((*self._names, health.SERVICE_NAME), self.server)
        await self.serving(False)
        await self.server.start()
        return f"{self._address}:{self._port}"

    async def serving(self, ready: bool) -> None:
        """Say to health checks whether calls are welcome."""
        kind = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *self._names):
            await self._health.set(name, kind)

    async def stop(self, *, notice_s: float = 0.0, grace_s: float = 10.0) -> None:
        """End: NOT_SERVING at once, calls taken for the notice, then refused, then wait for those that run.

        gRPC's core cancels what it hasn't handed over when it shuts down, so that comes last, when no calls come.

        Args:
            notice_s: how long calls are still taken after NOT_SERVING, so that balancers turn away first.
            grace_s: how long running calls may take; what runs longer is cancelled.
        """
        await self._health.enter_graceful_shutdown()
        if notice_s:
            await asyncio.sleep(notice_s)
        await self._admission.close(_LONGEST_QUIET_S)
        await self.server.stop(grace_s)
