"""The application's own book: what it is about to ask, and what came of it. Nothing in it is of anybody else's making.

    python -m orders.book [TABLE]     compare a table, row by row, with all books of ORDERS_FOLDER

Without TABLE it is the one that the switch names. Writes wait meanwhile. It prints JSON, and exits with 1 if a row is
lost, nobody's, or different; with 3 if a write is in flight for too long.

A book is a file of JSON lines, <name>.book.jsonl, each out before the next step is taken:

    {"id": …, "verb": …, "operation": …, "request": …, "after": [[key, row or null], …], "is_conditional": …}
    {"id": …, "ended": "applied" or "refused", "attempts": …}
    {"held": verb, "since_s": …, "at_s": …}      refused for maintenance: nothing was sent
    {"error": …}                                 what should not have happened
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import boto3

from orders.rows import Ask, Key, Row, decoded, encoded, key_of, typed, untyped
from orders.switch import Switch

UNKNOWN: Final = "cf_"
"""An application ignores attributes that it doesn't know; these may be in rows while a migration is under way."""

SHOWN: Final = 20


class Book:
    """One process's book, read again when the process is started again.

    Attributes:
        rows: what each row holds, as far as it is known; None: it is gone.
        loose: further contents that a row may have: of requests without a condition that were sent more than once.
        open: what was asked and not answered, with its id.
        counts: of verbs that were applied, "refused", "held", "error".
        errors: what should not have happened.
        held: from when to when each refusal for maintenance took, in seconds (Unix).
    """

    def __init__(self, path: Path) -> None:
        """Read what is there."""
        self.rows: dict[Key, Row | None] = {}
        self.loose: dict[Key, list[Row | None]] = {}
        self.open: dict[str, Ask] = {}
        self.counts: Counter[str] = Counter()
        self.errors: list[str] = []
        self.held: list[tuple[float, float]] = []
        self._lock = threading.Lock()
        self._path = path
        for line in path.read_bytes().splitlines() if path.exists() else []:
            try:
                self._note(decoded(line.decode()))
            except ValueError:  # the last words of a process that was killed
                continue

    def asked(self, ask: Ask) -> str:
        """Write down what is about to be asked; return its id."""
        ident = uuid.uuid4().hex
        after = [[key, None if row is None else typed(row)] for key, row in ask.after.items()]
        self._write({"id": ident} | ask._asdict() | {"after": after})
        return ident

    def ended(self, ident: str, outcome: str, attempts: int) -> None:
        """Write down what came of it: "applied" or "refused"."""
        self._write({"id": ident, "ended": outcome, "attempts": attempts})

    def was_held(self, verb: str, since_s: float) -> None:
        """Write down that it was not asked, for maintenance."""
        self._write({"held": verb, "since_s": since_s, "at_s": time.time()})

    def wrong(self, what: str) -> None:
        """Write down what should not have happened."""
        self._write({"error": what})

    def _write(self, line: dict[str, Any]) -> None:
        text = encoded(line)
        with self._lock:
            with self._path.open("a") as out:
                out.write(text + "\n")
            self._note(decoded(text))

    def _note(self, line: dict[str, Any]) -> None:
        if "verb" in line:
            after = {tuple(key): None if item is None else untyped(item) for key, item in line["after"]}
            self.open[line["id"]] = Ask(**{name: line[name] for name in Ask._fields} | {"after": after})
        elif "ended" in line:
            self._settle(self.open.pop(line["id"]), line["ended"], line["attempts"])
        elif "held" in line:
            self.counts["held"] += 1
            self.held.append((line["since_s"], line["at_s"]))
        else:
            self.counts["error"] += 1
            self.errors.append(line["error"])

    def _settle(self, ask: Ask, outcome: str, attempts: int) -> None:
        self.counts[ask.verb if outcome == "applied" else "refused"] += 1
        for key, row in ask.after.items():
            if attempts > 1 and not ask.is_conditional:
                self.loose.setdefault(key, []).append(row)
            if outcome == "applied":
                self.rows[key] = row


