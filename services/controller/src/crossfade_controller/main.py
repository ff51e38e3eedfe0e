"""The controller as a process: `python -m crossfade_controller.main`."""

from __future__ import annotations

import argparse
import sys

from crossfade.runtime.lifecycle import code_version, run
from crossfade.runtime.logging import configure
from crossfade.runtime.settings import describe_settings, load_checked
from crossfade_controller.settings import ControllerSettings


def main(arguments: list[str] | None = None) -> int:
    """Run the service; return its exit code: 0 after a clean stop, 1 after an error, 2 for wrong settings."""
    parser = argparse.ArgumentParser(
        prog="controller",
        description="Drives one migration: phases, gates, ramp, cutover, rollback. Operate it with `crossfade`.",
        epilog="Settings, from the environment:\n" + describe_settings(ControllerSettings),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"controller {code_version()}")
    parser.add_argument("--check", action="store_true", help="check settings, mapping and files, then exit")
    asked = parser.parse_args(arguments)
    settings = load_checked(ControllerSettings)
    if asked.check:
        return 0
    configure("controller", settings.log_level)
    from crossfade_controller.service import Service  # what it needs is not needed for --help and --check

    return run("controller", Service(settings).run, health=settings.health_address)


if __name__ == "__main__":
    sys.exit(main())
