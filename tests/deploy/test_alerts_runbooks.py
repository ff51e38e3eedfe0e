"""The runbooks: in one form, with commands that exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import botocore.session
import pytest
from alert_rules import DEPLOY, rules

from crossfade.core.migration.keyed import KEYED_PHASES
from crossfade.core.parity.classes import FINAL, Difference
from crossfade.core.parity.meaning import CURE
from crossfade_controller.cli import parser as crossfade_parser
from crossfade_controller.oncall_options import COMMANDS
from crossfade_controller.settings import ControllerSettings
from crossfade_replicator import settings as replicator_settings
from crossfade_replicator.main import _parser as replicator_parser
from crossfade_verifier import settings as verifier_settings
from engagement_api import settings as api_settings

RUNBOOKS = sorted(path for path in (DEPLOY / "runbooks").glob("*.md") if path.name != "README.md")
SECTIONS = ["Look", "Do", "Roll back when"]
HURT = {"yes": "clients are hurt", "some": "some clients", "no": "clients are not hurt"}
PROGRAMS = ("crossfade", "replicator", "kubectl", "aws")
KUBECTL = {"get", "logs", "delete", "top", "exec", "port-forward"}


def commands(path: Path) -> list[str]:
    """Return the lines of the code blocks, and the commands inside of the text."""
    text = path.read_text()
    blocks = re.findall(r"(?m)^(?: {4,})(\S.*)$", text)
    inside = re.findall(r"`((?:crossfade|replicator) [^`…]+)`", text)
    return [each for each in [*blocks, *inside] if each.split()[0] in PROGRAMS]


def of(program: str) -> Iterator[tuple[str, list[str]]]:
    for path in RUNBOOKS:
        for each in commands(path):
            words = shlex.split(each)
            if words[0] == program:
                yield path.stem, words[1:]


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_the_first_line_says_whether_clients_are_hurt(path: Path) -> None:
    alert, _, says = path.read_text().splitlines()[0].removeprefix("# ").partition(": ")
    assert says.startswith(HURT[rules()[alert]["labels"]["clients_hurt"]])


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_a_runbook_is_short_and_has_the_sections_in_order(path: Path) -> None:
    text = path.read_text()
    assert re.findall(r"(?m)^## (.+)$", text) == SECTIONS
    means, look, do, back = re.split(r"(?m)^## .+$", text)
    assert all(len(part.strip()) > 20 for part in (means, look, do, back))
    assert len(text.splitlines()) <= 60


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_a_runbook_has_something_to_type_and_its_links_lead_somewhere(path: Path) -> None:
    assert commands(path)
    for link in re.findall(r"\]\(([^)]+)\)", path.read_text()):
        assert (path.parent / link.partition("#")[0]).is_file(), link


def test_code_blocks_hold_nothing_but_commands_that_are_checked() -> None:
    for path in RUNBOOKS:
        for line in re.findall(r"(?m)^(?: {4,})(\S.*)$", path.read_text()):
            assert line.split()[0] in PROGRAMS, f"{path.stem}: {line}"


def test_commands_of_crossfade_are_the_clis() -> None:
    found = list(of("crossfade"))
    assert {words[0] for _, words in found} >= {"status", "pause", "resume", "rollback"}
    for _name, words in found:
        assert crossfade_parser().parse_args(words).command == words[0]


def test_commands_of_the_replicator_are_its_own() -> None:
    found = list(of("replicator"))
    assert ["dead-letters", "list"] in [words for _, words in found]
    assert ["dead-letters", "redrive", "--execute"] in [words for _, words in found]
    for _name, words in found:
        assert replicator_parser().parse_args(words).command == words[0]


@pytest.mark.parametrize(
    "line", ["crossfade roll-back --execute", "crossfade pause --now", "replicator dead-letters drop"]
)
def test_a_command_that_does_not_exist_is_refused(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    program, *words = shlex.split(line)
    parser = crossfade_parser() if program == "crossfade" else replicator_parser()
    with pytest.raises(SystemExit):
        parser.parse_args(words)
    assert "error:" in capsys.readouterr().err


def test_classes_that_are_listed_and_repaired_exist_and_can_be() -> None:
    repaired = set()
    for name, words in of("crossfade"):
        asked = crossfade_parser().parse_args(words)
        found = getattr(asked, "class_", None)
        if found is None:
            continue
        assert Difference(found) in FINAL, name
        if asked.command == "repair":
            assert "crossfade repair" in CURE[Difference(found)], name
            repaired.add(found)
    assert repaired >= {"stuck", "missing", "diverged"}


def test_a_plan_that_a_runbook_makes_is_carried_out_by_its_id() -> None:
    planned = {name for name, words in of("crossfade") if words[:2] == ["repair", "plan"]}
    executed = {name for name, words in of("crossfade") if words[:3] == ["repair", "execute", "PLAN"]}
    assert planned == executed != set()


def test_commands_of_aws_have_operations_and_parameters_that_exist() -> None:
    session = botocore.session.get_session()
    found = list(of("aws"))
    assert found
    for name, (service, operation, *words) in found:
        model = session.get_service_model(service)
        camel = "".join(part.capitalize() for part in operation.split("-"))
        assert camel in model.operation_names, name
        shape = model.operation_model(camel).input_shape
        assert shape
        there = {re.sub(r"(?<!^)(?=[A-Z])", "-", each).lower().replace("-a-r-n", "-arn") for each in shape.members}
        given = {each.removeprefix("--") for each in words if each.startswith("--")}
        assert given <= there, f"{name}: {sorted(given - there)}"


def test_commands_of_kubectl_ask_for_what_the_charts_label() -> None:
    for name, words in of("kubectl"):
        assert words[0] in KUBECTL, name
        for key, value in re.findall(r"app\.kubernetes\.io/([\w-]+)=([\w-]+)", " ".join(words)):
            assert key in ("name", "part-of"), name
            ours = ("engagement-api", "replicator", "verifier", "controller", "crossfade")
            assert value in ours or (name == "watchdog" and value in ("prometheus", "alertmanager")), name


def test_settings_that_are_named_exist() -> None:
    there = {
        f"CROSSFADE_{name.upper()}"
        for settings in (
            api_settings.Settings,
            ControllerSettings,
            replicator_settings.Settings,
            verifier_settings.Settings,
        )
        for name in settings.model_fields
    }
    named = {found for path in RUNBOOKS for found in re.findall(r"CROSSFADE_[A-Z_]+", path.read_text())}
    assert named
    assert named <= there


def test_the_runbook_of_gates_names_every_gate() -> None:
    text = (DEPLOY / "runbooks" / "gate-shut.md").read_text()
    gates = {gate.__name__ for gate in KEYED_PHASES.all_gates()}
    assert {each for each in gates if f"`{each}`" not in text} == set()


def test_what_needs_execute_says_so() -> None:
    """A runbook's command either only looks, or says --execute: nobody types a dry run by mistake at night."""
    for name, words in of("crossfade"):
        if words[0] not in {"status", "journal", *COMMANDS}:  # those look; a repair is a plan's id to execute
            assert "--execute" in words or words == ["rollback"], name


LOSES = re.compile(
    r"\baws \S+ (delete|decrease|disable|purge|batch-write|put-item|update-item|execute-statement)|"
    r"\bkubectl delete (?!pod\b)|\bkubectl scale|--replicas[= ]0|\bredis-cli|flush(all|db)",
    re.IGNORECASE,
)
"""Commands after which records or rows are gone, or that write past the protocol."""


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_no_runbook_tells_to_run_what_loses_data(path: Path) -> None:
    assert not LOSES.search("\n".join(commands(path)))


@pytest.mark.parametrize(
    "line",
    [
        "aws kinesis decrease-stream-retention-period --stream-name STREAM --retention-period-hours 48",
        "aws dynamodb delete-table --table-name TABLE",
        "kubectl delete deployment wallet-forward",
        "kubectl scale deployment/wallet-forward --replicas=0",
    ],
)
def test_a_command_that_loses_data_is_known(line: str) -> None:
    assert LOSES.search(line)
    assert not LOSES.search("kubectl delete pod POD")
