"""The files of this repository that people wrote: what the tests of its shape look at."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]

NOT_OURS = {"gen", "build", "dist", "node_modules"}
"""Folders of generated files and of tools."""


def written_by_hand(suffixes: set[str]) -> Iterator[Path]:
    """Yield each file with one of the suffixes, tools' folders and generated code left out."""
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in NOT_OURS and not name.startswith((".", "__"))]
        yield from (Path(folder, name) for name in names if Path(name).suffix in suffixes)


def production() -> dict[str, str]:
    """Return the text of each module that is installed somewhere, by its name within its package's folder."""
    folders = [ROOT / "libs/common/src/crossfade", *ROOT.glob("services/*/src"), ROOT / "demo/src"]
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for folder in folders
        for path in folder.rglob("*.py")
        if "gen" not in path.parts
    }
