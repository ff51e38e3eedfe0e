"""promtool's tests of the alert rules, made of alert_cases.yaml: when each fires, with its words, and when it doesn't.

A case has its series written out, not made from the contract: so it tells when a name changes under the rules. Unless
it says otherwise, the migration is `engagement`, all services live, and the controller tells RAMPING.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from alert_rules import EVERYBODY, MIGRATION, PREFIX, RULES, as_yaml, rules

from crossfade.runtime.telemetry.contract import CONSUMERS
from tools import dashboards

NAMES: Final = tuple(each.value for each in EVERYBODY)
OURS: Final = f'{MIGRATION}="engagement"'
TO_THE_END: Final = "1+0x150"
RETURNS_MIN: Final = 80
"""When the dead are back."""


@functools.cache
def written() -> tuple[dict[str, list[dict[str, Any]]], dict[str, dict[str, Any]]]:
    """Return the cases by alert, without its prefix; and by title, the panels whose metric no good run has."""
    alerts, panels = yaml.safe_load_all(Path(__file__).with_name("alert_cases.yaml").read_text())
    return alerts, panels


def reporters(rule: Mapping[str, Any]) -> frozenset[str]:
    """Return the services whose death keeps an alert as it was; none for an alert that fires on silence."""
    named = re.search(r" or \(NaN .* crossfade:(?:down{service_name=~\"(.+)\"}|consumer_down)\)$", rule["expr"])
    return frozenset(named[1].split("|") if named[1] else (each.value for each in CONSUMERS)) if named else frozenset()


def tests() -> Iterator[dict[str, Any]]:
    """Yield every case, the first of each kept alert once more with its reporters dead, and the rare panels."""
    alerts, panels = written()
    for name, of in alerts.items():
        rule = rules()[PREFIX + name]
        yield from (_test(rule, each) for each in of)
        if dying := reporters(rule):
            yield _kept(rule, of[0], dying)
    for board in dashboards.NAMES:
        for panel in dashboards.panels(board):
            if "rare" in panel:
                yield _panel(panel, panels[panel["title"]])


def write(folder: Path) -> Path:
    """Write the tests beside the rules; return the tests' file."""
    (folder / RULES.name).write_text(RULES.read_text())
    file = folder / "crossfade.test.yaml"
    file.write_text(as_yaml({"rule_files": [RULES.name], "evaluation_interval": "60s", "tests": list(tests())}))
    return file


def series_of(case: Mapping[str, Any]) -> dict[str, str]:
    """Return a case's own series."""
    return {_of_migration(name): values for name, values in case.get("series", {}).items()}


def _of_migration(series: str) -> str:
    name, _, labels = series.rstrip("}").partition("{")
    return series if MIGRATION in labels else f"{name}{{{OURS}{',' if labels else ''}{labels}}}"


def _test(rule: Mapping[str, Any], case: Mapping[str, Any]) -> dict[str, Any]:
    dead = NAMES if case.get("dead") == "everybody" else case.get("dead", ())
    return {
        "name": f"{rule['alert']}: {case['case']}",
        "interval": "60s",
        "input_series": _input(_lives(dead, TO_THE_END) | series_of(case)),
        "alert_rule_test": [_look(rule, case["at"], case.get("fires", {}))],
    }


def _kept(rule: Mapping[str, Any], case: Mapping[str, Any], dying: Collection[str]) -> dict[str, Any]:
    """While it fires, all who report on it die: it fires on, until they are heard of again."""
    dies = int(case["at"].removesuffix("m")) + 1
    life = f"1+0x{dies - 1} stale _x{RETURNS_MIN - dies - 1} 1+0x20"
    spared = set(NAMES) - set(dying)
    fires = case["fires"]
    kept = {_without_value(rule["annotations"]["summary"], labels): labels for labels in fires.values()}
    return {
        "name": f"{rule['alert']}: {case['case']}; then who told of it dies, and is back in an hour",
        "interval": "60s",
        "input_series": _input(_lives(dying, TO_THE_END) | _lives(spared, life) | series_of(case)),
        "alert_rule_test": [
            _look(rule, case["at"], fires),
            _look(rule, f"{RETURNS_MIN - 1}m", kept),
            _look(rule, f"{RETURNS_MIN + 1}m", {}),
        ],
    }


def _without_value(summary: str, labels: Mapping[str, str]) -> str:
    """Return a template's words, after the migration's name, when the value is NaN."""
    for name, value in labels.items():
        summary = summary.replace(f"{{{{ $labels.{name} }}}}", value)
    summary = re.sub(r"\{\{ if .*?\{\{ else \}\}(.*?)\{\{ end \}\}", r"\1", summary)
    return summary.removeprefix(f"{{{{ $labels.{MIGRATION} }}}}: ")


def _lives(dead: Collection[str], values: str) -> dict[str, str]:
    """Return what those who live are heard by."""
    found = {
        f'target_info{{{OURS},service_name="{each}",service_namespace="crossfade"}}': values
        for each in NAMES
        if each not in dead
    }
    return (
        found
        if "controller" in dead
        else found | {f'crossfade_migration_phase{{{OURS},crossfade_phase="RAMPING"}}': values}
    )


def _input(series: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"series": name, "values": values} for name, values in series.items()]


def _look(rule: Mapping[str, Any], at: str, fires: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Return what fires at a moment: words after the migration's name, and labels beside it."""
    of_all = rule["alert"] == "CrossfadeWatchdog"
    firing = []
    for words, labels in fires.items():
        whose = {} if of_all else {MIGRATION: "engagement", **labels}
        summary = words if of_all else f"{whose[MIGRATION]}: {words}"
        firing.append(
            {"exp_labels": rule["labels"] | whose, "exp_annotations": rule["annotations"] | {"summary": summary}}
        )
    return {"eval_time": at, "alertname": rule["alert"], "exp_alerts": firing}


def _panel(panel: Mapping[str, Any], seen: Mapping[str, Any]) -> dict[str, Any]:
    (expr,) = panel["queries"].values()
    samples = [{"labels": labels, "value": value} for labels, value in seen["samples"].items()]
    return {
        "name": f"panel: {panel['title']}",
        "interval": "60s",
        "input_series": _input(series_of(seen)),
        "promql_expr_test": [
            {"expr": expr.replace("$migration", "engagement"), "eval_time": "5m", "exp_samples": samples}
        ],
    }
