"""What docs/design.md and docs/aws-facts.md state in tables is what the code has: phases, gates, bounds, limits."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping

import pytest

from crossfade.core.migration.evidence import Bounds
from crossfade.core.migration.gates import Gate
from crossfade.core.migration.keyed import KEYED_PHASES
from crossfade.core.migration.phases import Intent, Phase
from crossfade.core.migration.plain import PLAIN_PHASES
from crossfade.core.replication.change import decode_change
from crossfade.core.values.errors import PoisonRecord
from crossfade_controller.settings import ControllerSettings
from faust_kinesis import Options
from repository import ROOT

DESIGN = (ROOT / "docs/design.md").read_text()
FACTS = (ROOT / "docs/aws-facts.md").read_text()

_NAME = re.compile(r"`([^`]+)`")
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


def table(text: str, first: str) -> Iterator[dict[str, str]]:
    """Yield the rows of the one table whose first column has this name, each cell by its column's name."""
    lines = text.splitlines()
    (begin,) = (number for number, line in enumerate(lines) if line.startswith(f"| {first} |"))
    columns = _cells(lines[begin])
    for line in lines[begin + 2 :]:
        if not line.startswith("|"):
            return
        yield dict(zip(columns, _cells(line), strict=True))


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def number(cell: str) -> float:
    """Return the first number of a cell."""
    found = _NUMBER.search(cell)
    assert found, cell
    return float(found.group().replace(",", ""))


def gate_sets(text: str) -> dict[str, list[str]]:
    """Return the sets of gates that the design names: *ramping*: `forward_lag`, …"""
    return {name: _NAME.findall(gates) for name, gates in re.findall(r"^- \*(\w+)\*: ([^.]*)\.", text, re.MULTILINE)}


def gates_of(cell: str, sets: Mapping[str, list[str]]) -> list[str]:
    return [*_NAME.findall(cell), *(name for each in re.findall(r"\*(\w+)\*", cell) for name in sets[each])]


def names(gates: tuple[Gate, ...]) -> list[str]:
    return sorted(gate.__name__ for gate in gates)


def design_and_code(text: str) -> tuple[dict[str, object], dict[str, object]]:
    """Return what the design's table of phases says, and what the code has, alike in form."""
    sets = gate_sets(text)
    said: dict[str, object] = {
        row["Phase"]: (
            sorted(re.findall(r"[A-Z_]{5,}", row["Next"])),
            sorted(gates_of(row["Gates before the next"], sets)),
            sorted(gates_of(row["Halts on"], sets)),
            sorted(_NAME.findall(row["Commands"])),
        )
        for row in table(text, "Phase")
    }
    always = {Intent.PAUSE, Intent.RESUME, Intent.WITHDRAW}
    phases = KEYED_PHASES
    built: dict[str, object] = {
        phase.value: (
            sorted(onward.value for onward in phases.transitions[phase]),
            names(phases.gates.get(phase, ())),
            names(phases.halting.get(phase, ())),
            sorted(verb.value for verb, where in phases.allowed.items() if phase in where and verb not in always),
        )
        for phase in Phase
    }
    return said, built


def test_the_designs_phases_transitions_gates_halts_and_commands_are_the_codes() -> None:
    said, built = design_and_code(DESIGN)
    assert said == built
    unfinished = frozenset(phase for phase in Phase if phase not in KEYED_PHASES.finished)
    assert [KEYED_PHASES.allowed[each] for each in (Intent.PAUSE, Intent.RESUME, Intent.WITHDRAW)] == [unfinished] * 3


@pytest.mark.parametrize(
    ("true", "false"),
    [("CUT_OVER, ROLLED_BACK", "CUT_OVER, ABORTED"), ("`quiet_window`, ", ""), ("`error_rate`, ", ""), ("`ramp`", "")],
)
def test_another_transition_gate_halt_or_command_in_the_design_is_found(true: str, false: str) -> None:
    said, built = design_and_code(DESIGN.replace(true, false))
    assert said != built


def test_the_designs_gates_and_their_bounds_are_the_codes() -> None:
    rows = list(table(DESIGN, "Gate"))
    listed = [name for row in rows for name in _NAME.findall(row["Gate"])]
    gates = {*KEYED_PHASES.all_gates(), *PLAIN_PHASES.all_gates()}
    assert sorted(listed) == sorted(gate.__name__ for gate in gates)
    said = {
        name.removeprefix("CROSSFADE_GATE_").lower(): number(value)
        for row in rows
        for name, value in re.findall(r"`(CROSSFADE_\w+)` ([\d,.]+)", row["Bounds and their defaults"])
    }
    fields = ControllerSettings.model_fields
    said["signature_s"] = said.pop("crossfade_signature_s")
    assert said == {name: value for name, value in Bounds()._asdict().items() if name != "feed"}
    assert said == {name: (fields.get(f"gate_{name}") or fields[name]).default for name in said}


def constants(row: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    """Yield the constants that a row of the table of limits names, with their values."""
    for path in _NAME.findall(row["In the code"]):
        module, _, name = path.rpartition(".")
        yield path, getattr(importlib.import_module(module), name)


LIMITS = {row[first]: row for first in ("Limit", "Price") for row in table(FACTS, first)}


@pytest.mark.parametrize("limit", LIMITS)
def test_a_limit_or_price_of_aws_is_the_constant_that_stands_on_it(limit: str) -> None:
    found = dict(constants(LIMITS[limit]))
    assert found
    assert found == dict.fromkeys(found, number(LIMITS[limit]["Is"]))


def record(at: str, precision: str) -> bytes:
    return (
        f'{{"tableName":"t","eventName":"MODIFY","dynamodb":{{"ApproximateCreationDateTime":{at},'
        f'"ApproximateCreationDateTimePrecision":"{precision}","Keys":{{"pk":{{"S":"1"}}}},'
        '"NewImage":{"pk":{"S":"1"}},"SizeBytes":9}}'
    ).encode()


def test_commit_times_have_the_digits_that_the_facts_state() -> None:
    ((ms, us),) = re.findall(r"MILLISECOND \((\d+) digits\) or MICROSECOND \((\d+)\)", FACTS)
    for precision, digits in (("MILLISECOND", int(ms)), ("MICROSECOND", int(us))):
        decode_change(record("17" + "0" * (digits - 2), precision), ("pk",))
        for wrong in (digits - 1, digits + 1):
            with pytest.raises(PoisonRecord):
                decode_change(record("17" + "0" * (wrong - 2), precision), ("pk",))


def test_reads_of_a_shard_stay_within_the_limits_that_the_facts_state() -> None:
    ((reads, records),) = re.findall(r"(\d+) GetRecords/s, 10 MB or ([\d,]+) records a call", FACTS)
    most, fastest_s = int(number(records)), 1 / int(reads)
    Options(fetch_limit=most, poll_interval_s=fastest_s)
    with pytest.raises(ValueError, match="fetch_limit"):
        Options(fetch_limit=most + 1)
    with pytest.raises(ValueError, match="poll_interval_s"):
        Options(poll_interval_s=fastest_s * 0.99)
