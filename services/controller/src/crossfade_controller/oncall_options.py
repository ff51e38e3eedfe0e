"""The command line of the commands that ask the verifier: `parity`, `verify` and `repair`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Final

COMMANDS: Final[Mapping[str, str]] = {
    "parity": "show whether it is safe to cut over, what differs, and why; it asks the verifier alone. Exit code 0: "
    "the verdict is clean and it is safe to cut over; 4: it isn't",
    "verify": "compare both tables now (`verify start`), list passes (`verify status`), or end one (`verify cancel`)",
    "repair": "plan a repair and show it whole (`repair plan`), carry out exactly that plan (`repair execute`), list "
    "repairs (`repair status`), or end one (`repair cancel`)",
}

WHAT: Final[Mapping[str, Mapping[str, str]]] = {
    "verify": {
        "start": "request a pass over both tables; it replaces a running one that nobody requested",
        "status": "show one pass, or list the last ones, with rate, time left and read units",
        "cancel": "end a pass that is waiting or running; the verifier begins the next one on its own",
    },
    "repair": {
        "plan": "read the keys, and show what would be written to each and why. Nothing is written",
        "execute": "carry out a plan, exactly as it was shown: a key that has changed since is left alone, and says so",
        "status": "show one repair with what became of each key, or list the last ones",
        "cancel": "end a repair; keys that are repaired by then stay repaired",
    },
}
"""What follows these commands."""


def add_options(one: argparse.ArgumentParser, name: str, epilog: str) -> None:
    """Add a command's options to its parser.

    Args:
        one: its parser.
        name: of the command.
        epilog: for those that follow it.
    """
    if name == "parity":
        add_usual(one)
        _add_parity(one)
        return
    more = one.add_subparsers(dest="what", metavar="WHAT", required=True)
    for what, meaning in WHAT[name].items():
        next_one = more.add_parser(
            what,
            help=meaning,
            description=meaning[0].upper() + meaning[1:] + ".",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_usual(next_one)
        (_add_verify if name == "verify" else _add_repair)(next_one, what)


def add_usual(one: argparse.ArgumentParser) -> None:
    """Add the options that every command has."""
    one.add_argument("--json", action="store_true", help="answer in JSON; 64-bit numbers are strings")
    one.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="file with the token that says who asks; default: CROSSFADE_TOKEN_FILE or CROSSFADE_TOKEN",
    )


def token_of(asked: argparse.Namespace) -> dict[str, Path | None]:
    """Return the settings that --token-file replaces, by field name; none where it isn't given."""
    return {} if asked.token_file is None else {"token_file": asked.token_file, "token": None}


def _add_parity(one: argparse.ArgumentParser) -> None:
    which = one.add_mutually_exclusive_group()
    which.add_argument(
        "--watch",
        action="store_true",
        help="keep showing it until Ctrl-C; on a pipe a line for each change, with --json a document",
    )
    which.add_argument(
        "--class", dest="class_", metavar="CLASS", help="list the keys of one class: since when, and what differs"
    )
    which.add_argument(
        "--key",
        metavar="KEY",
        help="show one key, read now: both rows side by side, what it means and what to do; encoded as reports show "
        "it, or short (ART#7/SHOP#1)",
    )
    one.add_argument("--bucket", type=number_of, metavar="N", help="list the keys of one bucket, of --class or of all")
    one.add_argument("--limit", type=count_of, metavar="N", help="of listed keys, at most so many; default: 100")
    one.add_argument("--after", metavar="KEY", help="list the keys after this one")
    one.add_argument(
        "--reveal",
        action="store_true",
        help="with --key: show values of the rows, which are customers'; needs the role operator, and is journalled",
    )


def _add_verify(one: argparse.ArgumentParser, what: str) -> None:
    if what == "start":
        _add_wait(one)
        return
    one.add_argument("id", nargs="?" if what == "status" else None, metavar="PASS", help="id of the pass")
    if what == "status":
        one.add_argument("--limit", type=count_of, default=20, metavar="N", help="list at most so many; default: 20")


def _add_repair(one: argparse.ArgumentParser, what: str) -> None:
    if what == "plan":
        which = one.add_mutually_exclusive_group(required=True)
        which.add_argument("--class", dest="class_", metavar="CLASS", help="keys of a class, as the passes found them")
        which.add_argument("--key", action="append", default=[], metavar="KEY", help="one key; can be repeated")
        one.add_argument("--limit", type=count_of, metavar="N", help="with --class: at most so many keys")
        one.add_argument("--after", metavar="KEY", help="with --class: go on after this key")
        return
    one.add_argument("id", nargs="?" if what == "status" else None, metavar="PLAN", help="id of the plan")
    if what == "execute":
        one.add_argument("--pace", type=count_of, metavar="N", help="at most so many keys a second")
        _add_wait(one)
    if what == "status":
        one.add_argument("--limit", type=count_of, default=20, metavar="N", help="list at most so many; default: 20")


def _add_wait(one: argparse.ArgumentParser) -> None:
    one.add_argument("--wait", action="store_true", help="wait until it is over, and show its progress")
    one.add_argument("--timeout", type=float, metavar="S", help="limit for --wait, in seconds; default: none")


def count_of(text: str) -> int:
    """Read a count.

    Raises:
        ArgumentTypeError: it is none.
    """
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of 1 or more")
    return int(text)


def number_of(text: str) -> int:
    """Read a whole number of 0 or more.

    Raises:
        ArgumentTypeError: it is none.
    """
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of 0 or more")
    return int(text)


def wrong_usage(asked: argparse.Namespace) -> str:
    """Return what is wrong with options that don't go together; empty if nothing is."""
    if asked.command == "parity":
        lists = asked.class_ or asked.bucket is not None
        if (asked.limit or asked.after) and not lists:
            return "--limit and --after go with --class or --bucket"
        if asked.bucket is not None and (asked.watch or asked.key):
            return "--bucket lists keys: it goes with --class, or alone"
        if asked.reveal and not asked.key:
            return "--reveal goes with --key: values are shown of one key at a time"
    if asked.command == "repair" and asked.what == "plan" and (asked.limit or asked.after) and not asked.class_:
        return "--limit and --after go with --class"
    return ""
