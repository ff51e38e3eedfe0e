"""`make demo`: the whole migration, once, for real."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import sys
from pathlib import Path
from typing import Final

from rich.console import Console

from crossfade_demo.options import parse_options
from crossfade_demo.pace import Late
from crossfade_demo.processes import ProcessFailed
from crossfade_demo.report import Verdict
from crossfade_demo.screen import Screen, View
from crossfade_demo.story import Story
from localaws import StartFailed

BUILD: Final = Path("build/demo")
INTERRUPTED: Final = 130


def main() -> int:
    """Play the story; return 0 only if every claim was checked and held, 75 if the machine is too busy to tell."""
    options = parse_options()
    shutil.rmtree(BUILD, ignore_errors=True)
    (BUILD / "logs").mkdir(parents=True)
    view = View()
    signal.signal(
        signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT)
    )  # what was started is stopped then, too
    try:
        with Screen(view, quiet=options.json) as screen:
            report = asyncio.run(Story(options, BUILD, screen, view).play())
    except KeyboardInterrupt:
        sys.stderr.write(f"interrupted; everything is stopped, the logs are in {BUILD}/logs\n")
        return INTERRUPTED
    except (ProcessFailed, StartFailed, Late) as error:
        too_busy = isinstance(error, Late) and error.too_busy
        sys.stderr.write(f"the demo can't start{', this machine is too busy' if too_busy else ''}: {error}\n")
        sys.stderr.write(f"logs are in {BUILD}/logs\n")
        return (Verdict.TOO_BUSY if too_busy else Verdict.FAILED).exit_code
    path = BUILD / "report.json"
    report.write(path)
    if options.json:
        sys.stdout.write(json.dumps(report.as_json(), indent=2) + "\n")
    else:
        report.show(Console(), path)
    return report.verdict.exit_code


if __name__ == "__main__":
    sys.exit(main())
