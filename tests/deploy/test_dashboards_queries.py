"""The dashboards: every query, label and link is good, and every metric of the contract can be seen."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from alert_rules import rules
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context
from promql_names import LABELS, SERIES, metrics_in, plain, selectors_in, series_in, wrong_names

from crossfade.core.migration.evidence import Bounds
from crossfade.runtime.telemetry.contract import METRICS, RPC_DURATION
from crossfade.runtime.telemetry.openmetrics import ScrapeReader, render
from crossfade.runtime.telemetry.schema import Kind, Metric
from tools import dashboards

DASHBOARDS = Path(__file__).resolve().parents[2] / "deploy" / "dashboards"
RUNBOOKS = DASHBOARDS.parent / "runbooks"
FILES = sorted(DASHBOARDS.glob("*.json"))
UNITS = {"s", "cps", "short", "percentunit", "percent", "bool_yes_no"}


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in board["panels"] if each["type"] != "row"]


def queries(board: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(panel["title"], target) for panel in panels(board) for target in panel["targets"]]


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def board(request: pytest.FixtureRequest) -> dict[str, Any]:
    return read(request.param)


def test_there_are_the_four_dashboards_with_ids_of_their_own() -> None:
    assert [path.stem for path in FILES] == ["api", "overview", "replicator", "verifier"]
    assert len({read(path)["uid"] for path in FILES}) == len(FILES)


def test_every_query_parses_and_names_only_what_the_contract_has(board: dict[str, Any]) -> None:
    wrong = [f"{title}: {each}" for title, target in queries(board) for each in wrong_names(target["expr"])]
    assert not wrong


@pytest.mark.parametrize(
    ("expr", "complaint"),
    [
        ("sum(crossfade_made_up_total)", "no metric makes the series crossfade_made_up_total"),
        ('crossfade_leases{crossfade_side="target"}', "crossfade_leases has no label crossfade_side"),
        ("sum by (crossfade_gate) (crossfade_leases)", "nothing in ['crossfade_leases'] has the label crossfade_gate"),
        ('crossfade_parity_keys{crossfade_parity_class=~"equal|even"}', "crossfade_parity_class is never even"),
        (
            "rate(crossfade_crossing_duration_seconds[5m])",
            "no metric makes the series crossfade_crossing_duration_seconds",
        ),
        (
            "histogram_quantile(0.9, sum(rate(crossfade_crossing_duration_seconds_bucket[5m])))",
            "histogram_quantile needs buckets, by le",
        ),
        ("crossfade_leases > on (instance) crossfade_ramp_percent", "has the label instance"),
    ],
)
def test_a_wrong_name_is_found(expr: str, complaint: str) -> None:
    assert complaint in " ".join(wrong_names(expr))


def test_every_query_looks_at_the_chosen_migration(board: dict[str, Any]) -> None:
    for title, target in queries(board):
        selectors = selectors_in(promql_parser.parse(plain(target["expr"])))
        assert selectors, title
        for each in selectors:
            assert ("crossfade_migration", "$migration") in [(m.name, m.value) for m in each.matchers.matchers], title


def test_every_variable_that_is_used_is_there_and_every_one_that_is_there_is_used(board: dict[str, Any]) -> None:
    text = json.dumps(board["panels"])
    used = set(re.findall(r"\$\{?([a-z_]+)\}?", text)) - {"__rate_interval"}
    there = {each["name"] for each in board["templating"]["list"]}
    assert used == there


def test_choices_come_from_labels_that_the_contract_has(board: dict[str, Any]) -> None:
    asked = [each["query"] for each in board["templating"]["list"] if each["type"] == "query"]
    assert asked
    for query in asked:
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
        assert found, query
        assert not wrong_names(f"sum by ({found[2]}) ({found[1]})")


def test_every_panel_has_a_unit_a_reason_to_be_and_thresholds_that_grow(board: dict[str, Any]) -> None:
    for panel in panels(board):
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["unit"] in UNITS, panel["title"]
        assert len(panel["description"]) > 10, panel["title"]
        steps = [each["value"] for each in defaults["thresholds"]["steps"]]
        assert steps[0] is None, panel["title"]
        assert steps[1:] == sorted(steps[1:])


def test_legends_name_labels_that_the_query_keeps(board: dict[str, Any]) -> None:
    for title, target in queries(board):
        kept = set(re.findall(r"by \(([^)]*)\)", target["expr"]))
        names = {name.strip() for part in kept for name in part.split(",")}
        for label in re.findall(r"{{(\w+)}}", target.get("legendFormat", "")):
            assert label in names, f"{title}: {label}"
            assert label in LABELS or label == "le"


def test_units_fit_what_is_measured(board: dict[str, Any]) -> None:
    """Seconds are shown as seconds, rates of counters as rates."""
    for panel in panels(board):
        unit = panel["fieldConfig"]["defaults"]["unit"]
        for target in panel["targets"]:
            found = {SERIES[name] for name in series_in(promql_parser.parse(plain(target["expr"])))}
            counted = any(each.kind is Kind.COUNTER for each in found) or "_count{" in target["expr"]
            if counted and "rate(" in target["expr"]:
                assert unit in ("cps", "percentunit"), panel["title"]
            elif {each.unit for each in found} == {"s"}:
                assert unit == "s", panel["title"]
            elif {each.unit for each in found} == {"%"}:
                assert unit == "percent", panel["title"]


def test_every_metric_of_the_contract_is_on_a_dashboard() -> None:
    shown = {
        SERIES[name]
        for path in FILES
        for _, target in queries(read(path))
        for name in series_in(promql_parser.parse(plain(target["expr"])))
    }
    assert [each.name for each in METRICS if each not in shown] == []


def test_panels_link_runbooks_that_exist_and_every_runbook_is_linked() -> None:
    linked = set()
    for path in FILES:
        for panel in panels(read(path)):
            for link in panel.get("links", []):
                prefix, _, name = link["url"].rpartition("/")
                assert prefix == "${runbooks}"
                assert link["title"].startswith("Runbook: ")
                linked.add(name)
    assert linked == {path.name for path in RUNBOOKS.glob("*.md")} - {"README.md"}


def test_a_panel_turns_red_where_a_gate_or_an_alert_has_its_bound() -> None:
    """What must not be at all is red from one on, and so is a yes or no."""
    gates = Bounds()
    known = {None, 1, gates.clean_pass_s, gates.api_errors, gates.api_p99_ms / 1000}
    known |= {float(each) for rule in rules().values() for each in re.findall(r"> ([\d.]+)", rule["expr"])}
    for name in dashboards.NAMES:
        for panel in dashboards.panels(name):
            assert panel.get("red_from", panel.get("red_below")) in known, f"{name}, {panel['title']}"


def test_each_alert_on_a_metric_is_linked_from_a_panel_that_shows_it() -> None:
    shown: dict[str, set[Metric]] = {}
    for name in dashboards.NAMES:
        for panel in dashboards.panels(name):
            parsed = [promql_parser.parse(plain(expr)) for expr in panel["queries"].values()]
            for alert in panel.get("runbooks", ()):
                shown.setdefault(f"Crossfade{alert}", set()).update(*map(metrics_in, parsed))
    for name, rule in rules().items():
        about = metrics_in(promql_parser.parse(rule["expr"]))
        assert not about or about & shown[name], name


def test_exemplars_are_asked_for_only_where_there_are_some(board: dict[str, Any]) -> None:
    for title, target in queries(board):
        if target.get("exemplar"):
            found = series_in(promql_parser.parse(plain(target["expr"])))
            assert all(name.endswith("_bucket") for name in found), title


def test_dashboards_of_what_is_traced_lead_to_traces() -> None:
    """The verifier's histograms have no exemplars: neither a pass nor a crossing is one span."""
    for path in FILES:
        if path.stem == "verifier":
            continue
        assert any(target.get("exemplar") for _, target in queries(read(path))), path.stem


