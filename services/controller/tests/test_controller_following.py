"""`--wait` on a pass or a repair: it ends with it, with its time, or with Ctrl-C."""

from __future__ import annotations

import asyncio
import io

from crossfade_controller.following import Following
from crossfade_controller.screen import Screen
from crossfade_controller.verifier_door import NoVerifier


class Clock:
    """Time passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def wall_us(self) -> int:
        return 0

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        await asyncio.sleep(0)


class Story:
    """A document that goes through some states, one each time it is asked for."""

    def __init__(self, *states: str | NoVerifier) -> None:
        self._states = list(states)
        self.beside = io.StringIO()

    async def ask(self) -> str:
        state = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        if isinstance(state, NoVerifier):
            raise state
        return state

    def following(self, *, redraws: bool = False, width: int = 80) -> Following[str]:
        return Following(
            Screen(width=width, redraws=redraws, beside=self.beside),
            Clock(),
            ask=self.ask,
            is_over=lambda state: state == "done",
            told=lambda state: f"it is {state}",
            stage=lambda state: state.partition(" ")[0],
        )

    @property
    def lines(self) -> list[str]:
        return self.beside.getvalue().splitlines()


async def test_it_ends_with_what_it_follows_and_a_pipe_gets_a_line_a_stage() -> None:
    story = Story("scanning 1", "scanning 2", "joining", "done")
    ended = await story.following().end("waiting", None)
    assert (ended.last, ended.timed_out, ended.interrupted) == ("done", False, False)
    assert story.lines == ["it is waiting", "it is scanning 1", "it is joining"]


async def test_what_is_over_already_is_not_waited_for() -> None:
    story = Story("running")
    assert (await story.following().end("done", None)).last == "done"
    assert story.lines == []


async def test_its_time_ends_it() -> None:
    ended = await Story("running").following().end("running", 3.0)
    assert (ended.last, ended.timed_out) == ("running", True)


async def test_ctrl_c_ends_it_and_not_what_it_follows() -> None:
    asked = asyncio.Event()

    class Watched(Story):
        async def ask(self) -> str:
            asked.set()
            return await super().ask()

    waiting = asyncio.create_task(Watched("running").following().end("running", None))
    await asked.wait()
    waiting.cancel()
    ended = await waiting
    assert (ended.last, ended.interrupted) == ("running", True)


async def test_a_verifier_that_is_replaced_meanwhile_is_said_once_and_waited_for() -> None:
    gone = NoVerifier("connection refused")
    story = Story("running", gone, gone, "running", "done")
    assert (await story.following().end("running", None)).last == "done"
    assert story.lines == ["it is running", "no verifier now: connection refused", "it is running"]


async def test_a_terminal_gets_one_line_that_is_rewritten_fits_and_is_removed_at_the_end() -> None:
    story = Story("scanning " + "x" * 100, "done")
    await story.following(redraws=True, width=40).end("waiting", None)
    *drawn, last = story.beside.getvalue().split("\r\x1b[K")
    assert drawn[1:] == ["it is waiting", ("it is scanning " + "x" * 100)[:39]]
    assert last == ""
