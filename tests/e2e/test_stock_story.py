"""The stock example's page, played by the real processes and the operator's own commands (ADR 0023).

Its blocks are run as they stand. On the way the controller, replicators and a shop are killed with SIGKILL.
"""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from stock.fill import SHOPS
from stock.shop import stock_of

from crossfade.runtime.settings import PREFIX
from crossfade_demo.loopback import ask
from crossfade_demo.processes import Service
from crossfade_demo.services import API, CONTROLLER, GROWING, VERIFIER, stretched
from crossfade_demo.store import Row
from crossfade_demo.story import free_port
from migration_world import PATIENCE_S, Migration, Ran, Stage, stage
from repository import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

PAGE: Final = ROOT / "examples/stock/README.md"
AWS, TOLD, MADE, PROCESSES, OPERATOR, STOPPED = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
"""The page's blocks. The first and the last are the fixture's: it starts the embedded AWS, and stops by process id."""

NAMES: Final = {"warehouse": ("sku", "place", "on_hand", "reserved"), "stock": ("article", "site", "available", "held")}
FAST: Final = {"controller": CONTROLLER, "verifier": VERIFIER, "north": API, "south": API}
"""The demo's bounds, about a tenth of the defaults; what the page itself says wins."""


class Stock(Migration):
    """The processes that the page starts, and the books of its shops."""

    def __init__(self, at: Stage, folder: Path) -> None:
        self._at, self._folder, self._verifier = at, folder, f"127.0.0.1:{free_port()}"
        self._told = TOLD.replace("PYTHONPATH=examples", f"PYTHONPATH={ROOT / 'examples'}")
        self.processes = dict(map(self._service, PROCESSES.splitlines()))
        super().__init__(at.pace, lambda: self.processes["controller"].address)

    def _service(self, line: str) -> tuple[str, Service]:
        """Take one of the page's background jobs; its log names it."""
        command, name = re.fullmatch(r"(.*) > (\w+)\.log &", line).groups()  # type: ignore[union-attr]  # or fail here
        return name, Service(name, self._shell(f"exec {command}"), self._settings(name), self._folder, self._at.pace)

    def _shell(self, line: str) -> list[str]:
        tools = Path(
            sys.executable
        ).parent  # of the environment that runs the tests: the page has the reader activate hers
        page = f"set -eu; export PATH={tools}:$PATH; cd {self._folder}\n{self._told}\n{line}"
        return ["/bin/bash", "-c", page.replace("127.0.0.1:8002", self._verifier).replace("8002", self._verifier[10:])]

    def _settings(self, name: str = "controller") -> dict[str, str]:
        aws = self._at.endpoints
        return {
            "AWS_ACCESS_KEY_ID": aws.access_key_id,
            "AWS_SECRET_ACCESS_KEY": aws.secret_access_key,
            "AWS_DEFAULT_REGION": aws.region,
            "CROSSFADE_AWS_ENDPOINT_URL": aws.aws_endpoint,
            "CROSSFADE_REDIS_URL": aws.redis_url or "",
        } | stretched(FAST.get(name, {}), GROWING, self._at.pace.now)

    async def run(self, line: str, **more: str) -> Ran:
        """Run a line of the page; what a shell's own tools don't know is not theirs to be told."""
        ran = await self.tool(self._shell(line), self._settings("" if "crossfade" not in line else "controller") | more)
        assert ran.code == 0, (line, ran)
        return ran

    async def begin(self, *names: str) -> None:
        """Start processes, and wait until they are ready; a replicator says so once it has streams."""
        for name in names:
            await self.processes[name].start()
        serving = set(names) - {"forward", "reverse", "feed"}
        await asyncio.gather(*(self.processes[name].ready() for name in serving))

    async def lose(self, name: str) -> None:
        """End a process with SIGKILL, and start it again."""
        await self.processes[name].kill()
        await self.begin(name)

    async def lose_amid(self, shop: str) -> None:
        """End a shop with SIGKILL in the middle of something, and start it again: it has to ask once more."""
        process, deadline = self.processes[shop], self._at.pace.deadline(PATIENCE_S)
        await self.answered(2)
        process.freeze()
        while not stock_of(self._folder / f"{shop}.jsonl")[1]:  # a quick machine has nothing open most of the time
            assert not deadline.over, "never in the middle of anything"
            process.freeze(thaw=True)
            await asyncio.sleep(0.003)
            process.freeze()
        await self.lose(shop)

    def book(self, shop: str) -> str:
        return (self._folder / f"{shop}.jsonl").read_text()

    async def answered(self, more: int) -> None:
        """Wait until each shop has had so many answers more."""
        wanted = {shop: self.book(shop).count('"ended"') + more for shop in SHOPS}
        deadline = self._at.pace.deadline(PATIENCE_S)
        while any(self.book(shop).count('"ended"') < count for shop, count in wanted.items()):
            assert not deadline.over, {shop: self.processes[shop].tail() for shop in SHOPS}
            await asyncio.sleep(0.1)

    async def close(self) -> None:
        """Close the shops; everything that they asked for is answered and in their books."""
        codes = await asyncio.gather(*(self.processes[shop].stop() for shop in SHOPS))
        assert codes == [0, 0], {shop: self.processes[shop].tail() for shop in SHOPS}

    async def owned_by(self, table: str) -> None:
        """Assert that a table owns each row that is there, with exactly what the books say in it."""
        other = next(each for each in NAMES if each != table)
        owners, others = {each: await self._rows(each) for each in NAMES}[table], await self._rows(other)
        assert not [row for row in others.values() if row.get("cf_role", {}).get("S") == "A"], "owned twice"
        compared = Counter[str]()
        for shop in SHOPS:
            rows, unanswered = stock_of(self._folder / f"{shop}.jsonl")
            assert not unanswered
            for key, told in rows.items():
                row = owners.get(key.decode())
                there = row is not None and not row.get("cf_deleted", {}).get("BOOL")
                compared["there" if there else "gone"] += 1
                assert there is (told is not None), (key, row, told)
                if row is not None and told is not None:
                    found = [Decimal(row.get(name, {"N": "0"})["N"]) for name in NAMES[table][2:]]
                    assert found == [told["available"], told["held"]], (key, row)
        assert all(compared[each] for each in ("there", "gone")), compared

    async def _rows(self, table: str) -> dict[str, Row]:
        pk, sk = NAMES[table][:2]
        return {json.dumps([row[pk], row[sk]], separators=(",", ":")): row async for row in self._at.store.scan(table)}

    async def clean_pass(self) -> dict[str, Any]:
        """Ask the verifier for a pass over both tables, again until one is clean without repairs."""
        deadline, last = self._at.pace.deadline(PATIENCE_S), dict[str, Any]()
        while not deadline.over:
            asked = await ask(f"http://{self._verifier}/passes", {})
            while asked and not deadline.over:
                last = await ask(f"http://{self._verifier}/passes/{asked['id']}") or {}
                if last.get("state") not in ("waiting", "asked", "running"):
                    break
                await asyncio.sleep(0.2)
            if last.get("clean") and not last.get("with_repairs"):
                return last
        raise AssertionError(f"no clean pass: {last}")

    async def stop(self) -> None:
        await asyncio.gather(*(each.stop() for each in self.processes.values()))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stock(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stock]:
    folder = tmp_path_factory.mktemp("stock")
    async with stage(folder) as at:
        made = Stock(at, folder)
        for line in MADE.splitlines():
            await made.run(line)
        try:
            yield made
        finally:
            await made.stop()


