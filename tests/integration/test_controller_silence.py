"""The CLI before a DynamoDB that takes connections and never answers: it says what it is trying, and ends."""

from __future__ import annotations

import asyncio
import json
import os
import sys

import pytest

from controller.silence import narrated


async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        writer.close()


@pytest.mark.parametrize("command", [["status"], ["journal"], ["pause", "--execute"]], ids=" ".join)
async def test_a_command_says_what_it_is_trying_and_ends_with_a_clear_error(command: list[str]) -> None:
    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    endpoint = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("CROSSFADE_", "AWS_"))}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "controller.cli", *command, "--json"),
        env={
            **clean,
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
            "CROSSFADE_AWS_ENDPOINT_URL": f"http://{endpoint}",
            "CROSSFADE_MIGRATION_MAPPING": "engagement_migration:MAPPING",
            "CROSSFADE_FLAG_FILE": "/nowhere/flags.json",
            "CROSSFADE_BUCKET": "bucket",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await asyncio.wait_for(process.communicate(), 60)
    first, failed, *_ = errors.decode().splitlines()
    told = f"still reading the journal and the status of 'engagement' from http://{endpoint} after 2 s"
    assert first.startswith(told), errors.decode()
    assert failed.startswith("store_unavailable: Query: no answer within 2.5 s")
    assert process.returncode == 1
    assert json.loads(out)["code"] == "store_unavailable"
    server.close()


async def test_what_answers_soon_is_not_spoken_of() -> None:
    said: list[str] = []
    async with narrated(said.append, "reading", slow_s=0.2):
        await asyncio.sleep(0)
    await asyncio.sleep(0.3)
    assert said == []
    async with narrated(said.append, "reading", slow_s=0.01):
        await asyncio.sleep(0.3)
    assert len(said) == 1
