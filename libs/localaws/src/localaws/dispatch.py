"""The short path of a request: DynamoDB's and Kinesis's data planes, and the control endpoints.

ministack finds out by a long list of questions which service a request is for, which costs more than most
requests themselves. A request with a DynamoDB or Kinesis target header needs none of them.
"""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import ministack.services.dynamodb as dynamodb
import ministack.services.kinesis as kinesis
import msgspec
from ministack.core.responses import error_response_json, set_request_account_id, set_request_region

from localaws.access import access
from localaws.calls import calls
from localaws.control import CONTROL_PREFIX, control
from localaws.endpoints import REGION
from localaws.http_server import Request, response
from localaws.patches import policies, record_sizes, throttling
from localaws.patches.bodies import deserialized, failure

Json = dict[str, Any]
Answer = tuple[int, dict[str, str], Any]
Denied = list[str | None]
"""Per action of a request, why it is refused."""

DYNAMODB = b"DynamoDB_20120810."

TARGETS: dict[bytes, tuple[Any, str]] = {
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
TARGETS[b"Kinesis_20131202.UpdateMaxRecordSize"] = (record_sizes, "update_max_record_size")
"""The data plane: target header to module and name of the function, looked up at each call."""

SERVICES = {dynamodb: "dynamodb", kinesis: "kinesis", record_sizes: "kinesis"}
DYNAMODB_TYPE = b"application/x-amz-json-1.0"
KINESIS_TYPE = b"application/x-amz-json-1.1"
CONTENT_TYPES = {dynamodb: DYNAMODB_TYPE, kinesis: KINESIS_TYPE, record_sizes: KINESIS_TYPE}


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
    if words := access.expired(request):
        return _expired(request, words)
    target = request.headers.get(b"x-amz-target", b"")
    found = TARGETS.get(target)
    authorization = request.headers.get(b"authorization", b"")
    caller = _caller(authorization.partition(b"Credential=")[2].partition(b"/aws4_request")[0])
    quick = found is not None and request.method == "POST" and caller is not None
    if not quick or b"content-encoding" in request.headers or b"cbor" in request.headers.get(b"content-type", b""):
        calls.count_request(request)
        return _refused_slowly(request, target, authorization) if target.startswith(DYNAMODB) else None
    assert found is not None and caller is not None  # noqa: S101, PT018  # as `quick` has it
    set_request_account_id(caller.access_key_id)
    set_request_region(caller.region)
    module, name = found
    asked, operation = _decoded(request.body), target.rpartition(b".")[2].decode()
    denied: Denied = []
    if isinstance(asked, dict):
        try:
            calls.count(caller.access_key_id, SERVICES[module], operation, asked)
            if module is dynamodb:
                denied = policies.denied(caller.access_key_id, operation, asked)
        except (AttributeError, TypeError):  # a body that isn't what its operation takes; that is said below
            denied = []
    status, headers, body = (
        _denied(operation, asked, denied)
        if any(denied)
        else _run(getattr(module, name), asked, SERVICES[module], operation)
    )
    lines = [
        (b"content-type", CONTENT_TYPES[module]),
        (b"x-amzn-requestid", uuid.uuid4().hex.upper().encode()),
    ]
    if kind := headers.get("x-amzn-errortype"):
        lines.append((b"x-amzn-errortype", kind.encode()))
    elif module is dynamodb:  # errors carry none, as AWS's own engine has it
        lines.append((b"x-amz-crc32", b"%d" % zlib.crc32(body)))
    return response(status, lines, body)


def _refused_slowly(request: Request, target: bytes, authorization: bytes) -> bytes | None:
    """Refuse what a policy denies of the requests that ministack answers: of sessions, and about tables."""
    found = authorization.partition(b"Credential=")[2].partition(b"/aws4_request")[0].decode("latin-1").split("/")
    asked = _decoded(request.body or b"{}")
    if len(found) < 3 or not isinstance(asked, dict):
        return None
    set_request_account_id(found[0])
    set_request_region(found[2])
    try:
        denied = policies.denied(found[0], target.rpartition(b".")[2].decode(), asked)
    except (AttributeError, TypeError):  # see above
        return None
    words = next(filter(None, denied), None)
    return None if words is None else _error(DYNAMODB_TYPE, 400, _access_denied(words))


def _denied(operation: str, asked: Json, denied: Denied) -> Answer:
    """Answer a request of which a policy denies something: all of it, or, in a batch of statements, each statement."""
    if operation != "BatchExecuteStatement":
        return _access_denied(next(filter(None, denied)))
    errors = [{"Code": "AccessDenied", "Message": words} if words else None for words in denied]

    def run(batch: Json) -> Answer:
        return throttling.answered_around(dynamodb._batch_execute_statement, batch, errors)

    return _run(run, asked, "dynamodb", operation)


def _access_denied(words: str) -> Answer:
    refusal: Answer = error_response_json("AccessDeniedException", words, 400)
    return refusal


def _expired(request: Request, words: str) -> bytes:
    if b"x-amz-target" in request.headers:
        return _error(DYNAMODB_TYPE, 400, error_response_json("InvalidSignatureException", words, 400))
    code = b"RequestTimeTooSkewed"  # S3's, and that of the others that speak XML
    shown = b"<?xml version='1.0'?><Error><Code>%s</Code><Message>%s</Message></Error>" % (code, words.encode())
    return response(403, [(b"content-type", b"application/xml")], shown)


def _error(content_type: bytes, status: int, answer: Answer) -> bytes:
    _, headers, body = answer
    lines = [(b"content-type", content_type), (b"x-amzn-requestid", uuid.uuid4().hex.upper().encode())]
    if kind := headers.get("x-amzn-errortype"):
        lines.append((b"x-amzn-errortype", kind.encode()))
    return response(status, lines, body)


def _decoded(body: bytes) -> Any:
    """Return the body's JSON; None for what is none."""
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None


def _run(
    answer_to: Callable[[Json], Answer], asked: Any, service: str, operation: str
) -> tuple[int, dict[str, str], bytes]:
    if not isinstance(asked, dict):
        return _bytes(error_response_json("SerializationException", "Unexpected value type in payload", 400))
    try:
        status, headers, body = _bytes(answer_to(asked))
    except Exception as error:
        return _bytes(failure(error, service, operation, asked))
    return _bytes(deserialized((status, headers, body), service, operation, asked))


def _bytes(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    status, headers, body = answer
    return status, headers, body if isinstance(body, bytes) else body.encode()
