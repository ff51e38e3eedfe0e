"""Rows of engagement wallets, the change records that they make, and a mapping that keeps them, for the benchmarks."""

from __future__ import annotations

import base64
import json
from typing import Any

from crossfade.core.mapping.rules import Keep, RuleMapping, Table, key_prefixes
from crossfade.core.protocol.plain.protocol import PLAIN

SEED = 1_790_000_000_000_000 << 10

NAMES = ("balance", "tier", "badges", "wallet_type")
IDENTITY = RuleMapping(
    "identity",
    source=Table("wallet", key=("pk", "sk")),
    target=Table("engagement", key=("pk", "sk")),
    belongs=key_prefixes("USER#", "POINTS#"),
    rules=tuple(map(Keep, NAMES)),
)

PLAIN_ROWS = RuleMapping(
    "plain",
    source=Table("wallet", key=("pk", "sk")),
    target=Table("engagement", key=("pk", "sk")),
    belongs=key_prefixes("USER#", "POINTS#"),
    rules=(),
    is_open=True,
    protocol=PLAIN,
)


def wallet(number: int, writes: int = 0, *, trace: str = "") -> dict[str, Any]:
    """Return the row of user `number` in the source table after so many earns of 25: about 560 bytes."""
    version = SEED + number + writes
    recent = [base64.b64encode((version - back).to_bytes(16, "big")).decode() for back in range(3)]
    event = {
        "kind": {"S": "earn"},
        "delta": {"N": "25"},
        "reason": {"S": "watch"},
        "txn": {"B": recent[0]},
        "trace": {"S": trace},
    }
    return {
        "pk": {"S": f"USER#{number:09d}"},
        "sk": {"S": f"POINTS#chan-{number % 97}"},
        "wallet_type": {"S": "ENGAGEMENT"},
        "balance": {"N": str(1000 + number + 25 * writes)},
        "tier": {"S": "gold"},
        "badges": {"SS": ["early", "loyal"]},
        "cf_mv": {"N": str(version)},
        "cf_role": {"S": "A"},
        "cf_gen": {"N": "1"},
        "cf_recent": {"BS": recent},
        "cf_events": {"L": [{"M": event}]},
        "cf_emv": {"N": str(version)},
    }


def change_record(number: int) -> bytes:
    """Return the record of an earn on the wallet of user `number`: about 1.9 kB, as the protocol writes it."""
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    return _record(number, wallet(number, 2, trace=trace), wallet(number, 1, trace=trace))


def plain_record(number: int) -> bytes:
    """Return the record of the same write by an application that knows nothing of Crossfade, at the same row size."""
    rows = [wallet(number, writes, trace="0" * 55) for writes in (2, 1)]
    new, old = ({name.replace("cf_", "x_"): value for name, value in each.items()} for each in rows)
    return _record(number, new, old)


def _record(number: int, new: dict[str, Any], old: dict[str, Any]) -> bytes:
    record = {
        "awsRegion": "us-east-1",
        "eventID": f"{number:032x}",
        "eventName": "MODIFY",
        "userIdentity": None,
        "recordFormat": "application/json",
        "tableName": "wallet",
        "dynamodb": {
            "ApproximateCreationDateTime": 1_790_000_000_000_000 + number,
            "ApproximateCreationDateTimePrecision": "MICROSECOND",
            "Keys": {"pk": new["pk"], "sk": new["sk"]},
            "NewImage": new,
            "OldImage": old,
            "SizeBytes": 900,
        },
        "eventSource": "aws:dynamodb",
    }
    return json.dumps(record, separators=(",", ":")).encode()
