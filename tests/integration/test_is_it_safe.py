"""docs/how-to/is-it-safe.md: each of its commands is run before planted differences, and answers what the page shows.

With CROSSFADE_REWRITE_PAGE=1 the page's answers are replaced by those of this run; read what changed before you commit.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import sys
import textwrap
from collections.abc import AsyncIterator
from typing import NamedTuple

import botocore.session
import pytest

from crossfade.adapters.clock import SYSTEM
from crossfade.core.migration.phases import Phase
from crossfade.core.protocol.keyed.writes import Operate
from crossfade.core.protocol.writing import Applied
from crossfade.core.values.keys import key_image
from crossfade.core.values.shape import Side
from crossfade.runtime.operator import operator_name
from crossfade_controller.cli import parser
from engagement_api.operations import Kind, points_operation
from engagement_migration.samples import NOT_OURS, legacy_wallet
from localaws import Endpoints
from replicator_world import HERE, World, open_world, until, wallet
from repository import ROOT
from verifier_process import Verifier
from verifier_service import is_safe

pytestmark = pytest.mark.embedded

PAGE = ROOT / "docs/how-to/is-it-safe.md"
WALLETS = 40
CHANGED = (2, 5)
"""Wallets whose rows a script changes in the target table, where they are standby."""

PATIENCE_S = 120.0
"""How long something may take; other suites run beside this one."""

PROGRAMS = {"crossfade": "crossfade_controller.cli", "replicator": "crossfade_replicator.main"}
ENDS = dict.fromkeys(
    ["crossfade parity", "crossfade parity --class diverged", "crossfade parity --key 'USER#2/POINTS#1'"], 4
)
"""Exit codes of the first run of a command, other than 0: so that the page's claims of exit codes hold."""


class Shown(NamedTuple):
    """A command of the page, and the answer below it.

    Attributes:
        command: as it is typed.
        answer: its lines; none where the page shows none.
        indent: blanks before its lines.
        start, end: of both, in the page's text.
    """

    command: str
    answer: str
    indent: str
    start: int
    end: int


def shown(page: str) -> list[Shown]:
    """Return the page's commands: a line with "$" in a block of code, and what follows in the block."""
    found = []
    for block in re.finditer(r"(?m)^( {4,})\$ (.+)\n((?:\1(?!\$ ).*\n|\n(?=\1(?!\$ )))*)", page):
        indent, command, answer = block.groups()
        found.append(Shown(command, textwrap.dedent(answer).strip("\n"), indent, block.start(2), block.end()))
    return found


PASS = r"\b\d{16}-[\w.-]+\b"

BLURRED = [
    (r"\bpasses (?:running|none now).*?(?= last: | last [\w.-]+: )", "passes"),  # whether one runs at this moment
    (r"^running .*?(?=ended, UTC)", ""),
    (r" so far\b", ""),
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?Z?|\d\d:\d\d:\d\d UTC", "TIME"),
    (PASS, "PASS"),
    (r"stray:[\w-]+", "stray:LETTER"),
    (r"repair (?:execute |status )?(?!plan|cancel|execute|status)[0-9a-f]{6,}", "repair ID"),
    (r"\b[0-9a-f]{16,}\b", "DIGEST"),
    (r"(?<=\(\d\) )[0-9a-f]+|(?<=\(\d\d\) )[0-9a-f]+", "MARK"),
    (r"\b\d{12,}\b", "VERSION"),
    (r"\b\d[\d,.]* (?:s|min|h|d)\b(?: \d+ (?:min|h)\b)?", "DURATION"),
    (r"(?:TIME PASS (2 diverged|clean|given up) DURATION [\d,-]+ ?)+", r"TIME PASS \1 "),  # one or several
    (r"\b\d[\d,.]* (?=rows/s|read units|keys/s|of about|records heard|verified)", "N "),
]
"""What is another one each time."""


def blurred(text: str, command: str) -> str:
    """Return what an answer says, without moments, ids and where lines were broken; letters have no order."""
    letters = command.startswith("replicator ")
    parts = re.split(r"(?m)^(?=\S)", text) if letters else [text]
    found = []
    for part in parts:
        told = re.sub(r"\s+", " ", part).strip()
        for pattern, name in BLURRED:
            told = re.sub(pattern, name, told)
        found.append(told)
    return "\n".join(sorted(found) if letters else found)


class Desk:
    """Where the page's reader sits: the commands' settings, and what ids they have seen."""

    def __init__(self, world: World, verifier: Verifier) -> None:
        self._world, self._verifier = world, verifier
        self._seen: dict[str, str] = {}

    async def run(self, command: str) -> tuple[int, str]:
        """Run a command of the page; return its exit code and what it printed, as if the world had its usual names."""
        program, *words = shlex.split(self.ours(command))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", PROGRAMS[program], *words),
            env=self._environment(program),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, errors = await process.communicate()
        assert process.returncode is not None
        told, of = out.decode() or errors.decode(), f"-{self._world.id}"
        told = told.replace(f"{of}  ", " " * len(of) + "  ").replace(of, "")  # in a column or not
        return process.returncode, re.sub(r"(?m) +$", "", told).replace(operator_name(), "ann@laptop")

    def learn(self, theirs: str, ours: str) -> None:
        """Match the ids in the page's answer with those in ours."""
        for pattern in (r"repair execute (\w+)", r"(reverse/stray:[\w-]+)"):
            pairs = zip(re.findall(pattern, theirs), re.findall(pattern, ours), strict=False)
            self._seen.update(pairs)

    def ours(self, command: str) -> str:
        """Return a command with our ids."""
        for theirs, ours in self._seen.items():
            command = command.replace(theirs, ours)
        return command

    def _environment(self, program: str) -> dict[str, str]:
        world = self._world
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("CROSSFADE_", "AWS_"))}
        more = {
            "PYTHONPATH": str(HERE),
            "COLUMNS": "80",
            "AWS_ACCESS_KEY_ID": world.endpoints.access_key_id,
            "AWS_SECRET_ACCESS_KEY": world.endpoints.secret_access_key,
            "CROSSFADE_MIGRATION_MAPPING": f"replicator_world:m_{world.id}",
            "CROSSFADE_AWS_ENDPOINT_URL": world.endpoints.aws_endpoint,
        }
        url = {"CROSSFADE_VERIFIER_URL": f"http://{self._verifier.address}"} if program == "crossfade" else {}
        return clean | more | url


