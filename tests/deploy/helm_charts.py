"""The charts under test, rendered by the real Helm, and how to find one's way in a manifest."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml

HELM_DIR: Final = Path(__file__).resolve().parent.parent.parent / "deploy" / "helm"
CHARTS: Final = ("engagement-api", "replicator", "verifier", "controller", "crossfade")

Manifest = dict[str, Any]

_QUICK: Final = {"HELM_QPS": "10000", "HELM_BURST_LIMIT": "10000"}
"""The server is one's own: there is nobody to be spared."""


class Case(NamedTuple):
    """A chart with one of its value files."""

    chart: str
    values: Path

    def __str__(self) -> str:
        return f"{self.chart}/{self.values.stem.removesuffix('-values')}"


CASES: Final = tuple(
    Case(chart, values) for chart in CHARTS for values in sorted((HELM_DIR / chart / "ci").glob("*-values.yaml"))
)


class Helm:
    """Runs the program."""

    def __init__(self, program: Path) -> None:
        self.program = program
        self._rendered: dict[Case, list[Manifest]] = {}

    def run(self, *arguments: object, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command; its output holds no line about links, which charts here have on purpose."""
        done = subprocess.run(
            [self.program, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**_QUICK, "PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **environment},
        )
        lines = [line for line in done.stderr.splitlines() if "found symbolic link in path" not in line]
        done.stderr = "\n".join(lines)
        assert not check or done.returncode == 0, done.stderr + done.stdout
        return done

    def template(self, chart: str, *arguments: object, release: str = "demo") -> list[Manifest]:
        """Return the manifests of a chart, the hooks too."""
        done = self.run("template", release, HELM_DIR / chart, "--namespace", "migration", *arguments)
        return [each for each in yaml.safe_load_all(done.stdout) if each]

    def render(self, case: Case) -> list[Manifest]:
        """Return the manifests of a case; rendered once."""
        if case not in self._rendered:
            self._rendered[case] = self.template(case.chart, "--values", case.values)
        return self._rendered[case]

    def refusal(self, chart: str, *arguments: object) -> str:
        """Return why a chart is not rendered."""
        done = self.run("template", "demo", HELM_DIR / chart, *arguments, check=False)
        assert done.returncode != 0, "it was rendered"
        return done.stderr


def of_kind(manifests: Sequence[Manifest], *kinds: str) -> list[Manifest]:
    """Return the manifests of some kinds."""
    return [each for each in manifests if each["kind"] in kinds]


def name_of(manifest: Manifest) -> str:
    """Return "Deployment/demo-controller"."""
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


def pods(manifests: Sequence[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Yield the spec of each pod, with the name of what it is in."""
    for each in manifests:
        if each["kind"] == "Pod":
            yield name_of(each), each["spec"]
        elif "template" in each.get("spec", {}):
            yield name_of(each), each["spec"]["template"]["spec"]


def containers(manifests: Sequence[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Yield each container, with the name of what it is in."""
    for name, pod in pods(manifests):
        for container in (*pod["containers"], *pod.get("initContainers", [])):
            yield name, container


def environment(container: Manifest) -> dict[str, Manifest]:
    """Return the variables of a container by name; a name that comes twice is an error."""
    names = [each["name"] for each in container.get("env", [])]
    assert len(names) == len(set(names)), names
    return {each["name"]: each for each in container.get("env", [])}


@cache
def default_values(chart: str) -> Manifest:
    """Return values.yaml of a chart."""
    found: Manifest = yaml.safe_load((HELM_DIR / chart / "values.yaml").read_text())
    return found
