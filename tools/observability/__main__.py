"""Writes the dashboards and the alert rules: python -m tools.observability [--check].

For rules of your own: `--runbooks ADDRESS`, and `--running MIGRATION=SERVICE,SERVICE…` for each migration that one
Prometheus watches: its services that must run and that it scrapes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from crossfade.runtime.telemetry.schema import Service
from tools.observability.boards import BOARDS
from tools.observability.grafana import dashboard_json
from tools.observability.presence import EVERYBODY
from tools.observability.rules import RULES, RUNNING, TESTS, rules_yaml, tests_yaml
from tools.observability.tables import with_table

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
RUNBOOKS: Final = "deploy/runbooks"


def files(runbooks: str, deploy: Path = DEPLOY, running: Mapping[str, Iterable[Service]] = RUNNING) -> dict[Path, str]:
    """Return what each file has to hold.

    Args:
        runbooks: address that runbooks are found under.
        deploy: directory with the README of the alerts.
        running: by migration, the services that must run.
    """
    made = {deploy / "dashboards" / board.file: dashboard_json(board, runbooks) for board in BOARDS}
    readme = deploy / "alerts" / "README.md"
    return made | {
        deploy / "alerts" / RULES: rules_yaml(runbooks, running),
        deploy / "alerts" / TESTS: tests_yaml(runbooks),
        readme: with_table(readme.read_text()),
    }


def main(arguments: list[str] | None = None) -> int:
    """Write the files; with --check, only say which are old."""
    parser = argparse.ArgumentParser("python -m tools.observability", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a file is old")
    parser.add_argument(
        "--runbooks", default=RUNBOOKS, metavar="ADDRESS", help="where runbooks are found; default: %(default)s"
    )
    parser.add_argument(
        "--running",
        action="append",
        type=_running,
        metavar="MIGRATION=SERVICE,…",
        help="who must run; without services all of them; may be given again; default: engagement",
    )
    asked = parser.parse_args(arguments)
    made = files(asked.runbooks, running=dict(asked.running) if asked.running else RUNNING)
    old = [path for path, text in made.items() if not path.exists() or path.read_text() != text]
    for path in old:
        sys.stdout.write(f"{'old' if asked.check else 'written'}: {path.relative_to(DEPLOY.parent)}\n")
        if not asked.check:
            path.write_text(made[path])
    return 1 if asked.check and old else 0


def _running(text: str) -> tuple[str, tuple[Service, ...]]:
    migration, _, names = text.partition("=")
    known = {each.value: each for each in EVERYBODY}
    if not migration or (names and set(names.split(",")) - known.keys()):
        raise argparse.ArgumentTypeError(f"{text}: want MIGRATION=SERVICE,…, services of {', '.join(known)}")
    return migration, tuple(known[each] for each in names.split(",")) if names else EVERYBODY


if __name__ == "__main__":
    sys.exit(main())
