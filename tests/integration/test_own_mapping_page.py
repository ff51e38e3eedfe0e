"""The page on a mapping of one's own, followed to the letter: its blocks are run in order, in an empty folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from pages import blocks, free_port, is_followable, logs_in, script_of

PAGE = Path(__file__).parents[2] / "migrations/engagement/README.md"
PORT = "8002"
"""The one address that the page fixes; here a free one, since tests run side by side."""

pytestmark = pytest.mark.timeout(180)


def test_every_block_is_a_file_that_the_page_names_or_commands() -> None:
    assert is_followable(PAGE.read_text())
    assert "\n    $" not in PAGE.read_text()
    assert "\n    export" not in PAGE.read_text(), "a block that isn't run"


def test_the_page_works_to_the_letter_in_an_empty_folder(tmp_path: Path) -> None:
    script = ["set -eu", *script_of(blocks(PAGE.read_text()))]
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("CROSSFADE_", "AWS_", "PYTHONPATH"))
    }
    kept["PATH"] = f"{Path(sys.executable).parent}:{kept['PATH']}"
    commands = "\n".join(script).replace(PORT, str(free_port()))
    with (tmp_path / "said").open("w") as out:
        shell = subprocess.Popen(
            ["/bin/bash", "-c", commands], cwd=tmp_path, env=kept, stdout=out, stderr=out, start_new_session=True
        )
        try:
            code = shell.wait(150)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with suppress(ProcessLookupError):  # what a block that failed has left running
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
    said = (tmp_path / "said").read_text()
    logs = logs_in(tmp_path)
    assert code == 0, f"{said}\n{logs}"
    assert "possible" in said
    assert "loyalty: PLANNED" in said
    assert '"level": "error"' not in logs, logs
