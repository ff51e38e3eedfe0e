"""Who called what: the IAM actions of each access key, by resource, as IAM would ask whether they are allowed.

IAM's names are not always the API's: a PartiQL statement is PartiQLUpdate or PartiQLInsert on its table, a transaction
is what its items do, HeadBucket and ListObjectsV2 are s3:ListBucket. Source: Service Authorization Reference.
"""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final
from urllib.parse import parse_qs, unquote

import msgspec

from localaws.http_server import Request

Json = dict[str, Any]

UNKNOWN: Final = "?"
"""Stands for a resource that a request doesn't name: a page token, an encoding that isn't read here."""

_AUTHORIZATION: Final = re.compile(rb"Credential=([^/]+)/[^/]+/[^/]+/([^/]+)/aws4_request")
_STATEMENT: Final = re.compile(r'\s*(SELECT|INSERT|UPDATE|DELETE)\b(?:.*?\bFROM|\s+INTO)?\s+"?([\w.-]+)', re.I | re.S)
_RPC: Final = re.compile(rb"^/service/[^/]+/operation/(\w+)")
_CREATED: Final = "TableCreationParameters"


class Calls:
    """Counts actions; one of them serves the whole emulator."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[tuple[str, str]]] = {}

    def count(self, access_key_id: str, service: str, operation: str, body: Json) -> None:
        """Count a request whose body was read already."""
        counts = self._counts.get(access_key_id)
        if counts is None:
            counts = self._counts[access_key_id] = Counter()
        try:
            asked = list(actions(service, operation, body))
        except (AttributeError, TypeError):  # a body of another shape asks for nothing
            return
        for action, resource in asked:
            counts[f"{service}:{action}", resource] += 1

    def count_request(self, request: Request) -> None:
        """Count a request as it came; one without a signature is nobody's."""
        found = _AUTHORIZATION.search(request.headers.get(b"authorization", b""))
        if found is None:
            return
        key, service = found[1].decode("latin-1"), found[2].decode("latin-1")
        if service == "s3":
            self.count(key, service, *_s3(request))
        else:
            self.count(key, "cloudwatch" if service == "monitoring" else service, _operation(request), _body(request))

    def report(self) -> dict[str, dict[str, dict[str, int]]]:
        """Return access key id to action to resource to how often."""
        shown: dict[str, dict[str, dict[str, int]]] = {}
        for key, counts in sorted(self._counts.items()):
            actions = shown[key] = {}
            for (action, resource), count in sorted(counts.items()):
                actions.setdefault(action, {})[resource] = count
        return shown

    def forget(self) -> None:
        """Start over."""
        self._counts.clear()


calls: Final = Calls()


def actions(service: str, operation: str, body: Json) -> Iterator[tuple[str, str]]:
    """Yield action and resource of all that a request does."""
    if operation in {"BatchExecuteStatement", "ExecuteStatement", "ExecuteTransaction"}:
        for each in body.get("Statements") or body.get("TransactStatements") or [body]:
            yield _statement(each.get("Statement", ""))
    elif operation in {"TransactWriteItems", "TransactGetItems"}:
        for item in body.get("TransactItems", []):
            for kind, each in item.items():
                name = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "Get": "GetItem"}
                yield name.get(kind, "ConditionCheckItem"), each.get("TableName", UNKNOWN)
    elif isinstance(body.get("RequestItems"), dict):
        for table in body["RequestItems"]:
            yield operation, table
    else:
        yield operation, _resource(service, body)


@lru_cache(maxsize=1024)
def _statement(text: str) -> tuple[str, str]:
    found = _STATEMENT.match(text)
    return (f"PartiQL{found[1].capitalize()}", found[2]) if found else ("PartiQL", UNKNOWN)


def _resource(service: str, body: Json) -> str:
    """Return the name of what a request is about."""
    if service == "kinesis" and (name := body.get("StreamName")):
        return str(name)
    if iterator := body.get("ShardIterator"):
        return _stream_of(iterator)
    if name := body.get("TableName") or body.get("Bucket"):
        return _name(str(name))
    if created := body.get(_CREATED):
        return str(created.get("TableName", UNKNOWN))
    for field in ("TableArn", "ResourceArn", "ExportArn", "ImportArn", "StreamARN"):
        if arn := body.get(field):
            return _name(str(arn))
    return UNKNOWN


def _name(of: str) -> str:
    """Return the name in an ARN: of the table that an export is of, of the stream."""
    return of.split(":")[-1].split("/")[1] if of.startswith("arn:") else of


def _stream_of(iterator: str) -> str:
    """Return the stream of one of our shard iterators (see `patches.streams`)."""
    try:
        return _name(json.loads(base64.b64decode(iterator))[0])
    except (ValueError, LookupError, AttributeError):
        return UNKNOWN


def _operation(request: Request) -> str:
    """Return the operation's name, which each protocol has in another place."""
    if target := request.headers.get(b"x-amz-target"):
        return target.decode("latin-1").rpartition(".")[2]
    if found := _RPC.match(request.target):
        return found[1].decode()
    return parse_qs(request.body.decode("latin-1")).get("Action", [UNKNOWN])[0]


def _body(request: Request) -> Json:
    try:
        body = msgspec.json.decode(request.body or b"{}")
    except msgspec.DecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def _s3(request: Request) -> tuple[str, Json]:
    """Return the action, and the bucket, of a request with the bucket in its path."""
    path, _, query = request.target.decode("latin-1").partition("?")
    bucket, _, key = unquote(path).lstrip("/").partition("/")
    asked = parse_qs(query, keep_blank_values=True)
    if not key:
        action = {"GET": "ListBucket", "HEAD": "ListBucket", "PUT": "CreateBucket", "DELETE": "DeleteBucket"}
        special = next((name for name in asked if name in {"versioning", "lifecycle", "encryption", "policy"}), "")
        verb = "Put" if request.method == "PUT" else "Get"
        return (f"{verb}Bucket{special.capitalize()}" if special else action.get(request.method, UNKNOWN)), {
            "Bucket": bucket or UNKNOWN
        }
    action = {"GET": "GetObject", "HEAD": "GetObject", "PUT": "PutObject", "POST": "PutObject"}
    done = "AbortMultipartUpload" if "uploadId" in asked else "DeleteObject"
    return action.get(request.method, done), {"Bucket": bucket}
