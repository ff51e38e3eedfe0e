"""Kills real services under a real Prometheus with the shipped rules.

The demo's services run with a migration in BOTH_WAYS and live traffic. Pairs of them are ended with SIGKILL, one after
the other, and started again; at last five of six are, and then all. What must fire does, and from the first death to
the restart nothing that fires stops. Only the rules' waits are shortened, sixty times.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

from alert_cases import reporters
from alert_deaths import TABLE
from alert_rules import GROUP, RULES
from alert_rules import rules as shipped

from crossfade.runtime.telemetry.schema import Service
from crossfade_demo.options import Options
from crossfade_demo.processes import Service as Process
from crossfade_demo.report import Report
from crossfade_demo.screen import Screen, View
from crossfade_demo.story import Failure, Story
from tools.live import Prometheus, running_prometheus

PHASE: Final = "BOTH_WAYS"
PAIRS: Final = (
    (Service.CONTROLLER, Service.FORWARD),
    (Service.VERIFIER, Service.REVERSE),
    (Service.FEED, Service.API),
)
LONGEST_S: Final = 90.0
"""Until what must fire does, and until all is well again; it grows with the measured pace of the machine."""
CALM_S: Final = 5.0
SHOWN: Final = ("alertname", "service_name", GROUP, "crossfade_gate")
WATCHDOG: Final = frozenset({(("alertname", "CrossfadeWatchdog"),)})

Firing = frozenset[tuple[tuple[str, str], ...]]


def quick(rules: str) -> str:
    """Return the rules with their waits shortened: minutes become seconds."""
    return re.sub(r"(?m)^(    for: \d+)m$", r"\1s", rules)


def expected(dead: Sequence[Service]) -> Firing:
    """Return what must fire at least."""
    return frozenset(
        tuple(sorted({"alertname": f"Crossfade{each.alert}", **each.labels}.items()))
        for service in dead
        for each in TABLE[service]
        if PHASE in each.phases
    )


def firing(prometheus: Prometheus) -> Firing:
    """Return what fires now."""
    alerts: list[Mapping[str, Any]] = prometheus.ask("/api/v1/alerts")["alerts"]
    return frozenset(
        tuple(sorted((name, value) for name, value in each["labels"].items() if name in SHOWN))
        for each in alerts
        if each["state"] == "firing"
    )


def _may_not_stop(name: str, dead: Sequence[Service]) -> bool:
    tell = reporters(shipped()[name])
    return not tell or bool(tell & {each.value for each in dead})


class Killed(Story):
    """The demo's beginning, and then deaths."""

    def __init__(self, build: Path, prometheus: Prometheus) -> None:
        options = Options(wallets=100, rate=20, seconds=1, prometheus=True)
        view = View()
        super().__init__(options, build, Screen(view, quiet=True), view)
        self._prometheus = prometheus
        self.wrong: list[str] = []

    async def _drive(self) -> None:
        await self._crossfade("start")
        await self._watch.phase(PHASE, bound_s=LONGEST_S)
        for pair in PAIRS:
            await self._until_calm()
            await self._kill(pair)
            for each in pair:
                await self._start_again(each)
        await self._until_calm()
        apart = list(TABLE)
        Random(8).shuffle(apart)
        await self._kill([*(each for each in apart if each is not Service.API), Service.API])

    async def _report(self, _seeded: object, _payments: object, failure: Failure | None) -> Report:
        self.wrong += [failure.why] if failure else []
        await self._fleet.stop()
        return Report({}, self._checks, {}, 0.0, {}, 0.0, {}, self._pace.as_json())

    def _processes(self, service: Service) -> Sequence[Process]:
        fleet = self._fleet
        return {
            Service.API: fleet.apis,
            Service.CONTROLLER: (fleet.controller,),
            Service.VERIFIER: (fleet.verifier,),
            Service.FORWARD: (fleet.forward,),
            Service.REVERSE: (fleet.reverse,),
            Service.FEED: (fleet.feed,),
        }[service]

    async def _kill(self, services: Sequence[Service]) -> None:
        """Kill one after the other; each time wait for what must fire, and see that nothing stops."""
        before = firing(self._prometheus)
        for count, service in enumerate(services, 1):
            for process in self._processes(service):
                await process.kill()
            dead = services[:count]
            names = " and ".join(each.value for each in dead)
            deadline = self._pace.deadline(LONGEST_S)
            while not expected(dead) <= (now := firing(self._prometheus)):
                self._compare(before, now, dead)
                before = now
                if deadline.over:
                    missing = sorted(expected(dead) - now)
                    self.wrong.append(f"{names} dead: {missing} did not fire within {deadline}")
                    break
                await asyncio.sleep(0.5)
            self._compare(before, now, dead)
            before = now
            sys.stdout.write(f"{names} dead: {len(now)} alerts fire\n")

    def _compare(self, before: Firing, now: Firing, dead: Sequence[Service]) -> None:
        """Nothing may stop, but what a living service itself takes back."""
        stopped = [each for each in before - now if _may_not_stop(dict(each)["alertname"], dead)]
        if stopped:
            self.wrong.append(f"{[each.value for each in dead]} dead: {sorted(stopped)} stopped")

    async def _start_again(self, service: Service) -> None:
        for process in self._processes(service):
            await process.start()

    async def _until_calm(self) -> None:
        """Wait until nobody has been missed for a while; a figure of the last five minutes may still be bad."""
        deadline = self._pace.deadline(LONGEST_S)
        calm_s = time.monotonic()
        while time.monotonic() - calm_s < CALM_S:
            now = firing(self._prometheus)
            if now & expected(list(TABLE)) or not now >= WATCHDOG:
                calm_s = time.monotonic()
            if deadline.over:
                self.wrong.append(f"all live, and {sorted(now)} fires")
                return
            await asyncio.sleep(0.5)


def run(work: Path) -> list[str]:
    """Run it all in an empty folder; return what is wrong."""
    build = work / "build"
    for folder in (build / "logs", build / "flags"):
        folder.mkdir(parents=True)
    rules = work / RULES.name
    rules.write_text(quick(RULES.read_text()))
    with running_prometheus(work, rules, build / "prometheus-targets.json") as prometheus:
        story = Killed(build, prometheus)
        asyncio.run(story.play())
    return story.wrong
