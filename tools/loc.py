"""Counts the lines that people wrote, by area: non-blank, no comment, generated files aside.

python -m tools.loc [COMMIT …]     a column for each commit; without any, the working tree
"""

from __future__ import annotations

import io
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent

AREAS: Final = (
    ("core", "libs/common/src/crossfade/core"),
    ("contracts", "libs/common/src/crossfade/contracts"),
    ("ports", "libs/common/src/crossfade/ports"),
    ("application", "libs/common/src/crossfade/application"),
    ("memory fakes", "libs/common/src/crossfade/adapters/memory"),
    ("memory fakes", "libs/common/src/crossfade/testing"),
    ("adapters", "libs/common/src/crossfade/adapters"),
    ("runtime", "libs/common/src/crossfade/runtime"),
    ("faust-kinesis", "libs/faust-kinesis"),
    ("localaws", "libs/localaws"),
    ("engagement-api", "services/engagement-api"),
    ("replicator", "services/replicator"),
    ("controller", "services/controller"),
    ("verifier", "services/verifier"),
    ("mappings and examples", "migrations"),
    ("mappings and examples", "mappings"),
    ("mappings and examples", "examples"),
    ("protos", "proto/crossfade"),
    ("demo", "demo"),
    ("tools", "scripts"),
    ("tools", "tools"),
    ("benchmarks", "benchmarks"),
    ("dashboards and alerts", "deploy/dashboards"),
    ("dashboards and alerts", "deploy/alerts"),
    ("dashboards and alerts", "deploy/terraform/modules/alarms/alarms.yaml"),
    ("deploy", "deploy"),
    ("tests", "tests"),
)
"""Areas with their folders and files; the first that holds a file counts."""

_LIBRARIES: Final = ("core", "contracts", "ports", "application", "adapters", "runtime", "faust-kinesis")
_SERVICES: Final = ("engagement-api", "replicator", "controller", "verifier", "mappings and examples", "protos")

GROUPS: Final = {
    "production": (*_LIBRARIES, *_SERVICES),
    "tools": ("memory fakes", "localaws", "demo", "tools", "dashboards and alerts", "benchmarks"),
    "deploy": ("deploy",),
    "tests": ("tests",),
}

HASHED: Final = {".sh", ".tf", ".yaml", ".yml", ".toml", ".tpl"}
COUNTED: Final = {".py", ".proto", ".go", *HASHED}
GENERATED: Final = ("/gen/", "/fixtures/", "values.schema.json", ".lock.hcl")
MADE: Final = "# Made by "
"""How a generated file of the alerts began, up to version 0.1; since then people write them."""


def lines_of(name: str, text: str) -> int:
    """Return how many lines of a file say something: docstrings do, blank lines and comments don't."""
    suffix = PurePosixPath(name).suffix
    if suffix == ".py":
        return _python_lines(text)
    signs = ("#",) if suffix in HASHED else ("//",)
    return sum(1 for line in text.splitlines() if line.strip() and not line.strip().startswith(signs))


def _python_lines(text: str) -> int:
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    written: set[int] = set()
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in silent:
            written.update(number for number in range(token.start[0], token.end[0] + 1) if lines[number - 1].strip())
    return len(written)


def area_of(name: str) -> str | None:
    """Return the area of a file; None when it isn't counted."""
    if PurePosixPath(name).suffix not in COUNTED or any(each in f"/{name}" for each in GENERATED):
        return None
    if "tests" in PurePosixPath(name).parts[:-1]:
        return "deploy" if name.startswith("deploy/") else "tests"
    return next((area for area, folder in AREAS if f"{name}/".startswith(f"{folder}/")), None)


def count(files: Iterator[tuple[str, str]]) -> Counter[str]:
    """Return the lines of each area."""
    found: Counter[str] = Counter()
    for name, text in files:
        area = area_of(name)
        if area is not None and not text.startswith(MADE):
            found[area] += lines_of(name, text)
    return found


def files_of(commit: str) -> Iterator[tuple[str, str]]:
    """Yield each file of a commit that is counted, with its text; of the working tree, when the commit is empty."""
    listing = ("ls-tree", "-r", "--name-only", commit) if commit else ("ls-files", "-co", "--exclude-standard")
    for name in _git(*listing).splitlines():
        if area_of(name) is not None and (commit or ((ROOT / name).is_file() and not (ROOT / name).is_symlink())):
            yield name, _git("show", f"{commit}:{name}") if commit else (ROOT / name).read_text()


def _git(*arguments: str) -> str:
    return subprocess.run(["git", "-C", ROOT, *arguments], check=True, capture_output=True, text=True).stdout


def table(columns: Mapping[str, Counter[str]]) -> str:
    """Return the areas as rows of a Markdown table, with a sum for each group."""
    names = list(columns)
    lines = [f"| area | {' | '.join(names)} |", "|---" + "|---:" * len(names) + "|"]
    for group, areas in GROUPS.items():
        present = [area for area in areas if any(each[area] for each in columns.values())]
        if len(areas) > 1:
            lines += [f"| {area} | {' | '.join(f'{columns[name][area]:,}' for name in names)} |" for area in present]
        sums = (sum(columns[name][area] for area in areas) for name in names)
        lines += [f"| **{group}** | {' | '.join(f'**{each:,}**' for each in sums)} |"]
    totals = (sum(columns[name].values()) for name in names)
    return "\n".join([*lines, f"| **all** | {' | '.join(f'**{each:,}**' for each in totals)} |"])


def main() -> int:
    """Print the table."""
    commits = sys.argv[1:] or [""]
    sys.stdout.write(table({each or "now": count(files_of(each)) for each in commits}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
