"""Who asks, and whether the request may be answered: principals of access keys, ages of signatures, policies of tables.

localaws checks no signature, and grants everything that no policy denies. What it does check is what a migration leans
on: a statement in a table's policy that denies everyone but some roles, and the age from which a signature is refused,
so that a request which comes late does nothing.

Source: IAM user guide, "Policy evaluation logic" (an explicit deny wins; another account's principal needs an allow)
and "Troubleshoot SigV4" (expired signatures); messages as users of DynamoDB report them (aws/aws-sdk-js#254 and #832).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

from ministack.core import iam_evaluator
from ministack.services import sts

from localaws.dates import clock
from localaws.http_server import Request

Json = dict[str, Any]

SIGNATURE_AGE_S: Final = 900.0
"""DynamoDB's own, by the refusals that users report: "- 15 min."."""

POLICY_CACHE: Final = 4096

_DATED: Final = re.compile(r"^\d{8}T\d{6}Z$")
_OPERATOR: Final = re.compile(r"^(?:for(?:all|any)values?:)?(\w+?)(?:ifexists)?$", re.IGNORECASE)
_SERVICE_CALLS: Final = {"aws:principalisawsservice": "false", "aws:viaawsservice": "false"}


class Principal(NamedTuple):
    """Who signed a request.

    Attributes:
        arn: of the user or role, as `aws:PrincipalArn` has it; a session is its role.
        account_id: the account that it belongs to.
    """

    arn: str
    account_id: str


class Access:
    """The settings of this process's account; one of them serves the whole emulator.

    Attributes:
        signature_age_s: a signature that is older is refused, and one from as far ahead.
        policy_delay_s: how long a changed policy of a table takes to be in force.
        policy_pause_s: how long a table's policy can't be changed again after a change; AWS: 15 s.
        principals: the ARN that an access key stands for; others are users of the same name.
    """

    def __init__(self, *, now: Callable[[], float] = clock.now) -> None:
        """Keep AWS's age of signatures; policies are in force at once.

        Args:
            now: the clock that signatures are dated by, seconds since the epoch.
        """
        self._now = now
        self.signature_age_s = SIGNATURE_AGE_S
        self.policy_delay_s = 0.0
        self.policy_pause_s = 0.0
        self.principals: dict[str, str] = {}

    def set(self, settings: Mapping[str, Any]) -> None:
        """Change settings; what is left out keeps its value.

        Raises:
            ValueError: a setting is unknown, negative, or no ARN of IAM.
        """
        numbers = {"signature_age_s", "policy_delay_s", "policy_pause_s"}
        if unknown := set(settings) - numbers - {"principals"}:
            raise ValueError(f"no such setting of access: {', '.join(sorted(unknown))}")
        for name in numbers & set(settings):
            if not isinstance(settings[name], (int, float)) or isinstance(settings[name], bool) or settings[name] < 0:
                raise ValueError(f"{name} is {settings[name]!r}, and must be a number of seconds")
        principals = settings.get("principals", {})
        if not isinstance(principals, dict):
            raise ValueError("principals must map access key ids to ARNs")
        for key, arn in principals.items():
            if not isinstance(arn, str) or not re.match(r"^arn:aws:iam::\d{12}:(user|role)/.+$", arn):
                raise ValueError(f"{key} can't stand for {arn!r}: arn:aws:iam::ACCOUNT:role/NAME, or user/NAME")
        for name in numbers & set(settings):
            setattr(self, name, float(settings[name]))
        self.principals |= principals

    def report(self) -> Json:
        """Return the settings."""
        return {
            "signature_age_s": self.signature_age_s,
            "policy_delay_s": self.policy_delay_s,
            "policy_pause_s": self.policy_pause_s,
            "principals": dict(self.principals),
        }

    def principal(self, access_key_id: str, account_id: str) -> Principal:
        """Return whom an access key of this account stands for."""
        arn = self.principals.get(access_key_id)
        if arn is None and (session := sts._sessions.get(access_key_id)):
            _, _, _, _, account, resource = str(session["Arn"]).split(":", 5)
            arn = f"arn:aws:iam::{account}:role/{resource.split('/')[1]}"
        arn = arn or f"arn:aws:iam::{account_id}:user/{access_key_id}"
        return Principal(arn, arn.split(":")[4])

    def expired(self, request: Request) -> str | None:
        """Return the service's words about a signature that is too old or too far ahead; None if it is neither."""
        if b"?" in request.target and b"X-Amz-Expires" in request.target:
            return None  # a presigned request says itself how long it holds
        signed = request.headers.get(b"x-amz-date", b"").decode("latin-1")
        if not _DATED.match(signed):
            return None
        now = self._now()
        if abs(now - _seconds(signed)) <= self.signature_age_s:
            return None
        late, limit = now > _seconds(signed), f"{self.signature_age_s / 60:g} min."
        if late:
            bound = _spelled(now - self.signature_age_s)
            return f"Signature expired: {signed} is now earlier than {bound} ({_spelled(now)} - {limit})"
        bound = _spelled(now + self.signature_age_s)
        return f"Signature not yet current: {signed} is still later than {bound} ({_spelled(now)} + {limit})"


