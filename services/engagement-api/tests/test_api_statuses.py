"""The one place where errors become gRPC statuses."""

from __future__ import annotations

import inspect

import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc import StatusCode

from api_world import context, detail_of
from crossfade.core.values import errors
from crossfade.core.values.errors import CrossfadeError
from crossfade.runtime.grpc import new_traceparent, traceparent_of
from crossfade.runtime.statuses import STATUSES, InvalidArgument, status_of

DOMAIN = "crossfade.test.v1"


def has(status: object, kind: type[Message]) -> bool:
    return any(each.Is(kind.DESCRIPTOR) for each in status.details)  # type: ignore[attr-defined] # a google.rpc.Status


def test_every_error_of_the_tree_has_its_status() -> None:
    tree = {each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, CrossfadeError)}
    assert set(STATUSES) == tree - {CrossfadeError}


@pytest.mark.parametrize(
    ("error", "code", "wait_ms"),
    [
        (errors.Throttled("slow down", retry_after_s=1.25), StatusCode.UNAVAILABLE, 1250),
        (errors.Throttled("slow down"), StatusCode.UNAVAILABLE, 200),
        (errors.StoreUnavailable("no answer"), StatusCode.UNAVAILABLE, 200),
        (errors.StoreRefused("not allowed", reason="AccessDeniedException"), StatusCode.INTERNAL, None),
        (errors.OwnershipAmbiguous("who knows"), StatusCode.INTERNAL, None),
        (errors.SnapshotBroken("they differ"), StatusCode.FAILED_PRECONDITION, None),
        (errors.CheckpointExpired("too late"), StatusCode.DATA_LOSS, None),
    ],
)
def test_a_retry_is_asked_for_where_it_helps_and_only_there(
    error: CrossfadeError, code: StatusCode, wait_ms: int | None
) -> None:
    status = status_of(error, DOMAIN)
    assert (status.code, status.message) == (code.value[0], str(error))
    info = detail_of(status, error_details_pb2.ErrorInfo)
    assert (info.domain, info.metadata["code"]) == (DOMAIN, error.code)
    if wait_ms is None:
        assert not has(status, error_details_pb2.RetryInfo)
    else:
        assert detail_of(status, error_details_pb2.RetryInfo).retry_delay.ToMilliseconds() == wait_ms


def test_an_error_of_another_make_has_the_meaning_of_its_nearest_base() -> None:
    class Overloaded(errors.Throttled):
        pass

    assert status_of(Overloaded("so much"), DOMAIN).code == StatusCode.UNAVAILABLE.value[0]
    assert status_of(KeyError("inner name"), DOMAIN).message == "internal error"


def test_a_wrong_field_is_named_apart_from_what_is_wrong_with_it() -> None:
    status = status_of(InvalidArgument("operations[3].user", "must not be empty"), DOMAIN)
    [violation] = detail_of(status, error_details_pb2.BadRequest).field_violations
    assert (violation.field, violation.description) == ("operations[3].user", "must not be empty")
    assert status.message == "operations[3].user must not be empty"


def test_a_new_trace_context_is_one_that_is_taken() -> None:
    made = new_traceparent()
    assert traceparent_of(context(traceparent=made)) == made
    assert traceparent_of(context(traceparent="ff" + made[2:])) == ""
