"""The generated reference is what the code says, and says all of it."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import msgspec
import pytest

from crossfade.contracts.document import Document
from crossfade.contracts.status import Status
from crossfade.core.migration.state import KINDS
from crossfade.core.ownership.ramp import FlagDocument
from crossfade.runtime.settings import PREFIX
from crossfade.runtime.statuses import STATUSES
from crossfade_controller.settings import ControllerSettings
from repository import ROOT
from tools import reference, verifier_costs


@cache
def pages() -> dict[str, str]:
    return reference.pages()


def rows(page: str) -> set[str]:
    """Return the first cell of each row of each table."""
    return set(re.findall(r"^\| `?([^|`]+?)`? \|", pages()[page], re.MULTILINE))


def test_the_pages_are_what_the_code_says() -> None:
    assert not reference.stale(), "run: make reference"


def test_a_page_that_is_out_of_date_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "REFERENCE", tmp_path)
    for name, text in pages().items():
        (tmp_path / name).write_text(text)
    assert not reference.stale()
    (tmp_path / "settings.md").write_text("# Settings\n")
    (tmp_path / "errors.md").unlink()
    assert reference.stale() == ["settings.md", "errors.md"]


@pytest.mark.parametrize("settings", [*reference.SHARED.values(), *reference.PROGRAMS.values()])
def test_each_setting_of_each_program_is_documented(settings: type[ControllerSettings]) -> None:
    assert rows("settings.md") >= {PREFIX + name.upper() for name in settings.model_fields}


def test_each_error_that_has_a_status_is_documented() -> None:
    assert rows("errors.md") >= {kind.code for kind in STATUSES}


def test_each_kind_of_journal_entry_that_the_state_is_folded_from_is_documented() -> None:
    told = {kind for cell in rows("journal.md") for kind in cell.split(", ")} - {"kind"}
    assert told == KINDS


def test_each_document_between_processes_is_described_field_by_field() -> None:
    told = "".join(page for name, page in pages().items() if name.startswith("documents"))
    sections = dict(re.findall(r"^## .*\n\n`([\w.]+)`.*\n\n((?:\|.*\n)+)", told, re.MULTILINE))
    documents: list[type[msgspec.Struct]] = [
        *(each for each in Document.__subclasses__() if each.__module__.startswith("crossfade.contracts.")),
        Status,
    ]
    fields = {f"{each.__module__}.{each.__name__}": set(each.__struct_fields__) for each in documents}
    fields[f"{FlagDocument.__module__}.FlagDocument"] = set(FlagDocument._fields)
    assert len(fields) >= 7
    for name, expected in fields.items():
        described = dict(re.findall(r"^\| `(\w+)` \| .*? \| (.*) \|$", sections[name], re.MULTILINE))
        assert described.keys() == expected - {"extra"}, name
        assert all(described.values()), f"{name}: a field without a meaning"


def test_what_a_comparison_costs_is_counted_from_rates_that_the_benchmarks_page_has() -> None:
    measured = (ROOT / "benchmarks/README.md").read_text()
    (sweep,) = re.findall(r"^\| engagement \|.*\| ([\d,]+) \([\d.]+\) \|$", measured, re.MULTILINE)
    (offline,) = re.findall(r"^\| offline \|.*\| ([\d,]+) \([\d.]+\)[^|]*\|$", measured, re.MULTILINE)
    for page, used in ((sweep, verifier_costs.SWEEP_PAIRS_S), (offline, verifier_costs.OFFLINE_PAIRS_S)):
        assert 0.98 < used / int(page.replace(",", "")) <= 1


def test_the_costs_of_ten_billion_rows_follow_from_what_a_read_unit_buys() -> None:
    found = {cost.mode: cost for cost in verifier_costs.costs() if cost.pairs == 10_000_000_000}
    assert found["sweep"].read_units == pytest.approx(1e10 * (350 + 350) / 8192)
    assert found["sweep, as it was"].read_units == pytest.approx(1e10 * ((350 + 350) / 4096 + 2))
    assert found["offline"].read_units == 0
    assert found["sweep"].paced_h == pytest.approx(2e10 / 2000 / 3600)
    assert found["offline"].dollars == pytest.approx(2 * 1e10 * 350 / 1e9 * 0.10)
    assert len(rows("verifier-cost.md") & set(found)) == 3
