"""The page on migrating a table of one's own, followed to the letter; each process by keys of its own, which its policy
must allow.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from crossfade_controller.policies import Named, policy, resources
from crossfade_controller.settings import ControllerSettings
from pages import blocks, free_port, is_followable, logs_in, script_of

PAGE = (Path(__file__).parents[2] / "docs/how-to/migrate-your-table.md").read_text()
LAPTOP, AWS = PAGE.split("\n## On AWS\n")

PORT = "8002"
"""The one address that the page fixes; here a free one, since tests run side by side."""

WHO = """
crossfade() { AWS_ACCESS_KEY_ID=operator command crossfade "$@"; }
for each in verifier replicator controller; do
  eval "$each() { export AWS_ACCESS_KEY_ID=$each; exec $each; }"
done
"""
"""Whoever calls AWS does so by a name: the embedded AWS counts calls by it."""

COUNTED = """
python > calls.json <<'END_OF_FILE'
import os, urllib.request
print(urllib.request.urlopen(os.environ["AWS_ENDPOINT_URL"] + "/_localaws/calls").read().decode())
END_OF_FILE
"""

STEPS = {
    "operator": ("init", "plan", "control", "ask", "clean"),
    "controller": ("controller",),
    "replicator": ("replicator",),
    "verifier": ("verifier",),
}

pytestmark = pytest.mark.timeout(400)


def allowed(who: str) -> set[tuple[str, str]]:
    """Return action and resource's name of all that the policies of a caller allow."""
    settings = ControllerSettings(
        bucket="orders-crossfade",
        source_stream="orders-source-changes",
        target_stream="orders-target-changes",
        feed_stream="orders-events",
    )
    arns = resources(settings, Named("orders", "orders", "orders-next"))
    found = set()
    for step in STEPS[who]:
        for statement in policy(step, arns)["Statement"]:
            found |= {(action, named(arn)) for action in statement["Action"] for arn in statement["Resource"]}
    return found


def named(arn: str) -> str:
    if arn == "*":
        return "?"
    last = arn.split(":", 5)[5]
    return last.split("/")[0] if arn.startswith("arn:aws:s3") else last.split("/")[1] if "/" in last else last


def not_allowed(calls: dict[str, dict[str, Any]]) -> dict[str, list[tuple[str, str]]]:
    """Return what each caller did that its policies don't allow."""
    found = {}
    for who in STEPS:
        rights = allowed(who)
        anywhere = {action for action, name in rights if name in {"?", "*", "integration:*"}}
        # Of the protocols of REST no operation is counted; plan alone asks such services.
        made = {(action, name) for action, names in calls[who].items() if not action.endswith(":?") for name in names}
        found[who] = sorted(each for each in made - rights if each[0] not in anywhere)
    return {who: more for who, more in found.items() if more}


def test_every_block_is_a_file_that_the_page_names_or_commands() -> None:
    assert is_followable(LAPTOP)
    assert "```" not in AWS, "what can't be run here is told, not shown"


def follow(tmp_path: Path, steps: list[str]) -> str:
    """Run steps of the page in an empty folder; return what they said."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("CROSSFADE_", "AWS_", "PYTHONPATH"))
    }
    kept["PATH"] = f"{Path(sys.executable).parent}:{kept['PATH']}"
    commands = "\n".join(["set -eu", WHO, *steps]).replace(PORT, str(free_port()))
    (tmp_path / "page.sh").write_text(commands)
    home = tmp_path / "home"
    home.mkdir()
    with (tmp_path / "said").open("w") as out:
        command = ["/bin/bash", str(tmp_path / "page.sh")]
        shell = subprocess.Popen(command, cwd=home, env=kept, stdout=out, stderr=out, start_new_session=True)
        try:
            code = shell.wait(360)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with suppress(ProcessLookupError):  # what a block that failed has left running
                os.killpg(shell.pid, signal.SIGKILL)
            shell.wait()
    said = (tmp_path / "said").read_text()
    assert code == 0, f"{said}\n{logs_in(home)}"
    return said


def test_the_page_works_up_to_the_plan(tmp_path: Path) -> None:
    """Half a minute, so that each change runs it; the rest takes minutes."""
    steps = script_of(blocks(LAPTOP.split("\n### Start\n")[0]))
    said = follow(tmp_path, [*steps, "kill $(jobs -p) || true"])
    assert "26 passed" in said
    assert "\npossible" in said
    assert "tags, team=shop: not carried" in said


@pytest.mark.slow
def test_the_page_works_to_the_letter_in_an_empty_folder_and_each_call_is_in_a_policy(tmp_path: Path) -> None:
    *steps, end = script_of(blocks(LAPTOP))
    said = follow(tmp_path, [*steps, COUNTED, end])
    assert "0 not as the book says" in said
    assert said.count("the target table owns; writes were stopped for") == 2
    assert said.count("the source table owns; writes were stopped for") == 1
    assert not_allowed(json.loads((tmp_path / "home/migration/calls.json").read_text())) == {}
