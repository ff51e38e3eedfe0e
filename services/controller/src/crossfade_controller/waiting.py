"""`--wait`: says what a command is waiting for, until it has an outcome, a time has passed, or Ctrl-C."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from crossfade.contracts.journal import Entry
from crossfade.core.values.errors import CrossfadeError
from crossfade_controller.answering import Console
from crossfade_controller.failing import CURES, DONE, INTERRUPTED, REFUSED, TIMEOUT, failure

POLL_S: Final = 0.3
DEAF_S: Final = 10.0


class Waiting:
    """Waits for one command."""

    def __init__(self, console: Console, number: int, body: Mapping[str, Any], *, deaf_s: float = DEAF_S) -> None:
        """Take the command.

        Args:
            console: where to read and write.
            number: of its journal entry.
            body: what an answer says of the command.
            deaf_s: a status that stands still for so long means that nobody acts on it.
        """
        self._console, self._number, self._deaf_s = console, number, deaf_s
        self._clock = console.clock
        self._body = {**body, "entry": number}
        self._verb = str(body["command"])
        self._begun_s = self._heard_s = self._clock.monotonic()
        self._heard_us: int | None = None
        self._after, self._said = number, ""

    async def end(self, timeout_s: float | None) -> int:
        """Wait, and say how it ended; return the exit code.

        Args:
            timeout_s: for at most so long; None for no end.
        """
        try:
            while True:
                outcome = await self._look()
                if outcome is not None:
                    return self._ended(outcome)
                if timeout_s is not None and self._clock.monotonic() - self._begun_s >= timeout_s:
                    return self._timed_out(timeout_s)
                await self._clock.sleep(POLL_S)
        except asyncio.CancelledError:  # Ctrl-C
            return self._interrupted()

    async def _look(self) -> Mapping[str, Any] | None:
        """Tell what is new; return the command's outcome when it has one."""
        try:
            entries = await self._console.journal.entries(after=self._after)
            last = dict(await self._console.board.get() or {})
        except CrossfadeError as error:  # the command is in the journal: what passes is waited out
            if not error.retryable:
                raise
            self._heard_s = self._clock.monotonic()  # which tells nothing of the controller
            self._say(f"an answer: {error}")
            return None
        outcome = None
        for entry in entries:
            self._after = entry.number
            outcome = self._told(entry) or outcome
        if outcome is None:
            self._say(self._waiting_for(last))
        return outcome

    def _told(self, entry: Entry) -> Mapping[str, Any] | None:
        if entry.kind == "phase":
            self._console.say(f"phase: {entry.body['from']} -> {entry.body['to']}")
        is_ours = entry.kind == "outcome" and entry.body["intent"] == self._number
        return entry.body if is_ours else None

    def _waiting_for(self, last: Mapping[str, Any]) -> str:
        if last.get("at_us") != self._heard_us:
            self._heard_us, self._heard_s = last.get("at_us"), self._clock.monotonic()
        elif self._clock.monotonic() - self._heard_s > self._deaf_s:
            return "the controller, which doesn't report: is it running?"
        if last.get("journal", 0) < self._number:
            return "the controller to take it up"
        return str(last.get("waiting_for") or "")

    def _say(self, waiting: str) -> None:
        if waiting and waiting != self._said:
            self._said = waiting
            self._console.say(f"waiting for: {waiting}")

    def _ended(self, told: Mapping[str, Any]) -> int:
        outcome, because = told["outcome"], told["because"]
        waited_s = round(self._clock.monotonic() - self._begun_s, 1)
        result = {**self._body, "outcome": outcome, "because": because, "waited_s": waited_s}
        text = f"{self._verb}: {outcome}{': ' + because if because else ''}"
        if outcome == "done":
            self._console.answer(text, result)
            return DONE
        self._console.fail(text, result | failure(outcome, because, REFUSED, cure=CURES["refused"]))
        return REFUSED

    def _timed_out(self, timeout_s: float) -> int:
        text = f"not done within {timeout_s:g} s; waiting for: {self._said or 'the controller'}"
        result = {**self._body, "outcome": "timeout", "because": self._said}
        self._console.fail(text, result | failure("timeout", text, TIMEOUT))
        return TIMEOUT

    def _interrupted(self) -> int:
        text = (
            f"{self._verb} continues without this terminal, as entry {self._number}: crossfade status shows its "
            f"progress; to withdraw it: crossfade withdraw {self._number} --execute"
        )
        result = {**self._body, "outcome": "interrupted", "because": self._said}
        self._console.fail(text, result | failure("interrupted", text, INTERRUPTED))
        return INTERRUPTED