@pytest.fixture
async def desk(local_aws: Endpoints) -> AsyncIterator[Desk]:
    """A migration in BOTH_WAYS, found clean; then a script changes two rows of the target table."""
    async with open_world(local_aws) as world:
        world.start("forward")
        world.start("reverse")
        for number in range(WALLETS):
            await world.put(Side.SOURCE, legacy_wallet(str(number), "1", 10))
            await earn(world, number)
        await world.phase(Phase.BOTH_WAYS)  # from now on a plain write is a stray
        for row in NOT_OURS:
            await world.put(Side.SOURCE, row)
        await until(lambda: _are_copied(world), within_s=20, what="copies of all wallets")
        verifier = Verifier(world, cloudwatch="true", cloudwatch_every_s="1", pause_s="600")
        await verifier.ready()
        await verifier.call("/passes", {})
        await verifier.until(lambda body: is_safe(body) and not body["running_pass"], within_s=PATIENCE_S)
        for number in CHANGED:
            await overwrite(world, number)
        await verifier.call("/passes", {})
        await verifier.until(
            lambda body: [each["called_by"] for each in body["differences"]] == ["continuous"] * len(CHANGED),
            path="/parity/differences",
            within_s=PATIENCE_S,
        )
        await verifier.until(lambda body: body["last_pass"]["differences"].get("diverged") == 2, within_s=PATIENCE_S)
        await until(lambda: _are_parked(world), within_s=20, what="the strays' letters")
        yield Desk(world, verifier)


async def earn(world: World, number: int) -> None:
    """Earn as the API does for a request that is traced."""
    traceparent = f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-01"
    seed = SYSTEM.wall_us() << 10
    earned = points_operation(Kind.EARN, wallet(number), os.urandom(16), 5, seed, traceparent=traceparent)
    assert isinstance(await world.tables[Side.SOURCE].perform(Operate(wallet(number), earned, soft=1000)), Applied)


async def overwrite(world: World, number: int) -> None:
    """Set the points of a row in the target table, as a script does that knows nothing of the protocol."""
    shape = world.mapping.shape(Side.TARGET)
    request = {
        "TableName": shape.table,
        "Key": {name: json.loads(bytes(raw)) for name, raw in key_image(wallet(number), shape.key).items()},
        "UpdateExpression": "SET points = :one",
        "ExpressionAttributeValues": {":one": {"N": "1"}},
    }
    await world.dynamodb.update_item(json.dumps(request).encode())


async def _are_copied(world: World) -> bool:
    rows = {side: [await world.tables[side].read(wallet(number)) for number in range(WALLETS)] for side in Side}
    versions = {side: [row.version if row else None for row in found] for side, found in rows.items()}
    return versions[Side.SOURCE] == versions[Side.TARGET]


async def _are_parked(world: World) -> bool:
    return len(await world.letters.all()) == len(CHANGED)


@pytest.mark.timeout(600)  # a dozen commands, each a process, beside four others
async def test_each_command_of_the_page_answers_what_the_page_shows(desk: Desk) -> None:
    page, rewritten, before = PAGE.read_text(), "", 0
    wrong, codes = [], dict[str, int]()
    for each in shown(page):
        if not each.answer or each.command.split()[0] not in PROGRAMS:
            continue
        code, answer = await desk.run(each.command)
        codes.setdefault(each.command, code)
        desk.learn(each.answer, answer)
        ours, theirs = (blurred(text, each.command) for text in (answer, each.answer))
        if ours != theirs:
            wrong.append(f"$ {each.command}\n{ours}\n--- and not\n{theirs}")
        rewritten += f"{page[before : each.start]}{desk.ours(each.command)}\n{textwrap.indent(answer, each.indent)}"
        before = each.end
    if os.environ.get("CROSSFADE_REWRITE_PAGE"):
        PAGE.write_text(rewritten + page[before:])
    assert not wrong, "\n\n".join(wrong)
    assert {command: code for command, code in codes.items() if code} == ENDS


def test_commands_that_are_not_run_exist() -> None:
    for each in shown(PAGE.read_text()):
        program, *words = shlex.split(each.command)
        if program == "crossfade":
            assert parser().parse_args(words).command == words[0]
        elif program == "aws":
            model = botocore.session.get_session().get_service_model(words[0])
            operation = "".join(part.capitalize() for part in words[1].split("-"))
            assert operation in model.operation_names