class Difference(NamedTuple):
    """What a table and the books differ in.

    Attributes:
        compared: how many rows are in the table, "there", and how many the books know to be "gone".
        lost: rows that the books have and the table hasn't.
        risen: rows that the books know to be gone, or know nothing of.
        different: rows that hold something else.
        loose: how many rows may have one of several contents.
    """

    compared: dict[str, int]
    lost: list[str]
    risen: list[str]
    different: list[str]
    loose: int

    @property
    def is_none(self) -> bool:
        """Whether the table holds exactly what the books say."""
        return not (self.lost or self.risen or self.different)


def same(told: Row | None, found: Row | None, now_s: float) -> bool:
    """Say whether a row is what a book says. One that has expired may be gone."""
    if told is None or found is None:
        return found is None and (told is None or told.get("expires_at", now_s + 1) <= now_s)
    return told == {name: value for name, value in found.items() if name in told or not name.startswith(UNKNOWN)}


def compare(found: Mapping[Key, Row], books: Iterable[Book], now_s: float) -> Difference:
    """Compare the rows of a table with the books, row by row.

    Args:
        found: every row of the table.
        books: of all processes, each of rows of its own.
        now_s: when the table was read, in seconds (Unix).
    """
    told: dict[Key, list[Row | None]] = {}
    for book in books:
        told |= {key: [row, *book.loose.get(key, [])] for key, row in book.rows.items()}
        for ask in book.open.values():  # without an answer: applied or not
            for key, row in ask.after.items():
                told.setdefault(key, [book.rows.get(key)]).append(row)
    lost, risen, different = [], [], []
    for key, contents in told.items():
        row = found.get(key)
        if any(same(each, row, now_s) for each in contents):
            continue
        if row is None:
            lost.append(f"{key}: {contents[0]}")
        elif contents[0] is None:
            risen.append(f"{key}: {row}")
        else:
            different.append(f"{key}: the book says {contents[0]}, the table {row}")
    risen += [f"{key}: nobody wrote {row}" for key, row in found.items() if key not in told]
    compared = {"there": len(found), "gone": sum(contents[0] is None for contents in told.values())}
    return Difference(compared, lost, risen, different, sum(len(contents) > 1 for contents in told.values()))


def told_of(books: Sequence[Book], stops: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Return what the books say of the application's own errors, beside the announced stops.

    Returns:
        how many writes were "applied"; "held" for maintenance, of which "outside" an announced stop; "errors", the
        first ones; "stops_s", how long each stop was.
    """
    held = [each for book in books for each in book.held]
    outside = [each for each in held if not any(each[1] >= since and each[0] <= until for since, until in stops)]
    return {
        "applied": sum(sum(book.counts.values()) - book.counts["held"] - book.counts["error"] for book in books),
        "held": len(held),
        "outside": len(outside),
        "errors": [error for book in books for error in book.errors][:SHOWN],
        "stops_s": [round(until - since, 3) for since, until in stops if until != float("inf")],
    }


def rows_of(client: Any, table: str) -> Iterator[Row]:
    """Yield every row of a table, read consistently."""
    for page in client.get_paginator("scan").paginate(TableName=table, ConsistentRead=True):
        yield from map(untyped, page["Items"])


def books_of(folder: Path) -> list[Book]:
    """Return the books of all processes."""
    return [Book(path) for path in sorted(folder.glob("*.book.jsonl"))]


def main(arguments: list[str]) -> int:
    """Compare; return the exit code."""
    folder = Path(os.environ.get("ORDERS_FOLDER", "."))
    switch = Switch(folder)
    client = boto3.client("dynamodb")
    try:
        with switch.still() as state:
            table = arguments[0] if arguments else state.table
            found = {key_of(row): row for row in rows_of(client, table)}
            books = books_of(folder)
            differs = compare(found, books, time.time())
    except TimeoutError as error:
        sys.stderr.write(f"{error}\n")
        return 3
    shown = {name: value[:SHOWN] if isinstance(value, list) else value for name, value in differs._asdict().items()}
    counts = {name: len(value) for name, value in differs._asdict().items() if isinstance(value, list)}
    told = shown | {"table": table, "counts": counts} | told_of(books, switch.stops())
    sys.stdout.write(json.dumps(told, indent=2) + "\n")
    return 0 if differs.is_none else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
