"""The maintenance switch: which table the application uses, and whether it may write.

    python -m orders.switch hold         stop all writes, and wait until none is in flight
    python -m orders.switch release      allow them again, on the table OWNER_TABLE
    python -m orders.switch run -- COMMAND …  run a command that writes; @table stands for the table's name

`hold` and `release` are what a migration calls as its hooks. Both get OWNER_TABLE and EPOCH in the environment, and
refuse an epoch below one that was seen: a command that comes late must not open a newer hold.
ORDERS_FOLDER is the folder of the switch.

Exit codes: 0 done; 1 a write is still in flight, so the hold isn't one; 2 refused, nothing was changed; 75 held.

The application runs on one machine, so a lock of a file is enough. Every write has it shared, for as long as it is in
flight or may be retried, and the kernel drops the lock of a process that dies. `hold` forbids new writes first and then
waits for the lock. An application on many machines keeps the same state in a parameter store and has each machine
confirm that it has nothing in flight.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, TextIO

HOLD_S: Final = 10.0
"""How long a hold waits for writes in flight."""
LOOK_S: Final = 0.005

DONE, IN_FLIGHT, REFUSED, HELD = 0, 1, 2, 75


class Held(Exception):
    """Writes are stopped for maintenance."""


class State(NamedTuple):
    """What the switch says.

    Attributes:
        table: what the application reads and writes.
        is_held: whether writes are stopped.
        epoch: the highest that was told.
        released: the epoch of the last release.
    """

    table: str
    is_held: bool
    epoch: int
    released: int


class Switch:
    """The switch of a folder."""

    def __init__(self, folder: Path) -> None:
        """Take the folder; the switch is made by `create`."""
        self._state, self._announced = folder / "switch.json", folder / "switch.jsonl"
        self._in_flight, self._changing = folder / "switch.lock", folder / "switch.change"

    def create(self, table: str) -> None:
        """Make the switch: the application uses this table, and may write."""
        self._write(State(table, False, 0, 0))

    def read(self) -> State:
        """Return what it says now."""
        return State(**json.loads(self._state.read_text()))

    @contextmanager
    def writing(self) -> Iterator[str]:
        """Give the name of the table for one write, which is in flight until this ends.

        Raises:
            Held: writes are stopped; nothing may be sent.
        """
        if self.read().is_held:  # before the lock is asked for, or a hold would wait for ever under load
            raise Held
        with self._in_flight.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            state = self.read()
            if state.is_held:
                raise Held
            yield state.table

    @contextmanager
    def still(self) -> Iterator[State]:
        """Let no write be in flight until this ends: new ones wait, and are not refused.

        Raises:
            TimeoutError: one is in flight for too long.
        """
        with self._in_flight.open("a") as lock:
            if not self._drained(lock):
                raise TimeoutError("a write is still in flight")
            yield self.read()

    def hold(self, table: str, epoch: int) -> int:
        """Stop all writes; return an exit code."""
        with self._changes() as state:
            if epoch < state.epoch or epoch <= state.released:
                return _refuse(f"hold of epoch {epoch}: epoch {state.epoch} was told")
            if table != state.table:
                return _refuse(f"hold of {table}: the application uses {state.table}")
            self._announce("hold", epoch, state.table)
            self._write(state._replace(is_held=True, epoch=epoch))
        with self._in_flight.open("a") as lock:
            if self._drained(lock):
                return DONE
        sys.stderr.write("a write is still in flight; writes stay stopped until a release\n")
        return IN_FLIGHT

    def release(self, table: str, epoch: int) -> int:
        """Allow writes, to this table; return an exit code."""
        with self._changes() as state:
            if epoch < state.epoch:
                return _refuse(f"release of epoch {epoch}: epoch {state.epoch} was told")
            self._write(state._replace(table=table, is_held=False, epoch=epoch, released=epoch))
            self._announce("release", epoch, table)
        return DONE

    def run(self, command: list[str]) -> int:
        """Become a command that writes; the lock is its own from then on."""
        try:
            with self.writing() as table, self._in_flight.open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH)
                os.set_inheritable(lock.fileno(), True)
                told = [each.replace("@table", table) for each in command]
                os.execvp(told[0], told)  # noqa: S606 - no shell is what it should have
        except Held:
            return HELD

    def announced(self) -> list[dict[str, Any]]:
        """Return what was announced: "hold" or "release", its epoch, the table, and when, in seconds (Unix)."""
        lines = self._announced.read_text().splitlines() if self._announced.exists() else []
        return [json.loads(line) for line in lines]

    def stops(self) -> list[tuple[float, float]]:
        """Return the announced stops, each from its hold to its release, in seconds (Unix); the last may be open."""
        stops: list[tuple[float, float]] = []
        since: float | None = None
        for each in self.announced():
            if each["what"] == "hold":
                since = each["at_s"] if since is None else since
            elif since is not None:
                stops.append((since, each["at_s"]))
                since = None
        return stops if since is None else [*stops, (since, float("inf"))]

    @staticmethod
    def _drained(lock: TextIO) -> bool:
        """Wait for the lock that every write shares; say whether it was given."""
        until_s = time.monotonic() + float(os.environ.get("ORDERS_HOLD_S", HOLD_S))
        while time.monotonic() < until_s:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(LOOK_S)
            else:
                return True
        return False

    @contextmanager
    def _changes(self) -> Iterator[State]:
        with self._changing.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield self.read()

    def _write(self, state: State) -> None:
        fresh = self._state.with_suffix(".new")
        fresh.write_text(json.dumps(state._asdict()))
        fresh.replace(self._state)

    def _announce(self, what: str, epoch: int, table: str) -> None:
        with self._announced.open("a") as out:
            out.write(json.dumps({"what": what, "epoch": epoch, "table": table, "at_s": time.time()}) + "\n")


def _refuse(why: str) -> int:
    sys.stderr.write(f"refused: {why}\n")
    return REFUSED


def main(arguments: list[str]) -> int:
    """Run a command; return its exit code."""
    switch = Switch(Path(os.environ.get("ORDERS_FOLDER", ".")))
    match arguments:
        case ["hold"]:
            return switch.hold(os.environ["OWNER_TABLE"], int(os.environ["EPOCH"]))
        case ["release"]:
            return switch.release(os.environ["OWNER_TABLE"], int(os.environ["EPOCH"]))
        case ["run", "--", *command] if command:
            return switch.run(command)
    sys.stderr.write(__doc__ or "")
    return REFUSED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
