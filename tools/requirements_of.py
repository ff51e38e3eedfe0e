"""Prints the part of requirements.lock that some entry modules need, hashes and all, and nothing else.

tools/requirements_of.py --entry crossfade_replicator.main [--without aiobotocore] [--also hatchling]

What is needed is found by following imports from the entry modules through our own packages, lazy ones too, and then
the lock's own "via" notes. So an image carries what its service can reach, not what the members' pyproject.toml allow.
`--without` leaves out what is imported on a path that this entry never takes; the reason belongs beside its use.
"""

from __future__ import annotations

import argparse
import ast
import functools
import re
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parent.parent
LOCK: Final = ROOT / "requirements.lock"

SOURCES: Final = ("libs/*/src", "services/*/src", "migrations/*/src")

DISTRIBUTIONS: Final = {
    "faust": "faust-streaming",
    "google.protobuf": "protobuf",
    "google.rpc": "googleapis-common-protos",
    "grpc": "grpcio",
    "grpc_health": "grpcio-health-checking",
    "grpc_reflection": "grpcio-reflection",
    "grpc_status": "grpcio-status",
    "jwt": "pyjwt",
    "mode": "mode-streaming",
    "openfeature": "openfeature-sdk",
    "openfeature.contrib.provider.flagd": "openfeature-provider-flagd",
    "opentelemetry": "opentelemetry-api",
    "opentelemetry.exporter.otlp.proto.grpc": "opentelemetry-exporter-otlp-proto-grpc",
    "opentelemetry.proto": "opentelemetry-proto",
    "opentelemetry.sdk": "opentelemetry-sdk",
    "pydantic_settings": "pydantic-settings",
    "typing_extensions": "typing-extensions",
}
"""What is imported under another name than it is installed under; the longest match counts."""


class Entry(NamedTuple):
    """One package of the lock.

    Attributes:
        name: normalised.
        text: its lines: pin, marker, hashes.
        via: packages that ask for it.
    """

    name: str
    text: str
    via: frozenset[str]


class Unknown(Exception):
    """An import that leads to no package of the lock."""


def normalised(name: str) -> str:
    """Return the name of a distribution as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_lock(text: str) -> dict[str, Entry]:
    """Read a lock written by `uv pip compile --generate-hashes`."""
    found: dict[str, Entry] = {}
    for block in re.split(r"\n(?=[A-Za-z0-9])", text.strip()):
        lines = block.splitlines()
        name = normalised(re.split(r"[=\[; ]", lines[0], maxsplit=1)[0])
        kept = [line for line in lines if not line.lstrip().startswith("#")]
        notes = [line.strip().lstrip("#").removeprefix(" via").strip() for line in lines if "#" in line]
        via = frozenset(normalised(note) for note in notes if note and not note.startswith("-"))
        found[name] = Entry(name, "\n".join(kept), via)
    return found


@functools.cache
def sources() -> tuple[Path, ...]:
    """Return the folders that our packages lie in."""
    return tuple(each for pattern in SOURCES for each in sorted(ROOT.glob(pattern)))


@functools.cache
def module_file(module: str) -> Path | None:
    """Return the file of one of our own modules; None when it is not ours."""
    parts = Path(*module.split("."))
    for source in sources():
        for each in (source / parts / "__init__.py", source / parts.with_suffix(".py")):
            if each.is_file():
                return each
    return None


def imports(file: Path, module: str) -> Iterator[str]:
    """Yield the modules that a file imports, lazily or not; of `from a import b` both a and a.b."""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    typing_only = set()
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            typing_only |= {id(each) for each in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            yield base
            yield from (f"{base}.{each.name}" for each in node.names)


def reached(entries: Iterable[str]) -> tuple[set[str], set[str]]:
    """Follow imports.

    Args:
        entries: modules of ours to begin with.

    Returns:
        Our own modules that are reached, and the stray ones.

    Raises:
        Unknown: an entry is not a module of ours.
    """
    queue, own, stray = deque(entries), set[str](), set[str]()
    for entry in list(queue):
        if module_file(entry) is None:
            raise Unknown(f"{entry} is not a module of this workspace")
    while queue:
        module = queue.popleft()
        file = module_file(module)
        if file is None:
            stray.add(module)
        elif module not in own:
            own.add(module)
            queue += imports(file, module)
            if "." in module:
                queue.append(module.rpartition(".")[0])
    return own, stray


def distribution(module: str, lock: dict[str, Entry]) -> str | None:
    """Return the package of the lock that a stray module is of; None for the standard library and for names in it."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        name = DISTRIBUTIONS.get(".".join(parts[:length]))
        if name:
            return name
    if parts[0] in sys.stdlib_module_names:
        return None
    name = normalised(parts[0])
    if name in lock:
        return name
    owner = module_file(parts[0])
    if owner is not None or any((each / parts[0]).is_dir() for each in sources()):
        return None  # a class or function of ours that `from … import` named
    raise Unknown(f"import {module}: no package of the lock; name it in DISTRIBUTIONS")


def with_dependencies(roots: Iterable[str], lock: dict[str, Entry], without: frozenset[str]) -> list[Entry]:
    """Return the packages and all that they ask for, in the order of the lock."""
    wanted, queue = set[str](), deque(roots)
    while queue:
        name = queue.popleft()
        if name in wanted or name in without:
            continue
        wanted.add(name)
        queue += [each.name for each in lock.values() if name in each.via]
    return [entry for name, entry in lock.items() if name in wanted]


def needed(entries: Sequence[str], without: Iterable[str] = (), also: Iterable[str] = ()) -> list[Entry]:
    """Return the lock's entries that the entry modules need.

    Args:
        entries: modules of ours.
        without: packages to leave out, with all that only they ask for.
        also: packages needed beside.

    Raises:
        Unknown: a name is of nothing.
    """
    lock = read_lock(LOCK.read_text())
    left_out = frozenset(map(normalised, without))
    for name in (*left_out, *map(normalised, also)):
        if name not in lock:
            raise Unknown(f"{name} is not in requirements.lock")
    _, stray = reached(entries)
    roots = {found for module in stray if (found := distribution(module, lock))} | set(map(normalised, also))
    return with_dependencies(sorted(roots), lock, left_out)


def own_packages(entries: Sequence[str]) -> list[str]:
    """Return the folders of the workspace's members that the entry modules reach."""
    files = [module_file(module) for module in reached(entries)[0]]
    return sorted({str(Path(*file.relative_to(ROOT).parts[:2])) for file in files if file is not None})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entry", action="append", default=[], help="module of ours to begin with")
    parser.add_argument("--without", action="append", default=[], help="package to leave out")
    parser.add_argument("--also", action="append", default=[], help="package needed beside")
    parser.add_argument("--members", action="store_true", help="print the workspace's members instead")
    options = parser.parse_args(arguments)
    try:
        if options.members:
            print("\n".join(own_packages(options.entry)))
        else:
            print("\n".join(each.text for each in needed(options.entry, options.without, options.also)))
    except Unknown as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
