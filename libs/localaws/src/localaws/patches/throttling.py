"""Throttled statements on request: a hot partition sends some statements of a batch back, and takes the others.

ministack 1.5.33 never throttles. `POST /_localaws/throttles` names a table, perhaps a partition key, and how many of
their statements in BatchExecuteStatement are to be sent back.

Source: DynamoDB API reference, BatchStatementError: code ThrottlingError, per statement, in an answer of HTTP 200.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

import ministack.services.dynamodb as dynamodb
from ministack.core.responses import json_response

from localaws.patches.registry import patch

Json = dict[str, Any]
Answer = tuple[int, dict[str, str], Any]

ENDLESS: Final = -1
ANY_KEY: Final = "*"

_ERROR: Final = {"Code": "ThrottlingError", "Message": "Throughput exceeds the current capacity of your table."}


class Throttles:
    """What is to be sent back; one of them serves the whole emulator."""

    def __init__(self) -> None:
        """Begin without any."""
        self._left: dict[tuple[str, str], int] = {}
        self._sent_back: dict[tuple[str, str], int] = {}

    def set(self, settings: Json) -> None:
        """Send statements back from now on.

        Args:
            settings: `table`; `key`, the partition key's value, "*" or left out for all; `statements`, how many, -1 for
                no end, 0 for none any more.

        Raises:
            ValueError: a setting is unknown or makes no sense.
        """
        if unknown := set(settings) - {"table", "key", "statements"}:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}; there are table, key and statements")
        table, key = settings.get("table"), settings.get("key", ANY_KEY)
        statements = settings.get("statements", ENDLESS)
        if not isinstance(table, str) or not isinstance(key, str):
            raise ValueError("table must be a name, key a partition key's value")
        if not isinstance(statements, int) or statements < ENDLESS:
            raise ValueError(f"statements is {statements!r}, and must be how many, or -1 for no end")
        self._left.pop((table, key), None)
        if statements:
            self._left[table, key] = statements

    def take(self, table: str, key: str) -> bool:
        """Say whether this statement is to be sent back, and count it."""
        for place in ((table, key), (table, ANY_KEY)):
            left = self._left.get(place)
            if left is not None:
                self._sent_back[place] = self._sent_back.get(place, 0) + 1
                if left == 1:
                    del self._left[place]
                elif left != ENDLESS:
                    self._left[place] = left - 1
                return True
        return False

    @property
    def any(self) -> bool:
        """Say whether anything is to be sent back at all."""
        return bool(self._left)

    def report(self) -> Json:
        """Return what was sent back so far and what is to come, by table and key."""
        places = {*self._left, *self._sent_back}
        return {
            "throttles": [
                {
                    "table": table,
                    "key": key,
                    "statements": self._left.get((table, key), 0),
                    "sent_back": self._sent_back.get((table, key), 0),
                }
                for table, key in sorted(places)
            ]
        }


throttles = Throttles()


def _partition(parsed: Json) -> str:
    """Return the partition key's value of a parsed statement; empty where it can't be told."""
    table = dynamodb._tables.get(parsed["table"])
    if table is None:
        return ""
    name = table["pk_name"]
    if parsed["op"] == "INSERT":
        value = parsed["item"].get(name) if isinstance(parsed["item"], dict) else None
    else:
        value = next(
            (each for attribute, op, each in parsed.get("conditions") or [] if (attribute, op) == (name, "=")), None
        )
    return str(next(iter(value.values()))) if isinstance(value, dict) and value else ""


def _sent_back(entry: Json) -> bool:
    try:
        parsed = dynamodb._parse_partiql(entry.get("Statement", ""), entry.get("Parameters"))
    except ValueError:
        return False  # it fails in another way
    return parsed["op"] != "SELECT" and throttles.take(parsed["table"], _partition(parsed))


def answered_around(run: Callable[[Json], Answer], request: Json, errors: Sequence[Json | None]) -> Answer:
    """Answer a batch of statements: some by an error each, the others as they would be without them.

    Args:
        run: answers those.
        request: the whole batch.
        errors: per statement its error, or None.
    """
    taken = [entry for entry, error in zip(request["Statements"], errors, strict=True) if error is None]
    answers: list[Json] = []
    if taken:
        status, headers, body = run(request | {"Statements": taken})
        if status != 200:
            return status, headers, body
        answers = json.loads(body)["Responses"]
    rest = iter(answers)
    answer: Answer = json_response({"Responses": [{"Error": error} if error else next(rest) for error in errors]})
    return answer


@patch("throttles", dynamodb, "_batch_execute_statement")
def batch(original: Any) -> Any:
    """Sends back the statements that are to be; the others run as they would without them."""

    def mended(request: Json) -> Any:
        if not throttles.any:
            return original(request)
        entries = request.get("Statements") or []
        errors = [_ERROR if _sent_back(entry) else None for entry in entries]
        return answered_around(original, request, errors) if any(errors) else original(request)

    return mended
