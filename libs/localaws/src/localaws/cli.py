"""The command `localaws`: the embedded AWS on its own, for any AWS client."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version
from types import FrameType

from localaws.errors import StartFailed
from localaws.server import add_account_arguments
from localaws.stack import Stack

HIGHEST_PORT = 65_535

DESCRIPTION = """\
The embedded AWS: DynamoDB, Kinesis, S3 and CloudWatch, and a real Redis-compatible server.
Everything listens on loopback, keeps its state in memory, and is gone when it ends.
"""

UP = """\
Start the emulator and Redis, print where they listen as one line of JSON on stdout, and run in the
foreground until SIGTERM, SIGINT (Ctrl-C) or the end of either server.

  $ localaws up --port 8000 --redis-port 6379
  {"aws_endpoint": "http://127.0.0.1:8000", "redis_url": "redis://127.0.0.1:6379/0",
   "region": "us-east-1", "access_key_id": "localaws", "secret_access_key": "localaws",
   "account_id": "000000000000"}

Then, with any AWS client:

  $ export AWS_ACCESS_KEY_ID=localaws AWS_SECRET_ACCESS_KEY=localaws AWS_DEFAULT_REGION=us-east-1
  $ aws --endpoint-url http://127.0.0.1:8000 dynamodb list-tables

Faults between a table and its stream, and what was emitted so far:

  $ curl -d '{"duplicate": 0.1, "shuffle_window": 20, "delay_ms": 500, "seed": 7}' http://127.0.0.1:8000/_localaws/faults
  $ curl http://127.0.0.1:8000/_localaws/faults
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    formatter = argparse.RawDescriptionHelpFormatter
    command = argparse.ArgumentParser(prog="localaws", description=DESCRIPTION, formatter_class=formatter)
    command.add_argument("--version", action="version", version=f"localaws {version('localaws')}")
    verbs = command.add_subparsers(dest="verb", required=True, metavar="up")
    up = verbs.add_parser("up", help="start it and run in the foreground", description=UP, formatter_class=formatter)
    up.add_argument("--port", type=_port, default=0, help="of the AWS endpoint; 0, the default, takes any free one")
    up.add_argument("--redis-port", type=_port, default=0, help="of Redis; 0, the default, takes any free one")
    add_account_arguments(up)
    up.add_argument("--verbose", action="store_true", help="log the emulator's warnings to stderr")
    up.add_argument("--without", action="append", default=[], metavar="PATCH", help=argparse.SUPPRESS)
    return command


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > HIGHEST_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 to {HIGHEST_PORT}")
    return int(text)


class _Stopped(Exception):
    """A signal asked the command to end."""


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise _Stopped


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    options = parser().parse_args(arguments)
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, _stop)
    stack = Stack(
        options.port,
        options.redis_port,
        without=options.without,
        verbose=options.verbose,
        account_id=options.account_id,
        region=options.region,
        signature_age_s=options.signature_age_s,
    )
    try:
        print(stack.start().to_json(), flush=True)  # noqa: T201  # the answer of the command
        print(f"localaws: {stack.wait()} ended unexpectedly", file=sys.stderr)  # noqa: T201  # the message for the user
        return 1
    except _Stopped:
        return 0
    except StartFailed as error:
        print(f"localaws: {error}", file=sys.stderr)  # noqa: T201  # the message for the user
        return 1
    finally:
        stack.stop()


if __name__ == "__main__":
    sys.exit(main())
