"""An operator's command that hangs, is killed, or has children that stay behind."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from crossfade_controller.hooks import TOO_LONG, run_command


async def test_a_hook_gets_its_owner_and_epoch_and_its_output_comes_back() -> None:
    told = {"OWNER": "source", "EPOCH": "7"}
    assert await run_command(["sh", "-c", "echo $OWNER at $EPOCH"], 20, told) == (0, "source at 7")


async def test_a_hook_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    child = tmp_path / "child"
    script = f"sleep 600 & echo $! > {child}; wait"
    code, said = await run_command(["sh", "-c", script], 0.5)
    assert (code, said) == (TOO_LONG, "not done within 0.5 s")
    pid = int(child.read_text())
    for _ in range(1000):  # its new parent reaps it
        if not is_there(pid):
            break
        await asyncio.sleep(0.01)
    assert not is_there(pid)


async def test_a_hook_that_is_killed_has_failed() -> None:
    code, _ = await run_command(["sh", "-c", "kill -9 $$"], 20)
    assert code == -9


async def test_a_controller_that_is_stopped_leaves_no_hook_behind(tmp_path: Path) -> None:
    child = tmp_path / "child"
    running = asyncio.create_task(
        run_command(["sh", "-c", f"echo $$ > {child}.new; mv {child}.new {child}; sleep 600"], 600)
    )
    while not child.exists():  # noqa: ASYNC110 -- another process makes it
        await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert not is_there(int(child.read_text()))


def is_there(pid: int) -> bool:
    """Whether a process runs; a zombie doesn't."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z" and os.path.exists(f"/proc/{pid}")
