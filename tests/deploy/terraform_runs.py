"""Terraform on the modules, with the real provider's schema and no cloud (tools/terraform/provider.py)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TERRAFORM = ROOT / "deploy/terraform"
MODULES = sorted(path for path in (TERRAFORM / "modules").iterdir() if path.is_dir())
EXAMPLE = TERRAFORM / "examples/engagement"
LONGEST_S = 120.0


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err


@dataclass(frozen=True)
class Terraform:
    """The real Terraform.

    Attributes:
        program: path of it.
        tools: folder with what the tests run beside it.
        environment: that lets it find the provider; without it nothing is downloaded either.
        scratch: where it keeps its data, so that nothing is left in the modules.
    """

    program: str
    tools: Path
    environment: dict[str, str]
    scratch: Path

    def run(self, folder: Path, *arguments: str) -> Ran:
        """Run a command in a folder, its modules fetched."""
        data = self.scratch / str(folder).replace("/", "_")
        environment = os.environ | self.environment | {"TF_DATA_DIR": str(data), "TF_IN_AUTOMATION": "1"}

        def one(*command: str) -> Ran:
            done = subprocess.run(
                [self.program, *command],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=LONGEST_S,
            )
            return Ran(done.returncode, done.stdout, done.stderr)

        fetched = one("get")
        return one(*arguments) if fetched.code == 0 else fetched

    def copy(self, into: Path) -> Path:
        """Copy deploy/terraform, to change something there; return the copy."""
        target = into / "terraform"
        shutil.copytree(TERRAFORM, target, ignore=shutil.ignore_patterns(".terraform*"))
        return target

    def tested(self, folder: Path, *arguments: str) -> tuple[Ran, dict[str, dict[str, Any]]]:
        """Run the tests of a folder; return how they ended, and each run's plan or state."""
        ran = self.run(folder, "test", "-json", "-verbose", *arguments)
        plans: dict[str, dict[str, Any]] = {}
        for line in ran.out.splitlines():
            message = json.loads(line)
            if message["type"] in {"test_plan", "test_state"}:
                plans[message["@testrun"]] = message[message["type"]]
        return ran, plans

    def linter(self, name: str, *arguments: str, stdin: str = "") -> Ran:
        """Run one of the linters."""
        program = self.tools / "linters/bin" / name
        done = subprocess.run(
            [program, *arguments], input=stdin, capture_output=True, text=True, check=False, timeout=LONGEST_S, cwd=ROOT
        )
        return Ran(done.returncode, done.stdout, done.stderr)


@contextmanager
def running_terraform(scratch: Path) -> Iterator[Terraform]:
    """Fetch the tools and have the provider run; what is missing fails with its name."""
    tools = subprocess.run(
        [ROOT / "tools/terraform_tools.sh"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PY": sys.executable},
    )
    assert tools.returncode == 0, tools.stderr
    folder = Path(tools.stdout.strip())
    provider = subprocess.Popen(
        [sys.executable, ROOT / "tools/terraform/provider.py", folder / "schema.bin"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert provider.stdout is not None
        found = provider.stdout.readline()
        assert found, "the provider ended before it listened"
        environment = {
            "TF_REATTACH_PROVIDERS": found,
            "TF_CLI_CONFIG_FILE": os.devnull,
            "CHECKPOINT_DISABLE": "1",
        }
        yield Terraform(shutil.which("terraform") or "", folder, environment, scratch)
    finally:
        provider.communicate(timeout=10)  # closes its stdin, at which it ends
