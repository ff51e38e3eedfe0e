"""Options of the commands that come after a migration: `clean`, and `retire`."""

from __future__ import annotations

import argparse
from typing import Final

from crossfade_controller.oncall_options import add_usual

AFTER: Final = {
    "clean": "take Crossfade's attributes and tombstones out of the rows: after COMPLETE or ABORTED, and under the "
    "plain protocol those of the source table after a rollback. Can be stopped and run again",
    "retire": "delete the migrated rows of a shared source table, after COMPLETE; what others wrote since stays. Can "
    "be stopped and run again",
}


def add_after(one: argparse.ArgumentParser, name: str) -> None:
    """Add the options of a command."""
    add_usual(one)
    one.add_argument("--execute", action="store_true", help="do it; without this nothing changes")
    one.add_argument(
        "--rows-per-s", type=_rate, default=200.0, metavar="N", help="rows written per second; default: 200"
    )
    if name == "retire":
        one.add_argument("--confirm", metavar="NAME", default="", help="name of the migration, as confirmation")
        one.add_argument(
            "--unwatched",
            action="store_true",
            help="nobody has written to the migrated rows since COMPLETE, although the stream doesn't reach back to it",
        )


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 < rate < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} must be above 0 and below a million")
    return rate
