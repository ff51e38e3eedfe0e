"""The shape of the repository itself: what a reader can count on before reading."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from repository import written_by_hand

LONGEST = 450
"""Lines. A file has one subject; where it grows beyond this it has two."""

READ_BY_PEOPLE = {".py", ".sh", ".md", ".tf", ".toml", ".proto"}


def too_long(paths: Iterable[Path]) -> dict[str, int]:
    counted = {path.name: len(path.read_text().splitlines()) for path in paths}
    return {name: lines for name, lines in counted.items() if lines > LONGEST}


def test_no_file_is_longer_than_450_lines() -> None:
    files = list(written_by_hand(READ_BY_PEOPLE))
    assert len(files) > 500, "the listing is broken"
    assert not too_long(files)


def test_the_check_for_long_files_can_fail(tmp_path: Path) -> None:
    long = tmp_path / "long.py"
    long.write_text("pass\n" * (LONGEST + 1))
    assert too_long([long]) == {"long.py": 451}
