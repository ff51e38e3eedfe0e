"""Where a command of the CLI reads and writes: so that tests can look."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from crossfade.core.migration.seen import Setup
from crossfade.core.migration.state import Migration
from crossfade.core.migration.table import PhaseTable
from crossfade.ports.clock import Clock
from crossfade.ports.control import Journal, StatusBoard
from crossfade_controller.knocking import Knocker


async def _none_refused(_state: Migration, _arguments: Mapping[str, Any]) -> str:
    return ""


class Console(NamedTuple):
    """A terminal, or a program that reads JSON, and the tables that answers are read from.

    Attributes:
        journal, board: read.
        setup, phases: of the migration.
        clock: of the terminal.
        json: whether answers are JSON.
        door: where commands go; None where none is given.
        excludes: why a START can't leave out its keys, by the same look at their rows as the controller's.
    """

    journal: Journal
    board: StatusBoard
    setup: Setup
    phases: PhaseTable
    clock: Clock
    json: bool
    door: Knocker | None = None
    excludes: Callable[[Migration, Mapping[str, Any]], Awaitable[str]] = _none_refused

    @property
    def migration(self) -> str:
        """Its name."""
        return self.setup.migration

    def say(self, text: str) -> None:
        """Tell the operator; not part of the answer."""
        sys.stderr.write(text + "\n")

    def answer(self, text: str, body: Mapping[str, Any]) -> None:
        """Print the answer."""
        sys.stdout.write((msgspec.json.encode(body).decode() if self.json else text) + "\n")

    def fail(self, text: str, body: Mapping[str, Any]) -> None:
        """Say on stderr why the command failed; the answer in JSON says so, too."""
        self.say(text)
        if self.json:
            self.answer(text, body)