access: Final = Access()


@lru_cache(maxsize=1024)
def _seconds(signed: str) -> float:
    return datetime.strptime(signed + "+0000", "%Y%m%dT%H%M%SZ%z").timestamp()


def _spelled(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, tz=UTC).strftime("%Y%m%dT%H%M%SZ")


class Question(NamedTuple):
    """What IAM is asked.

    Attributes:
        principal: who asks.
        action: `dynamodb:PutItem`.
        resource: ARN of the table, or of its index.
        region: where it lies.
    """

    principal: Principal
    action: str
    resource: str
    region: str


@lru_cache(maxsize=POLICY_CACHE)
def refusal(policy: str | None, asked: Question) -> str | None:
    """Return why a table's policy refuses a request, in the service's words; None if it doesn't.

    Args:
        policy: the document in force, None for none.
        asked: what IAM is asked.
    """
    account = asked.resource.split(":")[4]
    here = account == asked.principal.account_id
    decision = None
    if policy is not None:
        context = iam_evaluator.EvalContext(
            principal_arn=asked.principal.arn,
            principal_type="AssumedRole" if ":role/" in asked.principal.arn else "User",
            principal_account=asked.principal.account_id,
            action=asked.action,
            resource_arn=asked.resource,
            region=asked.region,
            principal_keys=_SERVICE_CALLS,
        )
        decision = iam_evaluator.evaluate_resource_policy(policy, context).decision
    denied = f"User: {asked.principal.arn} is not authorized to perform: {asked.action} on resource: {asked.resource}"
    if decision == "Deny":
        return f"{denied} with an explicit deny in a resource-based policy"
    if not here and decision != "Allow":
        return f"{denied} because no resource-based policy allows the {asked.action} action"
    return None


def unreadable(policy: str) -> str | None:
    """Return what is wrong with a policy, or what can't be evaluated here; None if all of it can.

    What couldn't be evaluated would be a deny that denies nobody, so it is refused.
    """
    try:
        document = json.loads(policy)
        statements = document["Statement"]
    except (ValueError, TypeError, KeyError):
        return "Policy document must be JSON with a Statement"
    for each in statements if isinstance(statements, list) else [statements]:
        if not isinstance(each, dict) or each.get("Effect") not in ("Allow", "Deny"):
            return "a statement's Effect must be Allow or Deny"
        if "Principal" not in each:
            return (
                "a statement needs a Principal; localaws evaluates no NotPrincipal: use a condition on aws:PrincipalArn"
            )
        if not {"Action", "NotAction"} & set(each) or not {"Resource", "NotResource"} & set(each):
            return "a statement needs an Action and a Resource"
        for operator, keys in each.get("Condition", {}).items():
            found = _OPERATOR.match(operator)
            name = found[1].lower() if found else ""
            if (name != "null" and name not in iam_evaluator._CONDITION_OPS) or name.startswith("date"):
                return f"localaws evaluates no condition by {operator}"
            if not isinstance(keys, dict):
                return f"{operator} needs keys and values"
    return None
