"""The commands of whoever is on call, which ask the verifier: `parity`, `verify` and `repair`."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable

from crossfade.core.values.errors import CrossfadeError
from crossfade.ports.clock import Clock
from crossfade.runtime.settings import read_settings
from crossfade_controller.failing import DONE, failed
from crossfade_controller.oncall_options import token_of
from crossfade_controller.parity import parity
from crossfade_controller.repairing import repair
from crossfade_controller.screen import Screen, screen_of
from crossfade_controller.settings import ControllerSettings
from crossfade_controller.verifier_door import VerifierDoor, verifier_door
from crossfade_controller.verifying import verify


async def run_on_call(asked: argparse.Namespace, clock: Clock) -> int:
    """Run a parsed command; return its exit code."""
    try:
        settings = read_settings(ControllerSettings, **token_of(asked))
        screen = screen_of(sys.stdout, os.environ, as_json=asked.json)
        return await carry_out(asked, verifier_door(settings, _narrator(asked, screen)), screen, clock)
    except BrokenPipeError:  # whoever read the answer has seen enough: `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except CrossfadeError as error:
        return failed(error, asked.command, as_json=asked.json)
    except Exception as error:  # a program that reads --json gets its object, a person the trace as well
        sys.stderr.write(traceback.format_exc())
        return failed(error, asked.command, as_json=asked.json)


def _narrator(asked: argparse.Namespace, screen: Screen) -> Callable[[str], None] | None:
    """Return what says that an answer is late; a watch shows that itself."""
    return None if getattr(asked, "watch", False) else screen.say


async def carry_out(asked: argparse.Namespace, door: VerifierDoor, screen: Screen, clock: Clock) -> int:
    """Run a parsed command against a verifier; return its exit code.

    Raises:
        CrossfadeError: of `VerifierDoor`, or the answer can't be read.
    """
    run = {"parity": parity, "verify": verify, "repair": repair}[asked.command]
    return await run(door, screen, asked, clock)