def test_the_page_is_all_that_an_operator_types() -> None:
    assert PAGE.read_text().count("```") == 2 * 6, "a block that isn't run"
    assert AWS.startswith("localaws up")
    assert STOPPED == "kill $(jobs -p)\n"
    assert [shlex.split(line)[3] for line in OPERATOR.splitlines()] == [
        "plan",
        "start",
        "ramp",
        "rollback",
        "ramp",
        "cutover",
        "complete",
    ]
    assert not [line for line in TOLD.splitlines() if PREFIX not in line]


@pytest.mark.asyncio(loop_scope="module")
async def test_stock_is_ramped_killed_rolled_back_and_cut_over_and_each_row_is_what_the_books_say(stock: Stock) -> None:
    plan, start, ramp, rollback, ramp_all, cutover, complete = OPERATOR.splitlines()
    await stock.begin(*stock.processes)
    await stock.answered(20)
    await stock.run(plan)

    async def lose_controller() -> None:
        await stock.until("begun", lambda status: status.get("phase") not in (None, "PLANNED"))
        await stock.lose("controller")

    async def lose_others() -> None:
        await stock.until("ramping", lambda status: status.get("phase") == "RAMPING")
        await stock.answered(5)
        await stock.lose_amid("north")
        for name in ("forward", "reverse"):
            await stock.lose(name)
        await stock.answered(20)

    await beside(stock, start, lose_controller)
    await stock.phase("BOTH_WAYS")
    await beside(stock, ramp, lose_others)
    await stock.run(rollback)
    await stock.close()
    await stock.owned_by("warehouse")
    await stock.begin(*SHOPS)
    await stock.run(ramp_all)
    await stock.run(cutover)
    await stock.phase("BAKING")
    await stock.answered(20)
    passed = await stock.clean_pass()
    assert passed["verified"] > 0, passed
    await stock.run(complete)
    assert (await stock.phase("COMPLETE"))["phase"] == "COMPLETE"
    await stock.answered(5)
    await stock.close()
    await stock.owned_by("stock")
    lines = [json.loads(line) for shop in SHOPS for line in stock.book(shop).splitlines() if line.endswith("}")]
    assert {each["verb"] for each in lines if "verb" in each} == {"receive", "reserve", "ship", "discard"}
    assert {"applied", "insufficient"} <= {each.get("ended") for each in lines}, "a bound was never met"


async def beside(stock: Stock, line: str, hurt: Callable[[], Awaitable[None]]) -> None:
    """Run a command of the operator's to its end, and lose processes meanwhile."""
    command = asyncio.create_task(stock.run(line))
    await hurt()
    await command
