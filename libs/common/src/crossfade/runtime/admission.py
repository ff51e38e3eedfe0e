"""What stands between the wire and a servicer's methods.

gRPC's own answer to a request that can't be parsed is UNKNOWN without details. So it is found here and refused by
`answers_errors` like anything else: typed, observed and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2
from typing_extensions import override

from crossfade.runtime.statuses import Refusal


class MalformedRequest(Refusal):
    """The bytes of a request are no message of the method's type."""

    code = "malformed_request"
    status = grpc.StatusCode.INVALID_ARGUMENT
    reason = "INVALID_ARGUMENT"

    @override
    def details(self) -> Sequence[Message]:
        """Blame the request as a whole: the parser doesn't say which field."""
        return (error_details_pb2.BadRequest(field_violations=[{"field": "", "description": str(self)}]),)


class Unfit(NamedTuple):
    """Stands for the request of a call that is refused before its method runs.

    Attributes:
        error: why.
        request: the request, if it could be parsed.
    """

    error: Refusal
    request: Message | None = None


class Admission:
    """Takes a server's place while a servicer is added to it, so that each unary method is reached through here."""

    def __init__(self, server: grpc.aio.Server) -> None:
        """Stand before `server`."""
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Nothing: generated code gives the same methods to `add_registered_method_handlers` next."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Add the methods of a service, wrapped; called by generated code."""
        wrapped = {name: self._wrapped(handler) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, wrapped),))
        self._server.add_registered_method_handlers(service, wrapped)

    def _wrapped(self, handler: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(
            handler.unary_unary,
            request_deserializer=_reader(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )


def _reader(parse: Callable[[bytes], Message]) -> Callable[[bytes], Message | Unfit]:
    def read(raw: bytes) -> Message | Unfit:
        try:
            return parse(raw)
        except DecodeError as error:
            return Unfit(MalformedRequest(f"the request can't be parsed: {error}"))

    return read
