"""`--wait` on what a verifier does: shows its progress until it is over, a time has passed, or Ctrl-C."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Generic, NamedTuple, TypeVar

from crossfade.ports.clock import Clock
from crossfade_controller.screen import Screen
from crossfade_controller.verifier_door import NoVerifier

EVERY_S: Final = 0.5

DocumentT = TypeVar("DocumentT")


class Ended(NamedTuple, Generic[DocumentT]):
    """How a wait ended.

    Attributes:
        last: the document as it was last.
        timed_out: whether the time had passed.
        interrupted: whether Ctrl-C ended it.
    """

    last: DocumentT
    timed_out: bool = False
    interrupted: bool = False


class Following(Generic[DocumentT]):
    """Follows one document of the verifier; what the verifier does goes on if nobody follows it."""

    def __init__(
        self,
        screen: Screen,
        clock: Clock,
        *,
        ask: Callable[[], Awaitable[DocumentT]],
        is_over: Callable[[DocumentT], bool],
        told: Callable[[DocumentT], str],
        stage: Callable[[DocumentT], object],
        every_s: float = EVERY_S,
    ) -> None:
        """Take what to follow.

        Args:
            screen: to show progress on.
            clock: of the terminal.
            ask: returns the document as it is now.
            is_over: whether nothing will change any more.
            told: progress in a line.
            stage: a pipe gets a line when this changes; a terminal a line that is rewritten.
            every_s: how often to ask.
        """
        self._screen, self._clock, self._every_s = screen, clock, every_s
        self._ask, self._is_over, self._told, self._stage = ask, is_over, told, stage
        self._before: object = None

    async def end(self, first: DocumentT, timeout_s: float | None) -> Ended[DocumentT]:
        """Follow it to its end.

        Args:
            first: the document as it was.
            timeout_s: for at most so long; None for no end.
        """
        last, began_s = first, self._clock.monotonic()
        line, stage = self._told(first), self._stage(first)
        try:
            while not self._is_over(last):
                if timeout_s is not None and self._clock.monotonic() - began_s >= timeout_s:
                    return Ended(last, timed_out=True)
                self._show(line, stage)
                await self._clock.sleep(self._every_s)
                try:
                    last = await self._ask()
                    line, stage = self._told(last), self._stage(last)
                except NoVerifier as error:  # another one goes on where it stopped
                    line, stage = f"no verifier now: {error}", NoVerifier
        except asyncio.CancelledError:  # Ctrl-C
            return Ended(last, interrupted=True)
        finally:
            self._screen.progress("")
        return Ended(last)

    def _show(self, line: str, stage: object) -> None:
        if self._screen.redraws:
            self._screen.progress(line)
        elif stage != self._before:
            self._screen.say(line)
        self._before = stage
