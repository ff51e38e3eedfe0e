"""Checks the alert rules with Prometheus's own promtool: python -m tools.observability.promtool."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.observability import deaths
from tools.observability.__main__ import DEPLOY
from tools.observability.rules import RULES, TESTS

MISSING = 3


def needed(*programs: str) -> list[str]:
    """Return what is not on the PATH, and say so."""
    missing = [each for each in programs if shutil.which(each) is None]
    if missing:
        sys.stderr.write(f"{', '.join(missing)} not found. Debian, Ubuntu: apt-get install prometheus\n")
    return missing


def main() -> int:
    """Check the rules and run their tests; return 0 only if all hold."""
    if needed("promtool"):
        return MISSING
    with tempfile.TemporaryDirectory() as folder:
        pairs = deaths.write(Path(folder))
        for what, file in (("check", DEPLOY / "alerts" / RULES), ("test", DEPLOY / "alerts" / TESTS), ("test", pairs)):
            code = subprocess.run(["promtool", what, "rules", file.name], cwd=file.parent, check=False).returncode
            if code:
                return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
