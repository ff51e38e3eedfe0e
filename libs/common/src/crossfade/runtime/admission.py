"""What stands between the wire and a servicer's methods.

What gRPC answers on its own carries no details: UNKNOWN to a request that can't be parsed, RESOURCE_EXHAUSTED above
`maximum_concurrent_rpcs`, and a bare CANCELLED to what arrives while too many calls are still untaken or while the
server shuts down. So all of that is found here and refused by `answers_errors` like anything else: typed, observed and
counted (ADR 0024).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2
from typing_extensions import override

from crossfade.runtime.statuses import Refusal

BUSY_RETRY_S: Final = 0.2
"""The retry-after for a client whose call was one too many: calls take some ms, so by then others have ended."""

STOPPING_RETRY_S: Final = 0.1
"""The retry-after for a client that still calls a server after its notice; another server needs no wait."""

QUIET_S: Final = 0.2
"""After this long without a call, a server assumes that its clients have left."""

UNTAKEN: Final = (
    ("grpc.server.max_pending_requests", 1 << 16),
    ("grpc.server.max_pending_requests_hard_limit", 1 << 16),
)
"""Calls that gRPC's core holds until the event loop takes them. By default it cancels some above 1,000 and all above
3,000, at random and silently, so a burst never reaches what is refused here (grpc, src/core/server/server.cc).
So many untaken calls are some ten seconds of refusals. `grpc.max_concurrent_streams` would not help: a client that
hasn't read that setting yet has its calls reset (REFUSED_STREAM, 2,316 of 4,000 in a burst on a fresh connection)."""


READ_TIMES: Final = 4
"""So many times the longest request are read, to be refused here with its size; gRPC's core refuses longer ones
without details, and leaves no way to add any."""


class MalformedRequest(Refusal):
    """The bytes of a request are not a message of the method's type, or there are too many."""

    code = "malformed_request"
    status = grpc.StatusCode.INVALID_ARGUMENT
    reason = "INVALID_ARGUMENT"

    @override
    def details(self) -> Sequence[Message]:
        """Blame the request as a whole: the parser doesn't say which field."""
        return (error_details_pb2.BadRequest(field_violations=[{"field": "", "description": str(self)}]),)


class Overloaded(Refusal):
    """The server is handling as many calls as it may; nothing was applied. It counts as our fault."""

    code = "overloaded"
    retryable = True
    status = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "OVERLOADED"
    is_fault = True

    def __init__(self, most: int) -> None:
        super().__init__(f"this pod has {most} calls in progress and accepts no more", retry_after_s=BUSY_RETRY_S)


class Stopping(Refusal):
    """The server is stopping, after its notice of NOT_SERVING; nothing was applied."""

    code = "stopping"
    retryable = True
    status = grpc.StatusCode.UNAVAILABLE
    reason = "UNAVAILABLE"

    def __init__(self) -> None:
        super().__init__("this pod is stopping; another one can serve the call", retry_after_s=STOPPING_RETRY_S)


class Unfit(NamedTuple):
    """Stands for the request of a call that is refused before its method runs.

    Attributes:
        error: why.
        request: the request, if it could be parsed.
    """

    error: Refusal
    request: Message | None = None


class Admission(grpc.GenericRpcHandler):
    """Takes a server's place while a servicer is added to it, so that each unary method is reached through here.

    Health and reflection don't pass here: an overloaded server still reports that it is alive.

    Attributes:
        note_unknown: called at each call of a method that the service doesn't have.
    """

    def __init__(self, server: grpc.aio.Server, most: int, longest_bytes: int) -> None:
        """Stand before `server`.

        Args:
            server: gets the methods.
            most: calls that may run at a time.
            longest_bytes: of a request.
        """
        self._server = server
        self._longest_bytes = longest_bytes
        self._most = most
        self._running = 0
        self._closed = False
        self._last_s = float("-inf")
        self.note_unknown: Callable[[], None] = lambda: None

    async def close(self, longest_s: float) -> None:
        """Refuse calls from now on, and return once none has come for `QUIET_S`, or after `longest_s`."""
        self._closed, self._last_s = True, time.monotonic()
        until_s = self._last_s + longest_s
        while (left_s := min(until_s, self._last_s + QUIET_S) - time.monotonic()) > 0:  # noqa: ASYNC110 -- calls move it
            await asyncio.sleep(left_s)

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Nothing: generated code gives the same methods to `add_registered_method_handlers` next."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Add the methods of the service, wrapped, and not in advance; called by generated code."""
        self._start = f"/{service}/"
        self._methods = {self._start + name: self._wrapped(handler) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((self,))

    @override
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Find a method. What isn't found is left to gRPC, which says UNIMPLEMENTED."""
        method: Any = handler_call_details.method
        found = self._methods.get(method)
        if found is None and method.startswith(self._start):
            self.note_unknown()
        return found

    def _wrapped(self, handler: Any) -> Any:
        method: Callable[[Message | Unfit, Any], Awaitable[Message]] = handler.unary_unary

        async def admitted(request: Message | Unfit, context: grpc.aio.ServicerContext[Any, Any]) -> Message:
            self._last_s = time.monotonic()
            if self._running >= self._most or self._closed:
                if not isinstance(request, Unfit):
                    request = Unfit(Stopping() if self._closed else Overloaded(self._most), request)
                return await method(request, context)
            self._running += 1
            try:
                return await method(request, context)
            finally:
                self._running -= 1

        return grpc.unary_unary_rpc_method_handler(
            admitted,
            request_deserializer=_reader(handler.request_deserializer, self._longest_bytes),
            response_serializer=handler.response_serializer,
        )


def _reader(parse: Callable[[bytes], Message], longest_bytes: int) -> Callable[[bytes], Message | Unfit]:
    def read(raw: bytes) -> Message | Unfit:
        if len(raw) > longest_bytes:
            too_long = f"the request has {len(raw)} bytes, {longest_bytes} are allowed: send fewer operations in a call"
            return Unfit(MalformedRequest(too_long))
        try:
            return parse(raw)
        except DecodeError as error:
            return Unfit(MalformedRequest(f"the request can't be parsed: {error}"))

    return read
