"""Error answers of every shape the engines send, what they mean for a retry, and how long one waits."""

from __future__ import annotations

import pytest

from crossfade.adapters.wire.client import WireConfig, endpoint_of
from crossfade.adapters.wire.errors import (
    ConditionFailed,
    Cure,
    ServiceError,
    TransactionCanceled,
    bare,
    read_refusal,
    refused,
)
from crossfade.adapters.wire.retry import CEILING_S, RetryBudget, pause_s
from crossfade.core.values.errors import ConfigError


@pytest.mark.parametrize(
    "kind",
    [
        "ValidationException",
        "com.amazonaws.dynamodb.v20120810#ValidationException",
        "com.amazon.coral.validate#ValidationException:http://internal.amazon.com/coral/",
    ],
)
@pytest.mark.parametrize("field", ["message", "Message"])
def test_types_come_bare_or_prefixed_and_messages_in_either_case(kind: str, field: str) -> None:
    body = f'{{"__type":"{kind}","{field}":"no such attribute"}}'.encode()
    refusal, cure = read_refusal(400, {}, body)
    error = refused("PutItem", refusal, body)
    assert isinstance(error, ServiceError)
    assert (error.reason, error.body, cure) == ("ValidationException", body, Cure.NONE)
    assert str(error) == "PutItem: ValidationException: no such attribute"
    assert not error.retryable


def test_a_type_in_the_header_counts_where_the_body_names_none() -> None:
    refusal, cure = read_refusal(400, {b"x-amzn-errortype": b"ThrottlingException:http://x"}, b'{"message":"slow"}')
    assert (refusal.kind, cure) == ("ThrottlingException", Cure.WAIT)


@pytest.mark.parametrize(
    ("status", "kind", "cure"),
    [
        (400, "ProvisionedThroughputExceededException", Cure.WAIT),
        (400, "TransactionConflictException", Cure.WAIT),
        (429, "SomethingNew", Cure.WAIT),
        (500, "InternalServerError", Cure.RETRY),
        (503, "SomethingNew", Cure.RETRY),
        (400, "InternalFailure", Cure.RETRY),
        (400, "ExpiredTokenException", Cure.REFRESH),
        (400, "InvalidSignatureException", Cure.CLOCK),
        (400, "ResourceNotFoundException", Cure.NONE),
        (400, "ConditionalCheckFailedException", Cure.NONE),
        (400, "AccessDeniedException", Cure.NONE),
    ],
)
def test_each_refusal_has_its_cure(status: int, kind: str, cure: Cure) -> None:
    assert read_refusal(status, {}, f'{{"__type":"x#{kind}"}}'.encode())[1] is cure


def test_a_proxy_without_json_is_told_by_its_status() -> None:
    refusal, cure = read_refusal(502, {}, b"<html>bad gateway")
    assert (refusal.kind, refusal.message, cure) == ("HTTP 502", "<html>bad gateway", Cure.RETRY)


def test_a_failed_condition_gives_the_item_it_met_raw() -> None:
    body = b'{"__type":"x#ConditionalCheckFailedException","Item":{"cf_mv": {"N": "90071992547409930"}}}'
    error = refused("UpdateItem", read_refusal(400, {}, body)[0], body)
    assert isinstance(error, ConditionFailed)
    assert error.item is not None
    assert bytes(error.item["cf_mv"]) == b'{"N": "90071992547409930"}'


def test_a_failed_condition_without_an_item_has_none() -> None:
    body = b'{"__type":"ConditionalCheckFailedException"}'
    error = refused("UpdateItem", read_refusal(400, {}, body)[0], body)
    assert isinstance(error, ConditionFailed)
    assert error.item is None


def canceled(*codes: str) -> TransactionCanceled:
    reasons = ",".join(f'{{"Code":"{code}"}}' for code in codes)
    body = f'{{"__type":"x#TransactionCanceledException","CancellationReasons":[{reasons}]}}'.encode()
    error = refused("TransactWriteItems", read_refusal(400, {}, body)[0], body)
    assert isinstance(error, TransactionCanceled)
    return error


def test_a_canceled_transaction_names_the_reason_of_each_action_with_its_item() -> None:
    body = (
        b'{"__type":"TransactionCanceledException","CancellationReasons":[{"Code":"None"},'
        b'{"Code":"ConditionalCheckFailed","Message":"no","Item":{"n":{"N":"1"}}}]}'
    )
    error = refused("TransactWriteItems", read_refusal(400, {}, body)[0], body)
    assert isinstance(error, TransactionCanceled)
    (first, no_item), (second, item) = error.reasons
    assert (first, no_item, second) == ("None", None, "ConditionalCheckFailed")
    assert item is not None
    assert bytes(item["n"]) == b'{"N":"1"}'


def test_a_transaction_is_worth_a_retry_only_if_every_cause_passes_with_time() -> None:
    assert canceled("None", "TransactionConflict", "ThrottlingError").retryable
    assert not canceled("TransactionConflict", "ConditionalCheckFailed").retryable
    assert not canceled("None").retryable


def test_bare_leaves_a_bare_type_alone() -> None:
    assert bare("DuplicateItem") == "DuplicateItem"


def test_the_wait_is_a_random_share_of_a_window_that_doubles_up_to_a_ceiling() -> None:
    windows = [pause_s(failures, throttled=False, jitter=1.0) for failures in range(1, 40)]
    assert windows[:3] == [0.025, 0.05, 0.1]
    assert windows[-1] == CEILING_S
    assert pause_s(3, throttled=False, jitter=0.0) == 0.0


def test_a_throttle_waits_longer_than_a_fault_and_never_less_than_it_was_asked_to() -> None:
    assert pause_s(1, throttled=True, jitter=0.5) > pause_s(1, throttled=False, jitter=0.5)
    assert pause_s(1, throttled=True, jitter=0.0, asked_s=3.0) == 3.0


def test_the_budget_ends_retries_when_nearly_all_calls_fail_and_recovers_with_successes() -> None:
    budget = RetryBudget()
    allowed = sum(budget.spend() for _ in range(1000))
    assert allowed == 100
    for _ in range(5):
        assert not budget.spend()
        budget.earn()
    assert budget.spend()


@pytest.mark.parametrize(
    ("region", "url", "expected"),
    [
        ("eu-west-1", None, ("dynamodb.eu-west-1.amazonaws.com", 443, True, "dynamodb.eu-west-1.amazonaws.com")),
        (
            "cn-north-1",
            None,
            ("dynamodb.cn-north-1.amazonaws.com.cn", 443, True, "dynamodb.cn-north-1.amazonaws.com.cn"),
        ),
        ("x", "http://127.0.0.1:4566/", ("127.0.0.1", 4566, False, "127.0.0.1:4566")),
        ("x", "https://[::1]", ("::1", 443, True, "[::1]")),
    ],
)
def test_the_endpoint_is_the_regions_own_or_the_one_given(
    region: str, url: str | None, expected: tuple[str, int, bool, str]
) -> None:
    assert endpoint_of("dynamodb", WireConfig(region, url)) == expected


@pytest.mark.parametrize("url", ["127.0.0.1:4566", "ftp://x", "http://x/path", "https://", "http://x?y=1"])
def test_an_address_that_is_no_services_root_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="endpoint_url"):
        endpoint_of("dynamodb", WireConfig("x", url))