def one_call_in_a_trace() -> str:
    """Record a call's time inside of a sampled span, and return /metrics."""
    reader = ScrapeReader()
    meter = MeterProvider([reader]).get_meter("test")
    span = SpanContext(trace_id=7, span_id=8, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    meter.create_histogram(RPC_DURATION.name, RPC_DURATION.unit).record(
        0.3, {}, context=set_span_in_context(NonRecordingSpan(span))
    )
    return render(reader.scrape(), openmetrics=True)


def test_grafana_is_told_to_open_a_trace_by_the_label_that_exemplars_have() -> None:
    provisioned = yaml.safe_load((DASHBOARDS / "provisioning" / "datasources.yaml").read_text())
    sources = {each["uid"]: each for each in provisioned["datasources"]}
    links = [each for source in sources.values() for each in source["jsonData"].get("exemplarTraceIdDestinations", [])]
    assert links
    for each in links:
        assert each["datasourceUid"] in sources
        assert sources[each["datasourceUid"]]["type"] in ("jaeger", "tempo")
    exemplar = re.search(r"# {(.*)} 0.3 ", one_call_in_a_trace())
    assert exemplar
    assert {each["name"] for each in links} <= set(re.findall(r'(\w+)="', exemplar[1]))


def test_panels_do_not_overlap_and_stay_within_the_width(board: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y) for x in range(at.get("x", 0), at.get("x", 0) + at["w"]) for y in range(at["y"], at["y"] + at["h"])
        }
        assert max(x for x, _ in cells) < 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells


def test_ids_of_panels_are_their_own(board: dict[str, Any]) -> None:
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
