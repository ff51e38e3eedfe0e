"""What the deploy tests share: the tools, fetched once."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from helm_charts import Helm
from terraform_runs import Terraform, running_terraform

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="session")
def helm() -> Helm:
    """The real Helm."""
    found = subprocess.run([ROOT / "tools/tools.sh", "helm"], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return Helm(Path(found.stdout.strip()))


@pytest.fixture(scope="session")
def terraform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terraform]:
    """The real Terraform, with a provider that has the schema of the real one."""
    with running_terraform(tmp_path_factory.mktemp("terraform")) as found:
        yield found
