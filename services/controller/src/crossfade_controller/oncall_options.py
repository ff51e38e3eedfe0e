"""The command line of the commands that ask the verifier: `parity`, `verify` and `repair`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Final

COMMANDS: Final[Mapping[str, str]] = {
    "parity": "show whether it is safe to cut over, what differs, and why; it asks the verifier alone. Exit code 0: "
    "the verdict is clean and it is safe to cut over; 4: it isn't",
}


def add_options(one: argparse.ArgumentParser, name: str) -> None:
    """Add a command's options to its parser."""
    if name == "parity":
        one.add_argument(
            "--watch",
            action="store_true",
            help="keep showing it until Ctrl-C; on a pipe a line for each change, with --json a document",
        )
