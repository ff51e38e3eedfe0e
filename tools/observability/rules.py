"""The rule file for Prometheus, and its unit tests for promtool."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import yaml

from crossfade.runtime.telemetry.schema import Service
from tools.observability.alerting import Alert
from tools.observability.alerts import ALERTS
from tools.observability.cases import CASES, Case, Fires
from tools.observability.panels import Panel
from tools.observability.presence import EVERYBODY, Recording, expectations, kept, recordings
from tools.observability.rare import SEEN, rare_panels

MADE: Final = "# Made by `make dashboards` from tools/observability; change it there.\n"
RULES: Final = "crossfade.rules.yaml"
TESTS: Final = "crossfade.test.yaml"
STEP_S: Final = 60
"""Of promtool's series."""
EXPECTED_GROUP: Final = "crossfade-expected"
"""Of the rules that say who must run. The chart puts its own in their place."""
RUNNING: Final[Mapping[str, Iterable[Service]]] = {"engagement": EVERYBODY}
"""Who must run, as the shipped file has it: all of the demo's migration."""


def rules_yaml(runbooks: str, running: Mapping[str, Iterable[Service]] = RUNNING) -> str:
    """Return the rule file.

    Args:
        runbooks: address that the runbooks are found under.
        running: by migration, the services that must run.
    """
    groups = [
        {"name": EXPECTED_GROUP, "rules": list(map(_recording, expectations(running)))},
        # one group: its rules are evaluated in order and for one moment, so what keeps an alert whose reporter died is
        # known in the same round
        {"name": "crossfade", "rules": [*map(_recording, recordings()), *(_rule(each, runbooks) for each in ALERTS)]},
    ]
    return MADE + as_yaml({"groups": groups})


def _recording(rule: Recording) -> dict[str, Any]:
    return {"record": rule.record, "expr": rule.expr} | ({"labels": dict(rule.labels)} if rule.labels else {})


def _rule(alert: Alert, runbooks: str) -> dict[str, Any]:
    return {
        "alert": alert.full_name,
        "expr": kept(alert.name, alert.expr, *alert.reporters, by=alert.by) if alert.reporters else alert.expr,
        "for": alert.hold,
        "labels": _labels(alert),
        "annotations": _annotations(alert, runbooks, alert.summary),
    }


def _labels(alert: Alert) -> dict[str, str]:
    return {"severity": alert.severity.value, "clients_hurt": alert.clients.value}


def _annotations(alert: Alert, runbooks: str, summary: str) -> dict[str, str]:
    return {"summary": summary, "runbook_url": f"{runbooks}/{alert.runbook}", "dashboard": alert.dashboard}


def tests_yaml(runbooks: str) -> str:
    """Return promtool's tests of the rules."""
    alerts = {each.name: each for each in ALERTS}
    tests = [_test(alerts[name], case, runbooks) for name, cases in CASES.items() for case in cases]
    tests += [_kept_test(alerts[name], cases[0], runbooks) for name, cases in CASES.items() if alerts[name].reporters]
    tests += [_panel_test(panel) for panel in rare_panels()]
    return MADE + as_yaml({"rule_files": [RULES], "evaluation_interval": f"{STEP_S}s", "tests": tests})


def _test(alert: Alert, case: Case, runbooks: str) -> dict[str, Any]:
    return {
        "name": f"{alert.full_name}: {case.name}",
        "interval": f"{STEP_S}s",
        "input_series": _input({**_heard(case.dead, _TO_THE_END), **case.series}),
        "alert_rule_test": [_look(alert, case.at, case.fires, runbooks)],
    }


def _kept_test(alert: Alert, case: Case, runbooks: str) -> dict[str, Any]:
    """While it fires, all who report on it die: it fires on, until they are heard of again."""
    reporters = {each.value for each in alert.reporters}
    dies = int(case.at.removesuffix("m")) + 1
    life = f"1+0x{dies - 1} stale _x{_RETURNS - dies - 1} 1+0x20"
    kept = [replace(each, summary=_without_value(alert.summary, each.labels)) for each in case.fires]
    return {
        "name": f"{alert.full_name}: {case.name}; then who told of it dies, and is back in an hour",
        "interval": f"{STEP_S}s",
        "input_series": _input(
            {**_heard(reporters, _TO_THE_END), **_heard({*_NAMES} - reporters, life), **case.series}
        ),
        "alert_rule_test": [
            _look(alert, case.at, case.fires, runbooks),
            _look(alert, f"{_RETURNS - 1}m", kept, runbooks),
            _look(alert, f"{_RETURNS + 1}m", (), runbooks),
        ],
    }


def _without_value(summary: str, labels: Mapping[str, str]) -> str:
    """Return a template's words when the value is NaN."""
    for name, value in labels.items():
        summary = summary.replace(f"{{{{ $labels.{name} }}}}", value)
    return re.sub(r"\{\{ if .*?\{\{ else \}\}(.*?)\{\{ end \}\}", r"\1", summary)


_NAMES: Final = tuple(each.value for each in EVERYBODY)
_TO_THE_END: Final = "1+0x150"
_RETURNS: Final = 80
"""The minute in which the dead are back."""


def _heard(dead: Collection[str], values: str) -> dict[str, str]:
    """Those who live, and what their lives look like."""
    label = 'crossfade_migration="engagement"'
    found = {
        f'target_info{{{label},service_name="{each}",service_namespace="crossfade"}}': values
        for each in _NAMES
        if each not in dead
    }
    if "controller" not in dead:
        found[f'crossfade_migration_phase{{{label},crossfade_phase="RAMPING"}}'] = values
    return found


def _input(series: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"series": name, "values": values} for name, values in series.items()]


def _look(alert: Alert, at: str, fires: Iterable[Fires], runbooks: str) -> dict[str, Any]:
    firing = [
        {
            "exp_labels": _labels(alert) | dict(each.labels),
            "exp_annotations": _annotations(alert, runbooks, each.summary),
        }
        for each in fires
    ]
    return {"eval_time": at, "alertname": alert.full_name, "exp_alerts": firing}


def _panel_test(panel: Panel) -> dict[str, Any]:
    seen = SEEN[panel.title]
    expr = panel.queries[0].expr.replace("$migration", "engagement")
    return {
        "name": f"panel: {panel.title}",
        "interval": f"{STEP_S}s",
        "input_series": [{"series": series, "values": values} for series, values in seen.series.items()],
        "promql_expr_test": [
            {
                "expr": expr,
                "eval_time": "5m",
                "exp_samples": [{"labels": labels, "value": value} for labels, value in seen.samples.items()],
            }
        ],
    }


class _Dumper(yaml.SafeDumper):
    """Long queries stay on one line, so that they can be copied."""


def as_yaml(found: Mapping[str, Any]) -> str:
    """Return a document as YAML, in the order given."""
    return yaml.dump(dict(found), Dumper=_Dumper, sort_keys=False, width=100_000, allow_unicode=True)
