"""Runs an operator's command, and ends it with all that it started when it takes too long."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

OUTPUT_BYTES: Final = 2000

NOT_RUN: Final = 127
TOO_LONG: Final = 124
"""Exit codes as of a shell and of timeout(1)."""


async def run_command(
    command: Sequence[str], timeout_s: float, environment: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Run a hook; return its exit code and the end of what it said. A hook that can't run counts as failed.

    Args:
        command: program and arguments.
        timeout_s: then it is killed, with the processes that it started.
        environment: variables beside this process's own.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    except OSError as error:
        return NOT_RUN, str(error)
    try:
        async with asyncio.timeout(timeout_s):
            output, _ = await process.communicate()
    except TimeoutError:
        return TOO_LONG, f"not done within {timeout_s} s"
    finally:
        if process.returncode is None:  # too long, or this process is being stopped
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return process.returncode or 0, output[-OUTPUT_BYTES:].decode("utf-8", "replace").strip()
