"""The page on tokens, followed to the letter: its blocks are run in order, and what they print is what it says."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from pages import free_port

PAGE = Path(__file__).parents[2] / "docs/how-to/tokens.md"
BLOCK = re.compile(r"^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)

PORT = "8006"
"""The one address that the page fixes; here a free one, since tests run side by side."""


def test_the_page_works_to_the_letter_in_an_empty_folder(tmp_path: Path) -> None:
    found = [(each["language"], each["text"]) for each in BLOCK.finditer(PAGE.read_text())]
    assert [language for language, _ in found] == ["python", "sh", "sh", "text", "sh", "text"]
    script = ["set -eu"]
    for number, (language, text) in enumerate(found):
        if language == "python":
            script.append(f"cat > issue.py <<'END_OF_FILE'\n{text}END_OF_FILE")
        elif language == "sh":
            script += [f"exec > said-{number + 1}", text]
        else:
            (tmp_path / f"expected-{number}").write_text(text)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CROSSFADE_", "AWS_", "OTEL_"))}
    kept["PATH"] = f"{Path(sys.executable).parent}:{kept['PATH']}"
    commands = "\n".join(script).replace(PORT, str(free_port()))
    with (tmp_path / "errors").open("w") as errors:
        shell = subprocess.Popen(
            ["/bin/bash", "-c", commands], cwd=tmp_path, env=kept, stdout=errors, stderr=errors, start_new_session=True
        )
        try:
            code = shell.wait(100)
        finally:
            with suppress(ProcessLookupError):  # what a block that failed has left running
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
    log = tmp_path / "verifier.log"
    assert code == 0, (tmp_path / "errors").read_text() + (log.read_text() if log.exists() else "")
    for expected in tmp_path.glob("expected-*"):
        which = expected.name.rpartition("-")[2]
        said = re.sub(r"read \d+ s ago", "read 0 s ago", (tmp_path / f"said-{which}").read_text())
        assert said == expected.read_text()
