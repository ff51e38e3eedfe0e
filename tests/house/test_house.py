"""The shape of the repository itself: what a reader can count on before reading."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from repository import ROOT, production, written_by_hand

LONGEST = 450
"""Lines. A file has one subject; where it grows beyond this it has two."""

READ_BY_PEOPLE = {".py", ".sh", ".md", ".tf", ".tpl", ".toml", ".proto"}


def too_long(paths: Iterable[Path]) -> dict[str, int]:
    counted = {path.name: len(path.read_text().splitlines()) for path in paths}
    return {name: lines for name, lines in counted.items() if lines > LONGEST}


def test_no_file_is_longer_than_450_lines() -> None:
    files = list(written_by_hand(READ_BY_PEOPLE))
    assert len(files) > 500, "the listing is broken"
    assert not too_long(files)


def test_the_check_for_long_files_can_fail(tmp_path: Path) -> None:
    long = tmp_path / "long.py"
    long.write_text("pass\n" * (LONGEST + 1))
    assert too_long([long]) == {"long.py": 451}


# ---- one rule, one home (ADR 0027) -----------------------------------------------------------------

HOMES = {
    "the seed of a version": (r"us\(?\)? << 10", {"core/protocol/keyed/versions.py"}),
    "what is stamped": (r"[<>=]=? FIRST_STAMPED\b|FIRST_STAMPED [<>]", {"core/protocol/keyed/versions.py"}),
    "the role, undecoded": (
        r"wire\.string\(role\)|string\(row\[ROLE|[!=]= Role\.\w+\.value|\b_ROLES: ",
        {"core/protocol/keyed/item.py"},
    ),
    "doubling back-off": (r"2(\.0)? ?\*\* ?\(?(min\()?\(?(failures|attempt)", {"core/values/backoff.py"}),
    "percentiles": (r"share \* \(|0?\.99 \*|\* 99|99 //", {"core/values/percentile.py"}),
    "an HTTP server": (
        r"asyncio\.start_server|ThreadingHTTPServer|BaseHTTPRequestHandler|uvicorn|h11\.SERVER",
        {"runtime/listening.py"},
    ),
    "which verdicts mean that it is there": (r"Verdict\.DUPLICATE, Verdict\.STALE", {"core/protocol/writing.py"}),
    "the copy of an owner": (r"image\(.*mapping\.shape\(.*, \{\}\)", {"core/mapping/copies.py"}),
}
"""What a rule looks like where it is spelled, and the modules that may spell it."""


# ---- points are the API's and its migration's (ADR 0023) -------------------------------------------

POINTS = re.compile(r"[Bb]alance(?!r)|BALANCE|POINTS#|\b[Ee]arn(?!\()\b|engagement_api")
KNOWING: dict[str, tuple[str, str]] = {
    "runtime/telemetry/contract.py": ("METHODS", "metrics are labelled with the API's methods"),
    "crossfade_controller/settings.py": ("cf-canary", "a default of a setting, as the streams' names are"),
}
"""Where a line of that word may name points, and why."""


def lines_about_points(root: Path = ROOT) -> list[str]:
    folders = [root / "libs/common/src/crossfade", *(root / f"services/{name}/src" for name in OF_ANY_DOMAIN)]
    found = []
    for folder in folders:
        for path in folder.rglob("*.py"):
            name = path.relative_to(folder).as_posix()
            word = KNOWING.get(name, ("", ""))[0]
            lines = [] if "gen" in path.parts else path.read_text().splitlines()
            found += [f"{name}: {line}" for line in lines if POINTS.search(line) and not (word and word in line)]
    return found


OF_ANY_DOMAIN = ("replicator", "controller", "verifier")


def test_library_replicator_controller_and_verifier_know_no_points() -> None:
    assert lines_about_points() == []


def test_the_check_for_points_can_fail(tmp_path: Path) -> None:
    module = tmp_path / "services/verifier/src/crossfade_verifier/x.py"
    module.parent.mkdir(parents=True)
    module.write_text('moved = row["balance"]\nloads = "balancers"\n')
    assert lines_about_points(tmp_path) == ['crossfade_verifier/x.py: moved = row["balance"]']


@pytest.mark.parametrize("rule", HOMES)
def test_a_rule_has_one_home(rule: str) -> None:
    pattern, homes = HOMES[rule]
    spelled = {name for name, text in production().items() if re.search(pattern, text, re.MULTILINE)}
    assert spelled == homes


# ---- time comes through its port (ADR 0031) --------------------------------------------------------

ASKS_THE_MACHINE = re.compile(
    r"\btime\.(time|monotonic|perf_counter|sleep|gmtime|localtime|strftime)|\basyncio\.sleep\b|\.time\(\)"
    r"|\bdatetime\.(now|utcnow|today)\b|^\s*from (time|asyncio) import",
    re.MULTILINE,
)
BY_THE_PORT = re.compile(
    r"(core|contracts|ports|application|engagement_api|crossfade_(controller|replicator|verifier))/"
)
OF_THE_LOOP = {"application/ownership.py", "engagement_api/points.py"}
"""Their deadlines are `asyncio.timeout_at`'s, which knows the event loop's clock; a simulation's is virtual."""

ENTRIES = {
    "engagement_api/main.py",
    "crossfade_replicator/service.py",
    "crossfade_replicator/lambda_handler.py",
    "crossfade_replicator/tools.py",
    "crossfade_verifier/main.py",
    "crossfade_verifier/offline/__main__.py",
    "crossfade_controller/build.py",
    "crossfade_controller/cli.py",
    "crossfade_controller/commands.py",
}
"""Where a process is put together, with the machine's clock."""


def asking(modules: dict[str, str]) -> set[str]:
    return {name for name, text in modules.items() if BY_THE_PORT.match(name) and ASKS_THE_MACHINE.search(text)}


def test_no_service_asks_the_machine_for_the_time() -> None:
    assert asking(production()) == OF_THE_LOOP


def test_only_where_a_process_is_put_together_it_gets_the_machines_clock() -> None:
    assert {name for name, text in production().items() if "crossfade.adapters.clock import" in text} == ENTRIES


@pytest.mark.parametrize(
    "line",
    [
        "    now_s = time.time()",
        "    sleep: Sleep = asyncio.sleep,",
        "at = datetime.now(UTC)",
        "from time import sleep",
    ],
)
def test_the_check_for_the_time_can_fail(line: str) -> None:
    assert asking({"crossfade_verifier/x.py": f"import x\n{line}\n", "adapters/x.py": line}) == {
        "crossfade_verifier/x.py"
    }
