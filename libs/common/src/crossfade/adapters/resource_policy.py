"""Guards as statements of a table's resource policy: implements `crossfade.ports.guard.Guards` (ADR 0045).

    "CrossfadeGuard7"    denies everybody but Crossfade's roles and AWS's own to write; put by epoch 7
    "CrossfadeEpoch8"    denies nobody anything: epoch 8 took the guard off, and no lower one puts it back

All other statements stay as they are. A change names the revision that it read, and each one changes the revision, so
of two that read the same policy the second fails (developer guide, "Resource-based policy considerations": a policy
is read and applied eventually, and can't be changed for some 15 s after a change).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from crossfade.adapters.wire import ServiceError, Wire
from crossfade.adapters.wire.errors import ConditionFailed
from crossfade.core.values.errors import LeaseLost, StoreRefused
from crossfade.core.values.shape import Side
from crossfade.ports.admin import TableFacts

_SID: Final = re.compile(r"Crossfade(Guard|Epoch)(\d+)")

WRITES: Final = tuple(
    f"dynamodb:{each}"
    for each in (
        "PutItem",
        "UpdateItem",
        "DeleteItem",
        "BatchWriteItem",
        "PartiQLInsert",
        "PartiQLUpdate",
        "PartiQLDelete",
    )
)
"""What a guard denies: transactions are made of these, too."""

OF_AWS: Final = "arn:*:iam::*:role/aws-service-role/*"
"""Service-linked roles: autoscaling, replication, backups."""

NOBODY: Final = "arn:aws:iam::000000000000:role/crossfade-epoch"

NO_POLICY: Final = "NO_POLICY"
"""The revision of a table that has no policy."""

LATER: Final = frozenset({"PolicyNotFoundException", "ResourceInUseException", "LimitExceededException"})
"""What a change meets that another look, or some seconds, will cure."""

_ABSENT: Final[Mapping[str, Callable[[str], dict[str, str]]]] = {
    "S": lambda token: {"S": f"crossfade-probe-{token}"},
    "N": lambda token: {"N": str(-int(token, 16))},
    "B": lambda token: {"B": token},
}
"""A key value that no row has, by the type of the attribute."""


class PolicyGuards:
    """Guards of both tables."""

    def __init__(
        self,
        wires: Mapping[Side, Wire],
        probes: Mapping[Side, Wire],
        facts: Callable[[Side], Awaitable[TableFacts]],
        roles: Sequence[str],
    ) -> None:
        """Take what it works with.

        Args:
            wires: of each side, with the right to read and write its table's policy.
            probes: of each side, as a writer like the application: with no right but to write the table.
            facts: describes a side's table.
            roles: ARNs of the principals that a guard lets write: Crossfade's own.
        """
        self._wires, self._probes, self._facts, self._roles = wires, probes, facts, tuple(roles)
        self._known: dict[Side, TableFacts] = {}

    async def put(self, side: Side, *, epoch: int) -> str:
        """See `crossfade.ports.guard.Guards`."""
        arn = (await self._table(side)).arn
        statement = {
            "Sid": f"CrossfadeGuard{epoch}",
            "Effect": "Deny",
            "Principal": "*",
            "Action": list(WRITES),
            "Resource": arn,
            "Condition": {"ArnNotLike": {"aws:PrincipalArn": [*self._roles, OF_AWS]}},
        }
        return await self._change(side, arn, epoch, statement)

    async def take_off(self, side: Side, *, epoch: int) -> str:
        """See `crossfade.ports.guard.Guards`."""
        arn = (await self._table(side)).arn
        statement = {
            "Sid": f"CrossfadeEpoch{epoch}",
            "Effect": "Deny",
            "Principal": "*",
            "Action": ["dynamodb:DeleteItem"],
            "Resource": arn,
            "Condition": {"ArnEquals": {"aws:PrincipalArn": [NOBODY]}},
        }
        return await self._change(side, arn, epoch, statement)

    async def is_denied(self, side: Side) -> bool:
        """See `crossfade.ports.guard.Guards`."""
        table, token = await self._table(side), secrets.token_hex(8)
        body = {
            "TableName": table.arn,
            "Item": {name: _ABSENT[kind](token) for name, kind in table.key},
            "ConditionExpression": "attribute_exists(#k)",
            "ExpressionAttributeNames": {"#k": table.key[0][0]},
        }
        try:
            await self._probes[side].call("PutItem", msgspec.json.encode(body))
        except ConditionFailed:
            return False
        except ServiceError as error:
            if error.reason == "AccessDeniedException":
                return True
            raise
        raise StoreRefused(f"a row that nobody wrote is in {table.name}: {body['Item']}", reason="probe")

    async def _change(self, side: Side, arn: str, epoch: int, statement: Mapping[str, Any]) -> str:
        policy, revision = await self._read(side, arn)
        statements = policy.get("Statement", [])
        statements = [statements] if isinstance(statements, dict) else list(statements)
        ours = {each["Sid"]: int(found[2]) for each in statements if (found := _SID.fullmatch(each.get("Sid", "")))}
        if ours and max(ours.values()) > epoch:
            raise LeaseLost(f"the policy of {arn} was changed at epoch {max(ours.values())}, after {epoch}")
        if list(ours) == [statement["Sid"]]:
            return ""
        kept = [each for each in statements if each.get("Sid") not in ours]
        made = {"Version": "2012-10-17", **policy, "Statement": [*kept, statement]}
        request = {
            "ResourceArn": arn,
            "Policy": msgspec.json.encode(made).decode(),
            "ExpectedRevisionId": revision,
        }
        try:
            await self._wires[side].call("PutResourcePolicy", msgspec.json.encode(request))
        except ServiceError as error:
            if error.reason not in LATER:
                raise
            return f"the policy of {arn} to take a change: {error}"
        return f"the policy of {arn}, which was changed just now, to be told"

    async def _read(self, side: Side, arn: str) -> tuple[dict[str, Any], str]:
        try:
            body = await self._wires[side].call("GetResourcePolicy", msgspec.json.encode({"ResourceArn": arn}))
        except ServiceError as error:
            if error.reason != "PolicyNotFoundException":
                raise
            return {}, NO_POLICY
        answer = msgspec.json.decode(body)
        return msgspec.json.decode(answer["Policy"]), str(answer["RevisionId"])

    async def _table(self, side: Side) -> TableFacts:
        if side not in self._known:
            self._known[side] = await self._facts(side)
        return self._known[side]
