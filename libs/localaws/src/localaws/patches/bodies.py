"""Bodies that are no requests: refused with 400, as the service's deserializer does.

ministack 1.5.33 fails with HTTP 500 over many of them (a limit that is a text, a list where a structure belongs), which
clients take for a fault of the service and try again.

Source: DynamoDB developer guide, "Error handling" (SerializationException isn't retried); see `localaws.malformed`.
"""

from __future__ import annotations

import json
import sys
import traceback
from types import ModuleType
from typing import Any

import ministack.services.dynamodb as dynamodb
import ministack.services.kinesis as kinesis
from ministack.core.responses import error_response_json

from localaws.malformed import wrong
from localaws.patches.registry import patch

Answer = tuple[int, dict[str, str], Any]

_LATER = frozenset({"ValidationException", "ResourceNotFoundException"})
"""What the service says only of a request that it could read."""


def failure(error: Exception, service: str, operation: str, body: Any) -> Answer:
    """Answer a request over which the emulator has failed: the body is malformed, or the fault is the emulator's."""
    words = wrong(service, operation, body)
    if words is None:
        traceback.print_exception(error, file=sys.stderr)
        code, status, words = "InternalServerError", 500, repr(error)
    else:
        code, status = "SerializationException", 400
    answer: Answer = error_response_json(code, words, status)
    return answer


def deserialized(answer: Answer, service: str, operation: str, body: Any) -> Answer:
    """Answer a request that was refused: the deserializer's refusal comes before any other."""
    if answer[1].get("x-amzn-errortype") in _LATER and (words := wrong(service, operation, body)):
        refusal: Answer = error_response_json("SerializationException", words, 400)
        return refusal
    return answer


def _refusing(service: str) -> Any:
    def mend(original: Any) -> Any:
        async def mended(method: str, path: str, headers: dict[str, str], body: bytes, query: Any) -> Answer:
            try:
                asked = json.loads(body) if body else {}
            except ValueError:
                asked = {}  # the original says so
            if not isinstance(asked, dict):
                refusal: Answer = error_response_json("SerializationException", "Unexpected value type in payload", 400)
                return refusal
            try:
                answer: Answer = await original(method, path, headers, body, query)
            except Exception as error:
                return failure(error, service, headers.get("x-amz-target", "").rpartition(".")[2], asked)
            return deserialized(answer, service, headers.get("x-amz-target", "").rpartition(".")[2], asked)

        return mended

    return mend


for _service, _name in ((dynamodb, "dynamodb"), (kinesis, "kinesis")):
    _module: ModuleType = _service
    patch("malformed_bodies", _module, "handle_request")(_refusing(_name))
