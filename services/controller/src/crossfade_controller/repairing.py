"""`crossfade repair`: a plan that is shown whole, and carried out exactly as it was shown."""

from __future__ import annotations

import argparse
from typing import Any, Final

from crossfade.contracts.repairs import OVER, RepairList, RepairReport
from crossfade.ports.clock import Clock
from crossfade.runtime.operator import operator_name
from crossfade_controller.failing import DONE, INTERRUPTED, REFUSED, SHUT, TIMEOUT
from crossfade_controller.following import Ended, Following
from crossfade_controller.repair_text import list_text, plan_text, progress_text, repair_text
from crossfade_controller.screen import Screen
from crossfade_controller.verifier_door import VerifierDoor

PAGE: Final = 1_000
"""Steps that are asked for at a time."""


async def repair(door: VerifierDoor, screen: Screen, asked: argparse.Namespace, clock: Clock) -> int:
    """Run `repair plan`, `execute`, `status` or `cancel`; return the exit code.

    Raises:
        CrossfadeError: of `VerifierDoor`.
    """
    repairs = _Repairs(door, screen, clock)
    match asked.what:
        case "plan":
            return await repairs.plan(asked)
        case "execute":
            return await repairs.execute(asked)
        case "cancel":
            body = await door.post("repairs", asked.id, "cancel", body={"who": operator_name()})
            screen.answer(repair_text(RepairReport.of_dict(body), screen), body)
            return DONE
        case _:
            return await repairs.status(asked)


class _Repairs:
    def __init__(self, door: VerifierDoor, screen: Screen, clock: Clock) -> None:
        self._door, self._screen, self._clock = door, screen, clock

    async def plan(self, asked: argparse.Namespace) -> int:
        body = await self._door.post("repairs", body={"who": operator_name(), **_wanted(asked)})
        identity = str(body.get("id"))
        ended = await self._followed(identity, body, lambda each: each.state != "planning", None)
        if ended.interrupted:
            self._screen.say(f"it is still being planned: crossfade repair status {identity}")
            return INTERRUPTED
        whole = await self._whole(identity, None)
        report = RepairReport.of_dict(whole)
        self._screen.answer(plan_text(report, self._screen), whole)
        if report.state == "failed":
            return REFUSED
        return DONE if report.writes else SHUT

    async def execute(self, asked: argparse.Namespace) -> int:
        wanted = {"who": operator_name(), **({} if asked.pace is None else {"pace": asked.pace})}
        body = await self._door.post("repairs", asked.id, "execute", body=wanted)
        report = RepairReport.of_dict(body)
        if not asked.wait:
            follow = f"\nprogress: crossfade repair status {report.id}" if report.state not in OVER else ""
            self._screen.answer(repair_text(report, self._screen) + follow, body)
            return DONE
        who = report.executed_by or "an operator"
        self._screen.say(f"repair {report.id}: requested by {who}; Ctrl-C ends this command, not the repair")
        ended = await self._followed(report.id, body, lambda each: each.state in OVER, asked.timeout)
        whole = await self._whole(report.id, None) if not ended.interrupted else ended.last
        last = RepairReport.of_dict(whole)
        self._screen.answer(repair_text(last, self._screen), whole)
        if ended.interrupted:
            return INTERRUPTED
        return TIMEOUT if ended.timed_out else code_of(last)

    async def status(self, asked: argparse.Namespace) -> int:
        if not asked.id:
            body = await self._door.get("repairs")
            repairs = RepairList.of_dict(body)
            self._screen.answer(list_text(repairs, asked.limit, self._screen), body)
            return DONE
        whole = await self._whole(asked.id, None)
        report = RepairReport.of_dict(whole)
        self._screen.answer(repair_text(report, self._screen), whole)
        return code_of(report)

    async def _followed(self, identity: str, first: Any, is_over: Any, timeout_s: float | None) -> Ended[Any]:
        async def ask() -> Any:
            return await self._door.get("repairs", identity, limit=1)

        following: Following[Any] = Following(
            self._screen,
            self._clock,
            ask=ask,
            is_over=lambda body: is_over(RepairReport.of_dict(body)),
            told=lambda body: progress_text(RepairReport.of_dict(body)),
            stage=lambda body: _stage(RepairReport.of_dict(body)),
        )
        return await following.end(first, timeout_s)

    async def _whole(self, identity: str, most: int | None) -> dict[str, Any]:
        """Return a repair with all its steps: what is carried out is what was shown."""
        body: dict[str, Any] = await self._door.get("repairs", identity, limit=PAGE)
        steps, after = list(body["steps"]), body["next"]
        while after is not None and (most is None or len(steps) < most):
            page = await self._door.get("repairs", identity, limit=PAGE, after=after)
            steps, after = steps + page["steps"], page["next"]
        return {**body, "steps": steps, "next": after}


def _wanted(asked: argparse.Namespace) -> dict[str, Any]:
    if asked.key:
        return {"keys": asked.key}
    given = {"class": asked.class_, "limit": asked.limit, "after": asked.after}
    return {name: value for name, value in given.items() if value is not None}


def _stage(report: RepairReport) -> object:
    """Return what is worth a line of its own."""
    return report.state, report.because, int(10 * report.done / report.keys) if report.keys else None


def code_of(report: RepairReport) -> int:
    """Return 0 for a repair after which every key is right, or that isn't over; 4 if some aren't; 3 if it was ended."""
    if report.state == "done":
        wrong = sum(count for name, count in report.outcomes.items() if name not in {"repaired", "already right"})
        return SHUT if wrong else DONE
    return REFUSED if report.state in OVER else DONE
