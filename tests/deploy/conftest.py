"""What the deploy tests share: the tools, fetched once."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from helm_charts import Helm

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="session")
def helm() -> Helm:
    """The real Helm."""
    found = subprocess.run([ROOT / "scripts/tools.sh", "helm"], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return Helm(Path(found.stdout.strip()))
