"""Pages whose code blocks a test runs in order, in an empty folder."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import NamedTuple

_BLOCK = re.compile(r"^(?P<before>.*?)\n+```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_SAVED_AS = re.compile(r"Save this as `(?P<name>[\w.]+)`[^`]*\Z")


class Block(NamedTuple):
    """A code block: its language, its text, and the file that the sentence before it names."""

    language: str
    text: str
    file: str


def blocks(page: str) -> list[Block]:
    """Return the code blocks of a page, in order."""
    found = []
    for each in _BLOCK.finditer(page):
        saved = _SAVED_AS.search(each["before"])
        found.append(Block(each["language"], each["text"], saved["name"] if saved else ""))
    return found


def script_of(found: list[Block]) -> list[str]:
    """Return the shell commands that follow a page to the letter: a file is saved, commands are run."""
    return [f"cat > {each.file} <<'END_OF_FILE'\n{each.text}END_OF_FILE" if each.file else each.text for each in found]


def is_followable(page: str) -> bool:
    """Say whether every block is a file that the page names, or commands."""
    found = blocks(page)
    kinds = {(each.language, bool(each.file)) for each in found}
    return kinds == {("python", True), ("sh", False)} and page.count("```") == 2 * len(found)


def free_port() -> int:
    """Return a port of loopback that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def logs_in(folder: Path) -> str:
    """Return the ends of all logs below a folder."""
    return "\n".join(f"{log.name}: {log.read_text()[-1500:]}" for log in sorted(folder.rglob("*.log")))
