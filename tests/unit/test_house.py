"""The shape of the repository itself: what a reader can count on before reading."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
LONGEST = 450
"""Lines. A file has one subject; where it grows beyond this it has two (house.md)."""

READ_BY_PEOPLE = {".py", ".sh", ".md", ".tf", ".toml", ".proto"}
NOT_OURS = {"gen", "build", "dist", "node_modules"}
"""Folders of generated files and of tools."""


def written_by_hand() -> Iterator[Path]:
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in NOT_OURS and not name.startswith((".", "__"))]
        yield from (Path(folder, name) for name in names if Path(name).suffix in READ_BY_PEOPLE)


def too_long(paths: Iterable[Path]) -> dict[str, int]:
    counted = {path.name: len(path.read_text().splitlines()) for path in paths}
    return {name: lines for name, lines in counted.items() if lines > LONGEST}


def test_no_file_is_longer_than_450_lines() -> None:
    files = list(written_by_hand())
    assert len(files) > 500, "the listing is broken"
    assert not too_long(files)


def test_the_check_for_long_files_can_fail(tmp_path: Path) -> None:
    long = tmp_path / "long.py"
    long.write_text("pass\n" * (LONGEST + 1))
    assert too_long([long]) == {"long.py": 451}
