"""A fault in the core that copies rows is no blind spot of the verifier: it reads them on its own (ADR 0035)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
SUPPORT = HERE.parents[2] / "tests/support"


def planted(kind: str) -> dict[str, list[Any]]:
    """Return of each variant whether the pass was clean, the keys that it found, and those that are harmed."""
    paths = {"PYTHONPATH": os.pathsep.join(map(str, (HERE, SUPPORT)))}
    done = subprocess.run(
        [sys.executable, str(HERE / "planted_core.py"), kind],
        env=os.environ | paths,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, list[Any]] = json.loads(done.stdout)
    assert found.pop("nothing planted") == [True, [], []]
    assert len(found) >= 2
    return found


@pytest.mark.parametrize("kind", ["mapping", "list", "canonical", "parser", "belongs"])
def test_a_fault_planted_in_the_core_is_seen_on_each_key_that_it_harms_and_on_no_other(kind: str) -> None:
    found = planted(kind)
    assert {name: each[1] for name, each in found.items()} == {name: each[2] for name, each in found.items()}
    assert [name for name, each in found.items() if each[0]] == []


def test_what_remains_shared_is_a_blind_spot() -> None:
    """As the README lists it. What turns red here is shared no longer: take it off the list."""
    assert [name for name, each in planted("shared").items() if not each[0]] == []
