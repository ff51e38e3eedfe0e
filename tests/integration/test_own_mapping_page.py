"""The page on a mapping of one's own, followed to the letter: its blocks are run in order, in an empty folder."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

PAGE = Path(__file__).parents[2] / "migrations/engagement/README.md"
BLOCK = re.compile(r"^(?P<before>.*?)\n+```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
SAVED_AS = re.compile(r"Save this as `(?P<name>[\w.]+)`[^`]*\Z")

PORT = "8002"
"""The one address that the page fixes; here a free one, since tests run side by side."""

pytestmark = pytest.mark.timeout(180)


class Block(NamedTuple):
    """A code block: its language, its text, and the file that the sentence before it names."""

    language: str
    text: str
    file: str


def blocks() -> list[Block]:
    found = []
    for each in BLOCK.finditer(PAGE.read_text()):
        saved = SAVED_AS.search(each["before"])
        found.append(Block(each["language"], each["text"], saved["name"] if saved else ""))
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_every_block_is_a_file_that_the_page_names_or_commands() -> None:
    assert {(each.language, bool(each.file)) for each in blocks()} == {("python", True), ("sh", False)}
    assert PAGE.read_text().count("```") == 2 * len(blocks())
    assert "\n    $" not in PAGE.read_text()
    assert "\n    export" not in PAGE.read_text(), "a block that isn't run"


def test_the_page_works_to_the_letter_in_an_empty_folder(tmp_path: Path) -> None:
    script = ["set -eu"]
    for each in blocks():
        if each.file:
            script.append(f"cat > {each.file} <<'END_OF_FILE'\n{each.text}END_OF_FILE")
        else:
            script.append(each.text)
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
    logs = "\n".join(f"{log.name}: {log.read_text()[-1500:]}" for log in sorted(tmp_path.glob("*.log")))
    assert code == 0, f"{said}\n{logs}"
    assert "possible" in said
    assert "loyalty: PLANNED" in said
    assert '"level": "error"' not in logs, logs
