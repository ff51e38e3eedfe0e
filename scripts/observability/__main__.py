"""Writes the dashboards and the alert rules: python -m scripts.observability [--check] [--runbooks ADDRESS]."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from scripts.observability.boards import BOARDS
from scripts.observability.grafana import dashboard_json
from scripts.observability.rules import RULES, TESTS, rules_yaml, tests_yaml
from scripts.observability.tables import with_table

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
RUNBOOKS: Final = "deploy/runbooks"


def files(runbooks: str, deploy: Path = DEPLOY) -> dict[Path, str]:
    """Return what each file has to hold.

    Args:
        runbooks: address that runbooks are found under.
        deploy: directory with the README of the alerts.
    """
    made = {deploy / "dashboards" / board.file: dashboard_json(board, runbooks) for board in BOARDS}
    readme = deploy / "alerts" / "README.md"
    return made | {
        deploy / "alerts" / RULES: rules_yaml(runbooks),
        deploy / "alerts" / TESTS: tests_yaml(runbooks),
        readme: with_table(readme.read_text()),
    }


def main(arguments: list[str] | None = None) -> int:
    """Write the files; with --check, only say which are old."""
    parser = argparse.ArgumentParser("python -m scripts.observability", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a file is old")
    parser.add_argument(
        "--runbooks", default=RUNBOOKS, metavar="ADDRESS", help="where runbooks are found; default: %(default)s"
    )
    asked = parser.parse_args(arguments)
    old = [path for path, text in files(asked.runbooks).items() if not path.exists() or path.read_text() != text]
    for path in old:
        sys.stdout.write(f"{'old' if asked.check else 'written'}: {path.relative_to(DEPLOY.parent)}\n")
        if not asked.check:
            path.write_text(files(asked.runbooks)[path])
    return 1 if asked.check and old else 0


if __name__ == "__main__":
    sys.exit(main())
