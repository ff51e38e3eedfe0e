"""Policies of tables: kept under a revision as the service keeps them, and in force for every request.

ministack 1.5.33 stores a policy and never asks it; the same document put again gets a new revision; CreateTable forgets
the policy that it brings; a policy outlives its table. Here the policy in force decides before anything else of a
request is looked at, its condition least of all: `denied`. How long a change takes to be in force, and how long after
it there can't be another, are settings of `localaws.access`.

Source: DynamoDB API reference, PutResourcePolicy (idempotent; PolicyNotFoundException where the revision is another;
eventually consistent) and CreateTable (its policy is always applied); developer guide, "Resource-based policy
considerations" (further updates are blocked for 15 s; it names no exception: ResourceInUseException is a guess).
"""

from __future__ import annotations

import json
import time
from typing import Any, NamedTuple

import ministack.services.dynamodb as dynamodb
from ministack.core.responses import error_response_json, get_account_id, get_region, json_response

from localaws.access import Question, access, refusal, unreadable
from localaws.calls import UNKNOWN, actions
from localaws.patches.registry import patch

Json = dict[str, Any]
Answer = tuple[int, dict[str, str], Any]

EVALUATED = frozenset({"dynamodb"})
_EVERYWHERE = frozenset(
    {"ListTables", "ListExports", "ListImports", "ListBackups", "DescribeLimits", "DescribeEndpoints"}
)


class _Change(NamedTuple):
    """A policy of a table, from a time on.

    Attributes:
        from_s: of the monotonic clock.
        policy: the document; None for none.
    """

    from_s: float
    policy: str | None


_changes: dict[str, list[_Change]] = {}
"""Of each table's ARN: the policy in force, and what will be."""

_changed_s: dict[str, float] = {}
"""When each table's policy was last changed, by the monotonic clock."""


def in_force(arn: str) -> str | None:
    """Return the policy that decides about a table now; None for none."""
    changes = _changes.get(arn)
    if changes is None:
        return None
    now = time.monotonic()
    while len(changes) > 1 and changes[1].from_s <= now:
        del changes[0]
    if len(changes) == 1 and changes[0].policy is None:
        del _changes[arn]
    return changes[0].policy


def _change(arn: str, policy: str | None, *, delay_s: float) -> None:
    now = time.monotonic()
    changes = _changes.setdefault(arn, [_Change(now, None)])
    changes.append(_Change(max(now + delay_s, changes[-1].from_s), policy))
    _changed_s[arn] = now


def denied(access_key_id: str, operation: str, body: Json) -> list[str | None]:
    """Ask the policies of all tables that a request is about; its account and Region must have been set.

    Args:
        access_key_id: whose signature it has.
        operation: of DynamoDB.
        body: the request.

    Returns:
        Per action (one per statement or item), why it is refused in the service's words; None where it isn't.
    """
    account, region = get_account_id(), get_region()
    principal = access.principal(access_key_id, account)
    if not _changes and principal.account_id == account:
        return []
    answers: list[str | None] = []
    for action, name in actions("dynamodb", operation, body):
        if name == UNKNOWN or operation in _EVERYWHERE:
            answers.append(None)
            continue
        table = f"arn:aws:dynamodb:{region}:{account}:table/{dynamodb._normalize_table_name(name)}"
        index = body.get("IndexName")
        asked = Question(
            principal, f"dynamodb:{action}", f"{table}/index/{index}" if isinstance(index, str) else table, region
        )
        answers.append(refusal(in_force(table), asked))
    return answers


def _busy(arn: Any) -> Answer | None:
    left = _changed_s.get(arn, float("-inf")) + access.policy_pause_s - time.monotonic()
    if left <= 0:
        return None
    message = f"The policy of {arn} was changed just now; it can't be changed again for {left:.1f} s"
    busy: Answer = error_response_json("ResourceInUseException", message, 400)
    return busy


@patch("resource_policies", dynamodb, "_put_resource_policy")
def put(original: Any) -> Any:
    """One document has one revision; what can't be evaluated is refused; it is in force after the delay."""

    def mended(request: Json) -> Answer:
        arn, policy, expected = request.get("ResourceArn"), request.get("Policy"), request.get("ExpectedRevisionId")
        if isinstance(policy, str) and (wrong := unreadable(policy)):
            refused: Answer = error_response_json("ValidationException", f"Invalid policy document: {wrong}", 400)
            return refused
        known = dynamodb._resource_policies.get(arn)
        if known and known["Policy"] == policy and expected in (None, known["RevisionId"]):
            same: Answer = json_response({"RevisionId": known["RevisionId"]})
            return same
        if busy := _busy(arn):
            return busy
        answer: Answer = original(request)
        if answer[0] == 200:
            _change(str(arn), policy, delay_s=access.policy_delay_s)
        return answer

    return mended


@patch("resource_policies", dynamodb, "_delete_resource_policy")
def delete(original: Any) -> Any:
    """What was denied is allowed again, after the delay."""

    def mended(request: Json) -> Answer:
        arn = request.get("ResourceArn")
        known = dynamodb._resource_policies.get(arn)
        if known and (busy := _busy(arn)):
            return busy
        answer: Answer = original(request)
        if answer[0] == 200 and known:
            _change(str(arn), None, delay_s=access.policy_delay_s)
        return answer

    return mended


@patch("resource_policies", dynamodb, "_create_table")
def create(original: Any) -> Any:
    """A table may bring its policy, which is in force at once."""

    def mended(request: Json) -> Answer:
        policy = request.get("ResourcePolicy")
        if isinstance(policy, str) and (wrong := unreadable(policy)):
            refused: Answer = error_response_json("ValidationException", f"Invalid policy document: {wrong}", 400)
            return refused
        answer: Answer = original(request)
        if answer[0] == 200 and policy:
            arn = json.loads(answer[2])["TableDescription"]["TableArn"]
            dynamodb._resource_policies[arn] = {"Policy": policy, "RevisionId": dynamodb.new_uuid()}
            _change(arn, policy, delay_s=0.0)
        return answer

    return mended


@patch("resource_policies", dynamodb, "_delete_table")
def delete_table(original: Any) -> Any:
    """A table's policy goes with it."""

    def mended(request: Json) -> Answer:
        table = dynamodb._tables.get(dynamodb._normalize_table_name(request.get("TableName")))
        answer: Answer = original(request)
        if answer[0] == 200 and table is not None:
            dynamodb._resource_policies.pop(table["TableArn"], None)
            _changes.pop(table["TableArn"], None)
            _changed_s.pop(table["TableArn"], None)
        return answer

    return mended
