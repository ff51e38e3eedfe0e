"""A process ends when it is asked to, whoever reads its log."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

SERVICE = """
import asyncio, sys
from crossfade.runtime import lifecycle, logging

async def serve(stop: asyncio.Event) -> None:
    lifecycle.ready("nowhere")
    await stop.wait()
    {after}

logging.configure("idle")
sys.exit(lifecycle.run("idle", serve))
"""


def started(after: str) -> tuple[subprocess.Popen[bytes], int]:
    """Start a service that does `after` once it is asked to stop; return it and the reading end of its log."""
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", SERVICE.format(after=after)], stdout=writer, stderr=subprocess.DEVNULL
    )
    os.close(writer)
    log = b""
    while b'"ready"' not in log:
        log += os.read(reader, 4096)
    return process, reader


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_service_whose_log_nobody_reads_any_more_still_stops_at_the_first_signal(number: signal.Signals) -> None:
    process, reader = started("pass")
    os.close(reader)
    process.send_signal(number)
    try:
        process.wait(5.0)
    finally:
        process.kill()


def test_a_second_signal_ends_a_service_that_takes_too_long() -> None:
    process, reader = started("await asyncio.sleep(60)")
    process.send_signal(signal.SIGTERM)
    while b'"stopping"' not in os.read(reader, 4096):
        pass
    os.close(reader)
    process.send_signal(signal.SIGTERM)
    try:
        assert process.wait(5.0) == 128 + signal.SIGTERM
    finally:
        process.kill()
