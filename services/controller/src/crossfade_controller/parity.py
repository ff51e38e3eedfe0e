"""`crossfade parity`: what the verifier says, once or until Ctrl-C.

It asks the verifier alone: it answers while DynamoDB and the controller don't.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, Final

from crossfade.contracts.key import KeyReport
from crossfade.contracts.parity import DifferencePage, ParityReport
from crossfade.ports.clock import Clock
from crossfade.runtime.operator import operator_name
from crossfade_controller.failing import DONE, ERROR, SHUT
from crossfade_controller.key_text import EQUAL, Listed, key_text, page_text
from crossfade_controller.parity_text import change_text, changing, report_text
from crossfade_controller.screen import Screen, lasted, resized
from crossfade_controller.verifier_door import NoVerifier, VerifierDoor

EVERY_S: Final = 1.0
"""How often `--watch` asks."""

MOST: Final = 100
"""Keys of a class that are listed unless told otherwise."""

PAGE: Final = 1_000
"""Keys that are asked for at a time."""

STOPS: Final = (signal.SIGINT, signal.SIGTERM)

_ENTER: Final = "\x1b[?1049h\x1b[?25l"  # a screen of its own, without a cursor
_LEAVE: Final = "\x1b[?25h\x1b[?1049l"
_HOME: Final = "\x1b[H"
_REST_OF_LINE: Final = "\x1b[K"
_REST_OF_SCREEN: Final = "\x1b[J"


async def parity(door: VerifierDoor, screen: Screen, asked: argparse.Namespace, clock: Clock) -> int:
    """Show the report; return 0 if the verdict is clean and it is safe to cut over, else 4.

    Raises:
        CrossfadeError: of `VerifierDoor`.
    """
    if asked.watch:
        return await Watching(door, screen, clock).run()
    if asked.key:
        return await _one_key(door, screen, asked)
    if asked.class_ or asked.bucket is not None:
        return await _listed(door, screen, asked)
    body = await door.get("parity")
    report = ParityReport.of_dict(body)
    screen.answer(report_text(report, screen), body)
    return code_of(report)


async def _one_key(door: VerifierDoor, screen: Screen, asked: argparse.Namespace) -> int:
    """Show one key; return 0 if both rows are equal, else 4."""
    reveal = {"reveal": "true", "who": operator_name()} if asked.reveal else {}
    body = await door.get("keys", asked.key, **reveal)
    report = KeyReport.of_dict(body)
    screen.answer(key_text(report, screen), body)
    return DONE if report.found == EQUAL else SHUT


async def _listed(door: VerifierDoor, screen: Screen, asked: argparse.Namespace) -> int:
    """List keys of a class, of a bucket or of both; return 0 if there are none, else 4."""
    most = asked.limit or MOST
    found: list[Any] = []
    after: str | None = asked.after
    body: dict[str, Any] = {}
    while True:
        page = await door.get(
            *("parity", "differences"),
            class_=asked.class_,
            bucket=asked.bucket,
            after=after,
            limit=min(PAGE, most - len(found)),
        )
        body = {**page, **{each: {**body.get(each, {}), **page[each]} for each in ("means", "cures")}}
        found, after = found + page["differences"], page["next"]
        if after is None or len(found) >= most:
            break
    body = {**body, "differences": found}
    report = DifferencePage.of_dict(body)
    count = report.counts.get(asked.class_, 0) if asked.class_ and asked.bucket is None else None
    left = count - len(found) if count is not None and asked.after is None else None
    go_on = None if left == 0 else after
    screen.answer(page_text(report, Listed(asked.class_, asked.bucket, count, go_on, left), screen), body)
    return SHUT if count or found else DONE


def code_of(report: ParityReport) -> int:
    """Return 0 for a clean verdict that it is safe to cut over by; 4 for every other: what isn't known isn't clean."""
    return DONE if report.verdict == "clean" and report.safe_to_cut_over.answer else SHUT


class Watching:
    """Shows the report over and over: redrawn on a terminal, a line for each change elsewhere."""

    def __init__(self, door: VerifierDoor, screen: Screen, clock: Clock, *, every_s: float = EVERY_S) -> None:
        """Take whom to ask.

        Args:
            door: of the verifier.
            screen: to draw on.
            clock: of the terminal.
            every_s: how often to ask.
        """
        self._door, self._screen, self._clock, self._every_s = door, screen, clock, every_s
        self._report: ParityReport | None = None
        self._heard_s = clock.monotonic()
        self._before: object = None
        self._drawn = ""
        self._lost = ""

    async def run(self) -> int:
        """Show reports until SIGINT or SIGTERM; return the exit code of the last one, 1 if the verifier was lost."""
        if self._screen.redraws:
            self._screen.write(_ENTER)
        try:
            await until_stopped(self._go())
        finally:
            if self._screen.redraws:
                self._screen.write(_LEAVE)
        if self._screen.redraws:
            self._screen.write(self.text() + "\n")
        return self.code

    @property
    def code(self) -> int:
        """Exit code of what was heard last; 1 once nothing is heard."""
        return ERROR if self._lost or self._report is None else code_of(self._report)

    async def _go(self) -> None:
        while True:
            await self.look()
            await self._clock.sleep(self._every_s)

    async def look(self) -> None:
        """Ask once, and show what is new."""
        try:
            body: dict[str, Any] = await self._door.get("parity")
            self._report, self._lost, self._heard_s = ParityReport.of_dict(body), "", self._clock.monotonic()
        except NoVerifier as error:
            body, self._lost = {}, str(error)
        if self._screen.redraws:
            self._draw()
        else:
            self._log(body)

    def _log(self, body: dict[str, Any]) -> None:
        now = self._lost if self._lost or self._report is None else changing(self._report)
        if now == self._before:
            return
        self._before = now
        if self._lost:
            self._screen.say(f"no_verifier: {self._lost}")
        elif self._report is not None:
            self._screen.answer(change_text(self._report), body)

    def text(self) -> str:
        """Return the screen: the report, under a warning once it can't be asked for."""
        lost = []
        if self._lost:
            since = lasted(self._clock.monotonic() - self._heard_s)
            lost = self._screen.lines(f"NO VERIFIER for {since}: {self._lost}", 0)
            lost = [self._screen.styled("bad", each) for each in lost]
            lost += ["below is what it said last; it proves nothing about now", ""] if self._report else []
        return "\n".join([*lost, *([report_text(self._report, self._screen)] if self._report else [])])

    def _draw(self) -> None:
        self._screen, fit = resized(self._screen)
        lines = self.text().splitlines()
        if len(lines) > fit - 1:
            lines = [
                *lines[: fit - 2],
                self._screen.styled("faint", f"… {len(lines) - fit + 2} more lines: crossfade parity"),
            ]
        drawn = "\n".join(each + _REST_OF_LINE for each in lines)
        if drawn != self._drawn:
            self._drawn = drawn
            self._screen.write(_HOME + drawn + _REST_OF_SCREEN)


async def until_stopped(work: Coroutine[Any, Any, None]) -> None:
    """Run something until it ends, or SIGINT or SIGTERM ends it, at an await; the process goes on after it."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for each in STOPS:
        loop.add_signal_handler(each, stop.set)
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        for task in (working, stopping):
            task.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)
        for each in STOPS:
            loop.remove_signal_handler(each)
