"""One version for all packages and charts, and the check of what a release would contain.

python -m tools.release version            print it
python -m tools.release version 0.2.0      write it to the root, to each package and to each chart
python -m tools.release check              build sdists and wheels, install each package into an empty environment of
                                             its own, with the dependencies that it declares, and import all its modules
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent
HOME: Final = ROOT / "pyproject.toml"
BUILT: Final = ROOT / "build" / "release"

_OWN: Final = "crossfade-[a-z-]+|engagement-migration|faust-kinesis|localaws"
"""Our distributions. They ask for each other at one version: without it an index may answer with a namesake."""

_IN_PYPROJECT: Final = re.compile(rf'^(version = "|\s+"(?:{_OWN})(?:==|(?="|[<>!~])))([^"]*)(",?)$', re.MULTILINE)
_IN_CHART: Final = re.compile(r'^((?:appVersion|\s*version): "?)(\d[^"\n]*)("?)$', re.MULTILINE)

NOT_IMPORTED: Final = {"__main__"}
"""Modules that run when they are imported."""


class Package(NamedTuple):
    """A member of the workspace.

    Attributes:
        folder: where its pyproject.toml lies.
        name: of the distribution.
        imports: its top-level package.
        extras: names of its optional dependencies.
    """

    folder: Path
    name: str
    imports: str
    extras: tuple[str, ...] = ()


def packages() -> list[Package]:
    """Return the workspace's members, by their pyproject.toml."""
    found = []
    for pattern in tomllib.loads(HOME.read_text())["tool"]["uv"]["workspace"]["members"]:
        for folder in sorted(ROOT.glob(pattern)):
            if (folder / "pyproject.toml").exists():
                project = tomllib.loads((folder / "pyproject.toml").read_text())
                wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
                extras = tuple(project["project"].get("optional-dependencies", {}))
                found.append(Package(folder, project["project"]["name"], Path(wheel["packages"][0]).name, extras))
    return found


def version() -> str:
    """Return the version: the root's pyproject.toml is its home."""
    return str(tomllib.loads(HOME.read_text())["project"]["version"])


def _places() -> Iterator[tuple[Path, re.Pattern[str]]]:
    for folder in (ROOT, *(each.folder for each in packages())):
        yield folder / "pyproject.toml", _IN_PYPROJECT
    for chart in sorted((ROOT / "deploy" / "helm").glob("*/Chart.yaml")):
        yield chart, _IN_CHART


def others() -> dict[str, set[str]]:
    """Return the files that carry another version than the root's, with what they carry."""
    wanted = version()
    carried = {
        str(path.relative_to(ROOT)): {each[1] for each in pattern.findall(path.read_text())}
        for path, pattern in _places()
    }
    return {name: found for name, found in carried.items() if found != {wanted}}


def write_version(wanted: str) -> None:
    """Write a version wherever one stands."""
    for path, pattern in list(_places()):
        path.write_text(pattern.sub(rf"\g<1>{wanted}\g<3>", path.read_text()))


def check() -> None:
    """Build all packages; install and import each in an empty environment. The first failure ends the process."""
    dist = BUILT / "dist"
    members = packages()
    for each in members:
        _run("build", "--quiet", "--no-build-isolation", "--out-dir", str(dist), str(each.folder))
    for each in members:
        stem = f"{each.name.replace('-', '_')}-{version()}"
        missing = [name for name in (f"{stem}.tar.gz", f"{stem}-py3-none-any.whl") if not (dist / name).exists()]
        if missing:
            sys.exit(f"{each.name} built no {' and no '.join(missing)}")
        environment = BUILT / "environments" / each.name
        _run("venv", "--quiet", "--clear", "--python", sys.executable, str(environment))
        python = environment / "bin" / "python"
        _run(
            *("pip", "install", "--quiet", "--python", str(python), "--find-links", str(dist)),
            *("--constraint", str(ROOT / "requirements.lock"), f"{each.name}[{','.join(each.extras)}]=={version()}"),
        )
        done = subprocess.run([python, "-I", "-c", _IMPORT_ALL, each.imports], check=False, cwd=BUILT)
        if done.returncode:
            sys.exit(f"{each.name} can't be imported with the dependencies that it declares")
        sys.stdout.write(f"{each.name} {version()}: built, installed, imported\n")


_IMPORT_ALL: Final = f"""
import importlib, pkgutil, sys
root = importlib.import_module(sys.argv[1])
for each in pkgutil.walk_packages(root.__path__, root.__name__ + "."):
    if each.name.rpartition(".")[2] not in {NOT_IMPORTED!r}:
        importlib.import_module(each.name)
"""


def _run(*arguments: str) -> None:
    uv = Path(sys.executable).with_name("uv")
    if subprocess.run([uv, *arguments], check=False, cwd=ROOT).returncode:
        sys.exit(f"failed: uv {' '.join(arguments)}")


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("version").add_argument("wanted", nargs="?")
    commands.add_parser("check")
    asked = parser.parse_args()
    if asked.command == "check":
        check()
    elif asked.wanted:
        write_version(asked.wanted)
    else:
        sys.stdout.write(f"{version()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
