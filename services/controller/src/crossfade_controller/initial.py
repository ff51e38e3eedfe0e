"""What `crossfade init` writes, as text: pure, from what AWS said of the source table and some of its rows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from crossfade.core.values.image import Image, encode_image
from crossfade.core.values.shape import IndexKey, table_name

CANARY: Final = {"S": '{"S":"cf-canary"}', "N": '{"N":"-1"}', "B": '{"B":"Y2YtY2FuYXJ5"}'}
"""A value for each type of key attribute that hardly an application uses."""


class Wanted(NamedTuple):
    """What the migration is to be.

    Attributes:
        name: of the migration: part of its control tables' names.
        source: the source table, name or ARN.
        target: the table to be.
        key: (name, type) of the source's key attributes, in the order of the key schema.
        ttl: the attribute that its TTL reads; None for none.
        index_keys: attributes that are keys of its indexes.
        settings: settings by name, without the prefix, that the caller's environment has and each process needs.
        rows: samples.
        ttl_unknown: why the TTL couldn't be read; empty when it could.
    """

    name: str
    source: str
    target: str
    key: tuple[tuple[str, str], ...]
    ttl: str | None
    index_keys: tuple[IndexKey, ...]
    settings: Mapping[str, str]
    rows: Sequence[Image]
    ttl_unknown: str = ""

    @property
    def package(self) -> str:
        """Name of the Python package: never one that is there already, as `orders` or `json` might be."""
        words = re.sub(r"[^a-z0-9]+", "_", self.name.lower()).strip("_")
        return f"migrate_{words or 'table'}"

    @property
    def canary(self) -> str:
        """A key that hardly an application uses, encoded."""
        return f"[{','.join(CANARY[kind] for _, kind in self.key)}]"


def migration_name(source: str, given: str) -> str:
    """Return the migration's name: the one given, or the source table's."""
    return given or table_name(source)


def files_of(wanted: Wanted) -> dict[str, str]:
    """Return the files of a migration folder, by their paths in it."""
    return {
        f"{wanted.package}/__init__.py": _mapping(wanted),
        "settings.env": _settings(wanted),
        "controller.env": _controller(wanted),
        "test_mapping.py": _test(wanted),
        "samples.jsonl": "".join(f"{encode_image(row).decode()}\n" for row in wanted.rows),
        "pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["."]\naddopts = "-p no:asyncio"\n',
        ".gitignore": "# Rows of your table, and what the processes say.\nsamples.jsonl\n*.log\n*.pid\nplan.json\n",
        "README.md": _readme(wanted),
    }


def _table(name: str, wanted: Wanted, *, ttl: str | None) -> str:
    key = ", ".join(f'"{each}"' for each, _ in wanted.key)
    said = [f'"{name}"', f"({key}{',' if len(wanted.key) == 1 else ''})"]
    said += [f'ttl="{ttl}"'] if ttl else []
    said += ["index_keys=INDEX_KEYS"] if wanted.index_keys else []
    return f"Table({', '.join(said)})"


def _mapping(wanted: Wanted) -> str:
    keys = ""
    if wanted.index_keys:
        listed = "".join(
            f'    IndexKey("{each.name}", "{each.kind}"{", sorts=True" if each.sorts else ""}),\n'
            for each in wanted.index_keys
        )
        keys = f"\nINDEX_KEYS = (\n{listed})\n"
    shape = "from crossfade.core.values.shape import IndexKey\n" if keys else ""
    unknown = f"\n# The source's TTL is {wanted.ttl_unknown}: name its attribute with ttl=, if it has one.\n"
    return f'''"""The migration of `{wanted.source}` to `{wanted.target}`: each row and each attribute as it is.

