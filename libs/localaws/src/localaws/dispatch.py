"""The short path of a request: DynamoDB's and Kinesis's data planes, and the control endpoints.

ministack finds out by a long list of questions which service a request is for, which costs more than most
requests themselves. A request with a DynamoDB or Kinesis target header needs none of them.
"""

from __future__ import annotations

import sys
import traceback
import uuid
import zlib
from functools import lru_cache
from typing import Any, NamedTuple

import ministack.services.dynamodb as dynamodb
import ministack.services.kinesis as kinesis
import msgspec
from ministack.core.responses import error_response_json, set_request_account_id, set_request_region

from localaws.calls import calls
from localaws.control import CONTROL_PREFIX, control
from localaws.endpoints import REGION
from localaws.http_server import Request, response

TARGETS = {
    f"DynamoDB_20120810.{action}".encode(): (dynamodb, handler)
    for action, handler in {
        "BatchExecuteStatement": "_batch_execute_statement",
        "BatchGetItem": "_batch_get_item",
        "BatchWriteItem": "_batch_write_item",
        "DeleteItem": "_delete_item",
        "ExecuteStatement": "_execute_statement",
        "GetItem": "_get_item",
        "PutItem": "_put_item",
        "Query": "_query",
        "Scan": "_scan",
        "TransactGetItems": "_transact_get_items",
        "TransactWriteItems": "_transact_write_items",
        "UpdateItem": "_update_item",
    }.items()
} | {
    f"Kinesis_20131202.{action}".encode(): (kinesis, handler)
    for action, handler in {
        "GetRecords": "_get_records",
        "GetShardIterator": "_get_shard_iterator",
        "PutRecord": "_put_record",
        "PutRecords": "_put_records",
    }.items()
}
"""The data plane: target header to module and name of the function, looked up at each call."""

SERVICES = {dynamodb: "dynamodb", kinesis: "kinesis"}
CONTENT_TYPES = {dynamodb: b"application/x-amz-json-1.0", kinesis: b"application/x-amz-json-1.1"}


class Caller(NamedTuple):
    """Whose resources a request is about."""

    access_key_id: str
    region: str


@lru_cache(maxsize=256)
def _caller(credential: bytes) -> Caller | None:
    """Read the credential of an Authorization header; None when ministack shall read it."""
    parts = credential.decode("latin-1").split("/")
    session = parts[0].startswith("ASIA")  # of an assumed role, in another account
    return None if len(parts) < 3 or session else Caller(parts[0], parts[2] or REGION)


def quick_answer(request: Request) -> bytes | None:
    """Answer a request that needs no waiting; None when ministack's application is to answer it."""
    if request.target.startswith(CONTROL_PREFIX):
        return control(request)
    target = request.headers.get(b"x-amz-target", b"")
    found = TARGETS.get(target)
    if found is None or request.method != "POST" or b"content-encoding" in request.headers:
        calls.count_request(request)
        return None
    authorization = request.headers.get(b"authorization", b"")
    caller = _caller(authorization.partition(b"Credential=")[2].partition(b"/aws4_request")[0])
    if caller is None or b"cbor" in request.headers.get(b"content-type", b""):
        calls.count_request(request)
        return None
    set_request_account_id(caller.access_key_id)
    set_request_region(caller.region)
    module, name = found
    asked = _decoded(request.body)
    if isinstance(asked, dict):
        calls.count(caller.access_key_id, SERVICES[module], target.rpartition(b".")[2].decode(), asked)
    status, headers, body = _run(module, name, asked)
    lines = [
        (b"content-type", CONTENT_TYPES[module]),
        (b"x-amzn-requestid", uuid.uuid4().hex.upper().encode()),
    ]
    if kind := headers.get("x-amzn-errortype"):
        lines.append((b"x-amzn-errortype", kind.encode()))
    elif module is dynamodb:  # errors carry none, as AWS's own engine has it
        lines.append((b"x-amz-crc32", b"%d" % zlib.crc32(body)))
    return response(status, lines, body)


def _decoded(body: bytes) -> Any:
    """Return the body's JSON; None for what is none."""
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None


def _run(module: Any, name: str, request: Any) -> tuple[int, dict[str, str], bytes]:
    if request is None:
        refusal: tuple[int, dict[str, str], bytes] = error_response_json("SerializationException", "Invalid JSON", 400)
        return refusal
    try:
        status, headers, answer = getattr(module, name)(request)
    except Exception as error:  # a fault of the emulator must reach the client as one of the service
        traceback.print_exc(file=sys.stderr)
        failure: tuple[int, dict[str, str], bytes] = error_response_json("InternalServerError", repr(error), 500)
        return failure
    return status, headers, answer if isinstance(answer, bytes) else answer.encode()
