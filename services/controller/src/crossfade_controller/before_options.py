"""Options of the commands that come before a migration: `init`, and `policy`."""

from __future__ import annotations

import argparse
from typing import Final

from crossfade_controller.oncall_options import count_of

STEPS: Final = (
    "init",
    "plan",
    "control",
    "ask",
    "start",
    "cutover",
    "rollback",
    "complete",
    "clean",
    "retire",
    "controller",
    "replicator",
    "verifier",
)
"""Whose policies there are; see `crossfade_controller.policies`, which --help needn't import."""

BEFORE: Final = {
    "init": "write a folder for the migration of a table whose writers nobody changes: mapping, settings, samples, a "
    "test; changes nothing in AWS",
    "policy": "print the IAM policy that a step needs",
}


def add_before(one: argparse.ArgumentParser, name: str) -> None:
    """Add the options of a command."""
    if name == "init":
        one.add_argument("--source", required=True, metavar="TABLE", help="name or ARN of the table to move")
        one.add_argument("--target", required=True, metavar="TABLE", help="name or ARN of the table to be")
        one.add_argument("--name", default="", help="name of the migration; default: the source table's")
        one.add_argument("--into", default="", metavar="FOLDER", help="folder to write; nothing is overwritten")
        one.add_argument("--samples", type=count_of, default=25, metavar="N", help="rows to sample; default: 25")
        one.add_argument("--json", action="store_true", help="answer in JSON")
        return
    one.add_argument(
        "step",
        choices=STEPS,
        metavar="STEP",
        help="init, plan, control, clean, retire and ask (all other commands) are the operator's; start, cutover, "
        "rollback and complete the controller's, step by step, and `controller` is all of them; or replicator or "
        "verifier",
    )
    for side in ("source", "target"):
        one.add_argument(f"--{side}", metavar="TABLE", default="", help=f"the {side} table; default: the mapping's")
    one.add_argument("--json", action="store_true", help=argparse.SUPPRESS)  # it is JSON
