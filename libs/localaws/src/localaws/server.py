"""The emulator, in a process of its own: `python -m localaws.server --port 4566`.

It prints one line of JSON, `{"port": N}`, when it listens; it ends on SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import uvloop

from localaws.endpoints import ACCOUNT_ID, LOOPBACK, REGION
from localaws.http_server import Application, Connection, Held, Quick

BACKLOG = 1024


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    command = argparse.ArgumentParser(prog="python -m localaws.server", description=__doc__)
    command.add_argument("--port", type=int, default=0, help="port on loopback; 0, the default, takes any free one")
    add_account_arguments(command)
    command.add_argument("--verbose", action="store_true", help="log the emulator's warnings to stderr")
    command.add_argument("--until-stdin-closes", action="store_true", help="end when stdin does: the parent has ended")
    command.add_argument("--without", action="append", default=[], metavar="PATCH", help=argparse.SUPPRESS)
    return command


def add_account_arguments(command: argparse.ArgumentParser) -> None:
    """Add what says which account the process stands for."""
    command.add_argument("--account-id", type=_account, default=ACCOUNT_ID, help="12 digits; whose resources these are")
    command.add_argument("--region", default=REGION, help="Region of a request that names none; default: %(default)s")
    command.add_argument(
        "--signature-age-s", type=float, default=None, help="age from which a signature is refused; default: 900 s"
    )


def _account(text: str) -> str:
    if len(text) != len(ACCOUNT_ID) or not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no account: it takes {len(ACCOUNT_ID)} digits")
    return text


def prepare(port: int, *, verbose: bool, account_id: str = ACCOUNT_ID, region: str = REGION) -> None:
    """Set what ministack reads from the environment when it is imported."""
    os.environ.update(
        GATEWAY_PORT=str(port),
        BIND_HOST=LOOPBACK,
        MINISTACK_HOST=LOOPBACK,
        MINISTACK_REGION=region,
        MINISTACK_ACCOUNT_ID=account_id,
        LOG_LEVEL="WARNING" if verbose else "CRITICAL",
        SFTP_ENABLED="0",
        IOT_MTLS_ENABLED="0",
        PERSIST_STATE="0",
        MINISTACK_DDB_EXPORT_COMPLETE_AFTER_SEC="0",
    )


def _end_with_stdin(loop: asyncio.AbstractEventLoop, end: asyncio.Event) -> None:
    if not os.read(0, 1024):
        loop.remove_reader(0)
        end.set()


def _show_fault(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Print what went wrong outside of any request; ministack silences the log that would."""
    print(f"localaws: {context.get('message')}", file=sys.stderr)  # noqa: T201  # the emulator's only log
    if error := context.get("exception"):
        traceback.print_exception(error, file=sys.stderr)


async def serve(
    quick: Quick, application: Application, listening: socket.socket, *, until_stdin_closes: bool, held: Held
) -> None:
    """Answer requests until a signal comes or stdin closes."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_show_fault)
    end = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, end.set)
    if until_stdin_closes:
        loop.add_reader(0, _end_with_stdin, loop, end)
    connections: set[Connection] = set()
    server = await loop.create_server(
        lambda: Connection(quick, application, connections, held), sock=listening, backlog=BACKLOG
    )
    print(json.dumps({"port": listening.getsockname()[1]}), flush=True)  # noqa: T201  # the parent waits for it
    await end.wait()
    server.close()
    for connection in list(connections):
        if connection.transport is not None:
            connection.transport.abort()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the emulator until it is told to end."""
    options = parser().parse_args(arguments)
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((LOOPBACK, options.port))
    except OSError as error:
        sys.exit(f"localaws: port {options.port} on {LOOPBACK} can't be used: {error.strerror}")
    port = listening.getsockname()[1]
    prepare(port, verbose=options.verbose, account_id=options.account_id, region=options.region)

    from localaws.emulator import (
        access,
        application,
        held,
        start,
    )  # ministack reads the environment when it is imported

    if options.signature_age_s is not None:
        access.set({"signature_age_s": options.signature_age_s})

    gc.set_threshold(50_000, 50, 1000)  # a full collection walks every stored item: p99 fell from 150 to 45 ms
    gc.freeze()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        quick = start(runner.get_loop(), without=options.without)
        runner.run(serve(quick, application, listening, until_stdin_closes=options.until_stdin_closes, held=held))


if __name__ == "__main__":
    main()
