"""The replicator's command line.

replicator                                   run the consumer CROSSFADE_CONSUMER=forward | reverse | feed
replicator --check                           check settings, mapping and files, then exit
replicator replay FILE.jsonl [--direction forward] [--execute] [--json]
replicator dead-letters list [--json]
replicator dead-letters show LETTER… [--json]
replicator dead-letters merge LETTER… [--execute] [--json]
replicator dead-letters redrive [--execute] [--json]
replicator dead-letters discard LETTER… [--execute] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack

from crossfade.core.values.errors import CrossfadeError
from crossfade.core.values.shape import Direction
from crossfade.runtime import lifecycle, telemetry
from crossfade.runtime.logging import configure
from crossfade.runtime.settings import describe_settings, load_checked, load_settings
from crossfade_replicator.settings import Settings, ToolSettings

NAME = "replicator"
NAMING = ("show", "merge", "discard")
REFUSED = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command == "dead-letters" and (options.action in NAMING) is not bool(options.letters):
        parser.error(
            f"{', '.join(NAMING)} need the names of letters, as `replicator dead-letters list` shows them; no other "
            "command takes any"
        )
    if options.command is None:
        return _serve(check=options.check)
    settings = load_settings(ToolSettings)
    configure(NAME, "CRITICAL")  # stdout is for the answer, which names what was parked
    from crossfade_replicator import tools

    try:
        return asyncio.run(tools.run(settings, options))
    except CrossfadeError as error:
        sys.stderr.write(f"{error.code}: {error}\n")
        return REFUSED


def _serve(*, check: bool) -> int:
    settings = load_checked(Settings)
    if check:
        return 0
    configure(f"{NAME}-{settings.consumer.value}", settings.log_level)

    async def serve(stop: asyncio.Event) -> None:
        from crossfade_replicator.service import Service
        from crossfade_replicator.tuning import tune_garbage_collection

        tune_garbage_collection()
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(telemetry.running(f"{NAME}-{settings.consumer.value}", settings))
            await Service(settings, stack).run(stop)

    return lifecycle.run(f"{NAME}-{settings.consumer.value}", serve, health=settings.health_address)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        NAME,
        description=__doc__,
        epilog="Settings, from the environment:\n" + describe_settings(Settings),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{NAME} {lifecycle.code_version()}")
    parser.add_argument("--check", action="store_true", help="check settings, mapping and files, then exit")
    commands = parser.add_subparsers(dest="command", metavar="command")
    replay = commands.add_parser("replay", help="apply recorded change records, one JSON document per line")
    replay.add_argument("file")
    replay.add_argument("--direction", choices=[each.value for each in Direction], default=Direction.FORWARD.value)
    letters = commands.add_parser("dead-letters", help="what could not be applied")
    letters.add_argument("action", choices=["list", "show", "redrive", "merge", "discard"])
    letters.add_argument("letters", nargs="*", metavar="LETTER", help="a letter's name, as `list` shows it")
    for each in (replay, letters):
        each.add_argument("--execute", action="store_true", help="write; without it nothing is written")
        each.add_argument("--json", action="store_true", help="print JSON")
    letters.add_argument(
        "--reveal", action="store_true", help="show customers' values, too; the journal has who saw which keys' values"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
