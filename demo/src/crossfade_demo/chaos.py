"""What goes wrong on purpose, and the evidence that the system came through."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any, Final

import redis.asyncio as redis

from crossfade_demo.checks import Check, check, key_of, rows_behind
from crossfade_demo.loopback import send
from crossfade_demo.pace import Pace
from crossfade_demo.processes import Service
from crossfade_demo.store import TARGET, Store
from crossfade_demo.traffic import Traffic

APPLIED_WITHIN_S: Final = 10.0
DEAD_S: Final = 2.5
WRITTEN_WITHIN_S: Final = 15.0
STALE_S: Final = 300


class FlagCopy:
    """The second API process's own copy of the flag file, which the story can hold back."""

    def __init__(self, source: Path, target: Path) -> None:
        self._source, self.target = source, target
        self._held = False
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Copy the file now, and whenever it changes."""
        self._copy()
        self._task = asyncio.create_task(self._run())

    async def finish(self) -> None:
        """Stop copying."""
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task})

    def hold(self, contents: str) -> None:
        """Put an old file in place, minutes old by its own time, and leave it there."""
        self._held = True
        self.target.unlink(missing_ok=True)
        self.target.write_text(contents)
        old_s = time.time() - STALE_S
        os.utime(self.target, (old_s, old_s))

    def release(self) -> None:
        """Bring the copy up to date again."""
        self._held = False
        self._copy()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            if not self._held and self._source.stat().st_mtime_ns != self.target.stat().st_mtime_ns:
                self._copy()

    def _copy(self) -> None:
        temporary = self.target.with_suffix(".new")
        shutil.copy2(self._source, temporary)
        temporary.replace(self.target)


class Faults:
    """The fault hook of the embedded AWS, between table and stream."""

    def __init__(self, endpoint: str) -> None:
        self._url = f"{endpoint}/_localaws/faults"

    async def set(self, **faults: Any) -> dict[str, Any]:
        """Set the faults; all zero flushes what is held back. Returns the counters."""
        found: dict[str, Any] = json.loads(await asyncio.to_thread(send, self._url, json.dumps(faults).encode()))
        return found


async def kill_replicator(service: Service, store: Store, traffic: Traffic, pace: Pace) -> Check:
    """Kill the forward replicator under traffic; what was written meanwhile must be applied soon after its restart.

    Written is what was acknowledged, applied is what stands in the other table: a lag of 0 would prove nothing.
    """
    killed_s = time.monotonic()
    await service.kill()
    await asyncio.sleep(DEAD_S)
    written_by = pace.deadline(WRITTEN_WITHIN_S)
    while True:
        wanted = _acknowledged_since(killed_s, traffic)
        behind_when_dead = len(rows_behind(await store.rows(TARGET, list(wanted)), wanted))
        if behind_when_dead or written_by.over:
            break
        await asyncio.sleep(0.2)
    applied_by = pace.deadline(APPLIED_WITHIN_S)
    await service.start()
    behind = wanted
    while behind and not applied_by.over:
        await asyncio.sleep(0.2)
        behind = rows_behind(await store.rows(TARGET, list(behind)), behind)
    took_s = applied_by.took_s
    wrong = [f"{key} has not reached {version}" for key, version in behind.items()]
    if not behind_when_dead:
        wrong.append("nothing was waiting while it was dead: this proved nothing")
    return check(
        "replicator_killed",
        f"what was written while the replicator was dead is applied within {APPLIED_WITHIN_S:.0f} s of its restart",
        wrong,
        too_busy=applied_by.too_busy if behind else written_by.too_busy,
        keys_written=len(wanted),
        keys_waiting=behind_when_dead,
        applied_after_s=round(took_s, 2),
    )


def _acknowledged_since(since_s: float, traffic: Traffic) -> dict[tuple[str, str], int]:
    """Return the highest acknowledged version of each key written since a moment."""
    wanted: dict[tuple[str, str], int] = {}
    for book in traffic.books:
        for each in book.acknowledged:
            if each.at_s >= since_s:
                key = key_of(each.wallet)
                wanted[key] = max(wanted.get(key, 0), each.version)
    return wanted


async def flush_redis(url: str) -> None:
    """Lose every mark."""
    client = redis.Redis.from_url(url)
    try:
        await client.flushall()
    finally:
        await client.aclose()
