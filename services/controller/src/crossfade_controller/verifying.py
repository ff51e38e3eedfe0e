"""`crossfade verify`: passes on demand, and the last ones."""

from __future__ import annotations

import argparse
from typing import Any

import msgspec

from crossfade.contracts.parity import PassList, PassReport
from crossfade.core.values.errors import UnknownDocument
from crossfade.ports.clock import Clock
from crossfade.runtime.operator import operator_name
from crossfade_controller.failing import DONE, INTERRUPTED, REFUSED, SHUT, TIMEOUT
from crossfade_controller.following import Ended, Following
from crossfade_controller.pass_text import OVER, cost_text, counts, list_text, pass_lines, progress_text
from crossfade_controller.screen import Screen
from crossfade_controller.verifier_door import VerifierDoor


async def verify(door: VerifierDoor, screen: Screen, asked: argparse.Namespace, clock: Clock) -> int:
    """Run `verify start`, `status` or `cancel`; return the exit code.

    Raises:
        CrossfadeError: of `VerifierDoor`.
    """
    if asked.what == "start":
        return await _start(door, screen, asked, clock)
    if asked.what == "cancel":
        body = await door.post("passes", asked.id, "cancel", body={"who": operator_name()})
        screen.answer(pass_lines(_pass(body), screen), body)
        return DONE
    if asked.id:
        body = await door.get("passes", asked.id)
        screen.answer(pass_lines(_pass(body), screen), body)
        return code_of(_pass(body))
    body = await door.get("passes")
    screen.answer(list_text(PassList.of_dict(body), asked.limit, screen), body)
    return DONE


async def _start(door: VerifierDoor, screen: Screen, asked: argparse.Namespace, clock: Clock) -> int:
    if cost := cost_text(PassList.of_dict(await door.get("passes"))):
        screen.say(cost)
    body: dict[str, Any] = await door.post("passes", body={"who": operator_name()})
    first = _pass(body)
    if not asked.wait:
        after = f"\nprogress: crossfade verify status {first.id}"
        screen.answer(pass_lines(first, screen) + after, body)
        return DONE
    screen.say(f"pass {first.id} was requested; Ctrl-C ends this command, not the pass")

    async def ask() -> dict[str, Any]:
        found: dict[str, Any] = await door.get("passes", first.id)
        return found

    following = Following(
        screen,
        clock,
        ask=ask,
        is_over=lambda each: _pass(each).state in OVER,
        told=lambda each: progress_text(_pass(each)),
        stage=lambda each: _stage(_pass(each)),
    )
    ended = await following.end(body, asked.timeout)
    last = _pass(ended.last)
    screen.answer(pass_lines(last, screen) + _unfinished(ended, last), ended.last)
    if ended.interrupted:
        return INTERRUPTED
    return TIMEOUT if ended.timed_out else code_of(last)


def _unfinished(ended: Ended[Any], last: PassReport) -> str:
    if not ended.timed_out and not ended.interrupted:
        return ""
    return f"\nthe pass goes on: crossfade verify status {last.id}; crossfade verify cancel {last.id} ends it"


def code_of(each: PassReport) -> int:
    """Return 0 for a pass that is clean and counts, or isn't over; 4: not clean; 3: it was ended early."""
    if each.state not in OVER:
        return DONE
    if each.state != "done":
        return REFUSED
    return DONE if counts(each) else SHUT


def _pass(body: Any) -> PassReport:
    try:
        return msgspec.convert(body, PassReport)
    except msgspec.ValidationError as error:
        raise UnknownDocument(f"the verifier's answer is not a report of a pass: {error}") from error


def _stage(each: PassReport) -> object:
    """Return what is worth a line of its own: another stage or trouble, each tenth part."""
    tenth = None if each.percent is None else int(each.percent // 10)
    return each.state, each.stage, each.held, each.trouble, tenth
