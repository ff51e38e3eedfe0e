"""Positions, options, faults and the requests that leases are made of."""

from __future__ import annotations

import pytest

from faust_kinesis import LATEST, TRIM_HORIZON, LeaseLost, Options, Position
from faust_kinesis.errors import Fault, ServiceError, fault_of
from faust_kinesis.leases import put_request, query_request, read_item, update_request


@pytest.mark.parametrize("position", [TRIM_HORIZON, LATEST, Position(at_s=1_764_000_000.25)])
def test_a_start_reads_back_what_it_says(position: Position) -> None:
    assert Position.parse(str(position)) == position


@pytest.mark.parametrize("text", ["", "latest", "AT_TIMESTAMP", "AT_TIMESTAMP:soon", "AFTER_SEQUENCE_NUMBER:7"])
def test_what_is_no_start_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"start position|could not convert"):
        Position.parse(text)


def test_a_position_is_one_thing_only() -> None:
    with pytest.raises(ValueError, match="one of them"):
        Position(after="a", latest=True)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"fetch_limit": 10_001}, "fetch_limit"),
        ({"poll_interval_s": 0.05}, "poll_interval_s"),
        ({"lease_s": 3.0, "cycle_s": 1.5}, "lease_s"),
        ({"lanes": 0}, "lanes"),
        ({"worker_id": ""}, "worker_id"),
        ({"group": "a#b"}, "group"),
    ],
)
def test_a_bad_option_is_refused_by_name(changes: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Options(**changes)  # type: ignore[arg-type] # the wrong values are the test


class Foreign(Exception):
    """What an injected client raises."""

    def __init__(self, *, reason: str | None = None, retryable: bool | None = None) -> None:
        if reason is not None:
            self.reason = reason
        if retryable is not None:
            self.retryable = retryable


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (Foreign(reason="ExpiredIteratorException", retryable=False), Fault.ITERATOR_EXPIRED),
        (Foreign(reason="ProvisionedThroughputExceededException"), Fault.RETRY),
        (Foreign(reason="TrimmedDataAccessException", retryable=False), Fault.TRIMMED),
        (Foreign(retryable=True), Fault.RETRY),
        (Foreign(reason="AccessDeniedException", retryable=False), Fault.FATAL),
        (Foreign(), Fault.FATAL),
        (TimeoutError(), Fault.RETRY),
        (ConnectionResetError(), Fault.RETRY),
        (ServiceError("x", reason="InternalFailure", retryable=True), Fault.RETRY),
        (LeaseLost("x"), Fault.FATAL),
        (KeyError("a bug"), Fault.FATAL),
    ],
)
def test_a_foreign_exception_is_known_by_its_reason_or_by_being_retryable(error: Exception, fault: Fault) -> None:
    assert fault_of(error) is fault


def test_a_swap_is_one_conditional_update_with_no_reserved_word_in_it() -> None:
    request = update_request("t", "s#g", "shard", {"owner": None, "term": 3}, {"owner": "me", "wanted": None})
    assert request == {
        "TableName": "t",
        "Key": {"pk": {"S": "s#g"}, "sk": {"S": "shard"}},
        "UpdateExpression": "SET #owner = :new_owner REMOVE #wanted",
        "ConditionExpression": "attribute_exists(pk) AND attribute_not_exists(#owner) AND #term = :old_term",
        "ExpressionAttributeNames": {"#owner": "owner", "#term": "term", "#wanted": "wanted"},
        "ExpressionAttributeValues": {":old_term": {"N": "3"}, ":new_owner": {"S": "me"}},
    }


def test_a_creation_never_overwrites() -> None:
    request = put_request("t", "s#g", "shard", {"term": 0})
    assert request["ConditionExpression"] == "attribute_not_exists(pk)"
    assert request["Item"] == {"pk": {"S": "s#g"}, "sk": {"S": "shard"}, "term": {"N": "0"}}


def test_leases_are_listed_consistently() -> None:
    assert query_request("t", "s#g")["ConsistentRead"] is True


def test_a_checkpoint_that_looks_like_a_number_stays_a_string() -> None:
    """Emulators pad sequence numbers with zeros; read as integers they would match nothing."""
    assert read_item({"checkpoint": {"S": "00000017"}, "term": {"N": "4"}}) == {"checkpoint": "00000017", "term": 4}