Written by `crossfade init`, and yours to change. An attribute without a rule is kept under its name; `Rename`,
`Constant` and `Compute` (crossfade.core.mapping.rules) say otherwise. Every rule works both ways: `rollback` needs the
way back.
"""

from crossfade.core.mapping.rules import RuleMapping, Table
from crossfade.core.protocol.plain.protocol import PLAIN
from crossfade.core.values.keys import Key
{shape}{keys}{unknown if wanted.ttl_unknown else ""}

def belongs(key: Key) -> bool:
    """Every row of the table is moved. For a part of a shared table: `crossfade.core.mapping.rules.key_prefixes`."""
    return True


MAPPING = RuleMapping(
    "{wanted.name}",
    source={_table(wanted.source, wanted, ttl=wanted.ttl)},
    target={_table(wanted.target, wanted, ttl=None)},
    rules=(),
    belongs=belongs,
    is_open=True,
    protocol=PLAIN,
)
'''


def _settings(wanted: Wanted) -> str:
    lines = [
        "# Settings of every process of this migration. In a shell:  . ./settings.env",
        "set -a",
        f"CROSSFADE_MIGRATION_MAPPING={wanted.package}:MAPPING",
        'PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"',
        *(f"CROSSFADE_{name.upper()}={value}" for name, value in wanted.settings.items()),
        f"CROSSFADE_SOURCE_STREAM={_stream(wanted, 'source')}",
        f"CROSSFADE_TARGET_STREAM={_stream(wanted, 'target')}",
        f"CROSSFADE_FEED_STREAM={_stream(wanted, 'events')}",
        "# Two accounts? CROSSFADE_SOURCE_PROFILE, _ROLE_ARN, _REGION, _ENDPOINT_URL, and the same of TARGET.",
        "set +a",
    ]
    return "\n".join(lines) + "\n"


def _stream(wanted: Wanted, what: str) -> str:
    return f"{wanted.name}-{what}-changes" if what != "events" else f"{wanted.name}-events"


def _controller(wanted: Wanted) -> str:
    lines = [
        "# Settings of the controller and of the command `crossfade` alone: for the shell that runs them, after",
        "# settings.env. The other processes refuse what they don't know.",
        "set -a",
        "# The bucket for the export; it must exist.",
        f"CROSSFADE_BUCKET={bucket_name(wanted.name)}",
        "CROSSFADE_VERIFIER_URL=http://127.0.0.1:8002",
        "CROSSFADE_GATE_FEED=false",
        "# How writes stop: your own commands, as JSON lists. They get OWNER, OWNER_TABLE and EPOCH, and must refuse",
        "# an epoch lower than one they have seen. After the hold command's exit 0 no request is under way.",
        """# CROSSFADE_HOLD_COMMAND='["./hold"]'""",
        """# CROSSFADE_RELEASE_COMMAND='["./release"]'""",
        "# How long a request may still be under way after it: the longest attempt plus its back-off. Or use a guard.",
        "# CROSSFADE_SETTLE_S=2",
        "# CROSSFADE_GUARD=true",
        "# A key that no client uses makes write stops short: without one, each waits for a metric's minute.",
        f"# CROSSFADE_CANARY_KEY='{wanted.canary}'",
        "set +a",
    ]
    return "\n".join(lines) + "\n"


def bucket_name(name: str) -> str:
    """Return a name for the bucket that S3 takes."""
    words = re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")
    return f"{words or 'table'}-crossfade"[:63]


def _test(wanted: Wanted) -> str:
    return f'''"""Do rows come back from the target as they went? On samples; `crossfade plan` looks at more rows."""

from pathlib import Path

import pytest
from crossfade.core.mapping.rules import prove_round_trip
from crossfade.core.values.image import decode_image
from crossfade.core.values.keys import encode_key
from crossfade.core.values.shape import Direction, Side
from {wanted.package} import MAPPING

SOURCE = MAPPING.shape(Side.SOURCE)
ROWS = [decode_image(line) for line in Path(__file__).with_name("samples.jsonl").read_bytes().splitlines()]
OURS = [row for row in ROWS if MAPPING.belongs(encode_key(row, SOURCE.key))]


@pytest.mark.parametrize("number", range(len(OURS)))
def test_a_row_comes_back_as_it_went(number: int) -> None:
    assert prove_round_trip(MAPPING, Direction.FORWARD, OURS[number]) == [], "the attributes that come back changed"


def test_the_migration_has_rows_to_move() -> None:
    assert OURS or not ROWS, "none of the sampled rows belongs: see `belongs`"
'''


NEXT: Final = (
    ("pytest", "the mapping's test, on {rows} rows of your table"),
    (". ./settings.env && . ./controller.env", "settings, for this shell"),
    ("crossfade control create --execute", "five small tables that remember the migration"),
    ("crossfade plan --save plan.json", "what is carried, who is attached, what it costs; changes nothing"),
    ("crossfade policy plan", "the rights that a step needs, as an IAM policy"),
    ("crossfade start --execute --wait", "capture, export, import, catch up; needs the processes of README.md"),
)
"""What to do next, and what for."""


def next_steps(wanted: Wanted) -> list[str]:
    """Return what to do next, a line each."""
    width = max(len(command) for command, _ in NEXT)
    return [f"{command.ljust(width)}  # {what.format(rows=len(wanted.rows))}" for command, what in NEXT]


def _readme(wanted: Wanted) -> str:
    steps = "\n".join(next_steps(wanted))
    return f"""# `{wanted.source}` to `{wanted.target}`

Written by `crossfade init`.

| File | Contains |
|---|---|
| `{wanted.package}/__init__.py` | the mapping: which rows move, and what becomes of their attributes |
| `settings.env` | settings of every process |
| `controller.env` | settings of the controller and the command `crossfade` |
| `samples.jsonl` | rows of `{wanted.source}`, as they are. They are your customers' data: not for git |
| `test_mapping.py` | proves on them that every row comes back as it went |

```sh
{steps}
```

The processes, each until it is stopped (the first three before `controller.env` is sourced):

```sh
CROSSFADE_HTTP_PORT=8002 verifier
CROSSFADE_CONSUMER=forward replicator
CROSSFADE_CONSUMER=reverse replicator
controller
```
"""
