"""The rule file for Prometheus, and its unit tests for promtool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import yaml
from scripts.observability.alerting import Alert
from scripts.observability.alerts import GROUPS
from scripts.observability.cases import CASES, Case
from scripts.observability.panels import Panel
from scripts.observability.rare import SEEN, rare_panels

MADE: Final = "# Made by `make dashboards` from scripts/observability; change it there.\n"
RULES: Final = "crossfade.rules.yaml"
TESTS: Final = "crossfade.test.yaml"
STEP_S: Final = 60
"""Of promtool's series."""


def rules_yaml(runbooks: str) -> str:
    """Return the rule file.

    Args:
        runbooks: address that the runbooks are found under.
    """
    groups = [{"name": name, "rules": [_rule(each, runbooks) for each in alerts]} for name, alerts in GROUPS.items()]
    return MADE + _yaml({"groups": groups})


def _rule(alert: Alert, runbooks: str) -> dict[str, Any]:
    return {
        "alert": alert.full_name,
        "expr": alert.expr,
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
    alerts = {each.name: each for group in GROUPS.values() for each in group}
    tests = [_test(alerts[name], case, runbooks) for name, cases in CASES.items() for case in cases]
    tests += [_panel_test(panel) for panel in rare_panels()]
    return MADE + _yaml({"rule_files": [RULES], "evaluation_interval": f"{STEP_S}s", "tests": tests})


def _test(alert: Alert, case: Case, runbooks: str) -> dict[str, Any]:
    firing = [
        {
            "exp_labels": _labels(alert) | dict(fires.labels),
            "exp_annotations": _annotations(alert, runbooks, fires.summary),
        }
        for fires in case.fires
    ]
    return {
        "name": f"{alert.full_name}: {case.name}",
        "interval": f"{STEP_S}s",
        "input_series": [{"series": series, "values": values} for series, values in case.series.items()],
        "alert_rule_test": [{"eval_time": case.at, "alertname": alert.full_name, "exp_alerts": firing}],
    }


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


def _yaml(found: Mapping[str, Any]) -> str:
    return yaml.dump(dict(found), Dumper=_Dumper, sort_keys=False, width=100_000, allow_unicode=True)
