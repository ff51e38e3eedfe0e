"""Fills the screen from outside: the controller's and the verifier's pages, and the clients' books."""

from __future__ import annotations

import asyncio
import time
from textwrap import shorten
from typing import Any, Final

from crossfade_demo.latency import all_calls, latency
from crossfade_demo.loopback import ask
from crossfade_demo.pace import Late, Pace
from crossfade_demo.screen import PHASES, Screen, View
from crossfade_demo.traffic import Traffic

RECENT_S: Final = 5.0
EVERY_S: Final = 0.5
SHORT: Final = 44  # what fits beside the bars


class Watch:
    """Keeps the view up to date, and what it saw last."""

    def __init__(self, view: View, screen: Screen, controller_url: str, verifier_url: str, pace: Pace) -> None:
        self._view, self._screen, self._pace = view, screen, pace
        self._controller_url, self._verifier_url = controller_url, verifier_url
        self._task: asyncio.Task[None] | None = None
        self.traffic: Traffic | None = None
        self.status: dict[str, Any] = {}
        self.parity: dict[str, Any] = {}
        self.reached_s: dict[str, float] = {}

    def start(self) -> None:
        """Start looking."""
        self._task = asyncio.create_task(self._run())

    async def finish(self) -> None:
        """Stop looking."""
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def phase(self, *names: str, bound_s: float) -> str:
        """Wait until the migration is in one of these phases, and return it.

        Raises:
            Late: it is not; the message says what it is waiting for.
        """
        deadline = self._pace.deadline(bound_s)
        while not deadline.over:
            status = await ask(f"{self._controller_url}/status")
            if status and status["phase"] in names:
                return str(status["phase"])
            await asyncio.sleep(0.1)
        waits = self.status.get("waiting_for") or "nothing it names"
        raise Late(f"not in {' or '.join(names)} after {deadline}; it is waiting for: {waits}", deadline)

    def left_s(self, phase: str) -> float:
        """Return when a phase was first seen to be over, infinity before it; a short one after it may be missed."""
        later = PHASES[PHASES.index(phase) + 1 :]
        return min((at_s for name, at_s in self.reached_s.items() if name in later), default=float("inf"))

    async def _run(self) -> None:
        while True:
            await self._look()
            self._screen.update()
            await asyncio.sleep(EVERY_S)

    async def _look(self) -> None:
        status, parity = await asyncio.gather(
            ask(f"{self._controller_url}/status"), ask(f"{self._verifier_url}/parity")
        )
        if status:
            self.status = status
            self._show_status(status)
        if parity:
            self.parity = parity
            self._show_parity(parity)
        if self.traffic:
            self._show_traffic(self.traffic)

    def _show_status(self, status: dict[str, Any]) -> None:
        view = self._view
        view.reached(status["phase"])
        self.reached_s.setdefault(status["phase"], time.monotonic())
        view.waits_for = status.get("waiting_for") or ""
        view.ramp_percent = float(status.get("share_percent") or 0.0)
        view.percent_on_target = status.get("percent_on_target")
        lags = [status["lag"]["forward"], status["lag"]["reverse"]]
        view.table_to_stream_s = _worst([each["unreplicated_s"] for each in lags])
        view.stream_to_applied_s = _worst([each["iterator_s"] for each in lags])
        if status["phase"] in ("RAMPING", "CUT_OVER") and view.percent_on_target is not None:
            view.progress["RAMPING"] = view.ramp_percent / 100
            view.progress["CUT_OVER"] = view.percent_on_target / 100 if status["phase"] == "CUT_OVER" else 0.0
        gates = status.get("gates") or []
        if gates and status["phase"] in ("CATCHING_UP", "BOTH_WAYS", "BAKING"):
            view.progress[status["phase"]] = sum(each["open"] for each in gates) / len(gates)
        if status["phase"] == "COMPLETE":
            view.progress["COMPLETE"] = 1.0

    def _show_parity(self, parity: dict[str, Any]) -> None:
        clean = parity.get("last_clean_pass")
        if parity["verdict"] == "clean" and clean:
            self._view.parity = f"clean {clean['age_s']:.0f} s ago, {clean['verified']:,} keys"
        else:
            self._view.parity = shorten(f"{parity['verdict']}: {parity['reason']}", SHORT, placeholder=" …")

    def _show_traffic(self, traffic: Traffic) -> None:
        now_s = time.monotonic()
        recent = latency(all_calls(traffic.books), now_s - RECENT_S, now_s)
        view = self._view
        view.operations_per_s = recent.calls / RECENT_S
        view.p50_ms, view.p99_ms = recent.p50_ms, recent.p99_ms
        view.failed = sum(len(book.wrong) for book in traffic.books)
        view.retried = sum(book.retried for book in traffic.books)


def _worst(values: list[float | None]) -> float | None:
    known = [each for each in values if each is not None]
    return max(known) if known else None
