"""docs/walk.md and CONTRIBUTING lead through the house as it is built: each file and function they name exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from repository import ROOT

_NAMED = re.compile(r"`((?:libs|services|migrations|proto|deploy|tools|tests)/[\w./-]+)(?:::([\w.]+))?`")


def missing(text: str) -> Iterator[str]:
    """Yield each named file or function that isn't there."""
    for path, name in _NAMED.findall(text):
        file = ROOT / path
        if not file.exists():
            yield path
        elif name and name not in names_of(file.read_text()):
            yield f"{path}::{name}"


def names_of(source: str) -> set[str]:
    found: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
            members = node.body if isinstance(node, ast.ClassDef) else []
            found |= {f"{node.name}.{each.name}" for each in members if hasattr(each, "name")}
    return found


@pytest.mark.parametrize("page", ["docs/walk.md", "CONTRIBUTING.md", "README.md"])
def test_each_file_and_function_that_a_page_names_exists(page: str) -> None:
    assert not list(missing((ROOT / page).read_text()))


def test_the_walk_and_contributing_name_many() -> None:
    for page in ("docs/walk.md", "CONTRIBUTING.md"):
        assert len(_NAMED.findall((ROOT / page).read_text())) > 25, "the pattern is broken"


@pytest.mark.parametrize(
    "named",
    ["libs/common/src/crossfade/core/nothing.py", "libs/common/src/crossfade/core/ownership/ramp.py::Aim.miss"],
)
def test_a_name_that_is_gone_is_found(named: str) -> None:
    assert list(missing(f"It is decided in `{named}`.")) == [named]
