"""Writes Grafana's dashboards from the panels in deploy/dashboards/*.yaml: python -m tools.dashboards [--check].

Of the sixty lines that Grafana's JSON has for a panel, six differ from panel to panel. People write those; this adds
the rest. tests/deploy/test_dashboards_*.py hold the result to the telemetry contract and to Grafana's own types.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

BOARDS: Final = Path(__file__).parents[1] / "deploy" / "dashboards"
NAMES: Final = ("overview", "replicator", "api", "verifier")
"""In the order that people look at them."""
RUNBOOKS: Final = "deploy/runbooks"
"""Where runbooks are found; whoever looks at a dashboard may change it at its head."""

WIDTH: Final = 24
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
LINK: Final = {"asDropdown": False, "icon": "", "includeVars": False, "keepTime": False, "tags": [], "tooltip": ""}
CHOICE: Final = {
    "allowCustomValue": True, "auto": False, "auto_count": 30, "auto_min": "10s", "includeAll": False,
    "multi": False, "skipUrlSync": False,
}  # fmt: skip
QUERIED: Final = CHOICE | {"datasource": SOURCE, "refresh": 2, "sort": 1, "type": "query"}
EVERYTHING: Final = {
    "allValue": ".*", "includeAll": True, "multi": True,
    "current": {"selected": True, "text": "All", "value": "$__all"},
}  # fmt: skip

_LEGEND: Final = {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": True}
_LINES: Final[dict[str, Any]] = {
    "type": "timeseries",
    "custom": {"fillOpacity": 8, "lineWidth": 1, "showPoints": "never"},
    "options": {"legend": _LEGEND, "tooltip": {"mode": "multi", "sort": "desc"}},
}
_NUMBER: Final[dict[str, Any]] = {
    "type": "stat",
    "options": {
        "colorMode": "value", "graphMode": "area", "justifyMode": "auto", "orientation": "auto",
        "percentChangeColorMode": "standard", "reduceOptions": {"calcs": ["lastNotNull"]}, "showPercentChange": False,
        "textMode": "value", "wideLayout": True,
    },
}  # fmt: skip
LOOKS: Final[Mapping[str, Mapping[str, Any]]] = {
    "lines": _LINES,
    "stack": _LINES | {"custom": _LINES["custom"] | {"fillOpacity": 40, "stacking": {"mode": "normal"}}},
    "number": _NUMBER,
    "name": _NUMBER | {"options": _NUMBER["options"] | {"graphMode": "none", "textMode": "name"}},
    "heat": {
        "type": "heatmap",
        "custom": {"scaleDistribution": {"type": "linear"}},
        "options": {
            "calculate": False, "cellGap": 1, "exemplars": {"color": "rgba(70,130,255,0.9)"},
            "color": {
                "exponent": 0.5, "fill": "dark-orange", "mode": "scheme", "reverse": False, "scheme": "Oranges",
                "steps": 64,
            },
            "filterValues": {"le": 1e-09}, "legend": {"show": True}, "selectionMode": "x", "showValue": "auto",
            "tooltip": {"mode": "single"}, "yAxis": {"unit": "s"},
        },
    },
    "states": {
        "type": "state-timeline",
        "custom": {"fillOpacity": 70, "lineWidth": 0},
        "options": {
            "alignValue": "left", "legend": _LEGEND, "mergeValues": True, "perPage": 20, "rowHeight": 0.9,
            "showValue": "auto", "tooltip": {"mode": "single", "sort": "asc"},
        },
    },
}  # fmt: skip
"""How a panel shows its queries: by the word in `show`, what Grafana has to be told."""


def panels(name: str) -> Iterator[dict[str, Any]]:
    """Yield a dashboard's panels as people write them.

    Args:
        name: one of `NAMES`.
    """
    yield from (panel for row in _written(name, BOARDS)["rows"].values() for panel in row)


def traced(panel: Mapping[str, Any], number: int) -> bool:
    """Return whether the traces behind one of a panel's queries are shown as points: behind its first at most."""
    return number == 0 and "traces" in panel


def made(folder: Path = BOARDS) -> dict[Path, str]:
    """Return what each JSON file in a folder with YAML files has to hold."""
    return {folder / f"{name}.json": _rendered(name, _written(name, folder)) for name in NAMES}


def _written(name: str, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((folder / f"{name}.yaml").read_text())
    return found


def _rendered(name: str, written: Mapping[str, Any]) -> str:
    at = {"selected": True, "text": RUNBOOKS, "value": RUNBOOKS}
    migrations = "label_values(crossfade_controller_driving, crossfade_migration)"
    choices = [
        CHOICE | {"name": "datasource", "label": "Prometheus", "query": "prometheus", "type": "datasource"},
        QUERIED | {"name": "migration", "label": "Migration", "query": migrations},
        *(QUERIED | EVERYTHING | {"name": key} | each for key, each in written.get("variables", {}).items()),
        CHOICE | {"name": "runbooks", "label": "Runbooks at", "query": RUNBOOKS, "type": "textbox", "current": at},
    ]
    others_link = LINK | {"asDropdown": True, "includeVars": True, "keepTime": True, "tags": ["crossfade"]}
    made = {
        "annotations": {}, "description": written["about"], "editable": False, "fiscalYearStartMonth": 0,
        "graphTooltip": 1, "refresh": "30s", "schemaVersion": 41, "tags": ["crossfade"],
        "links": [others_link | {"targetBlank": False, "title": "Crossfade", "type": "dashboards"}],
        "templating": {"list": choices}, "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser", "title": written["title"], "uid": f"crossfade-{name}",
        "panels": [each | {"id": number} for number, each in enumerate(_placed(written["rows"]), 1)],
    }  # fmt: skip
    return json.dumps(made, indent=2, sort_keys=True) + "\n"


def _placed(rows: Mapping[str, list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """Yield each row's heading and panels, from left to right."""
    y = 0
    for title, panels in rows.items():
        yield {
            "type": "row", "title": title, "collapsed": False, "panels": [],
            "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": y},
        }  # fmt: skip
        x, y, highest = 0, y + 1, 0
        for panel in panels:
            width, height = panel.get("size", [8, 8])
            if x + width > WIDTH:
                x, y, highest = 0, y + highest, 0
            yield _panel(panel) | {"gridPos": {"h": height, "w": width, "x": x, "y": y}}
            x, highest = x + width, max(highest, height)
        y += highest


def _panel(panel: Mapping[str, Any]) -> dict[str, Any]:
    look = LOOKS[panel.get("show", "lines")]
    instant = look["type"] == "stat"
    fixed = {"instant": instant, "range": not instant, "datasource": SOURCE}
    if look["type"] == "heatmap":
        fixed["format"] = "heatmap"
    targets = [
        fixed
        | {"expr": expr, "refId": chr(ord("A") + n), "exemplar": traced(panel, n)}
        | ({"legendFormat": legend} if legend else {})
        for n, (legend, expr) in enumerate(panel["queries"].items())
    ]
    return {
        "type": look["type"], "title": panel["title"], "description": panel["about"], "datasource": SOURCE,
        "fieldConfig": {"defaults": _defaults(panel, look), "overrides": []}, "options": look["options"],
        "links": [_runbook(each) for each in panel.get("runbooks", ())], "repeatDirection": "h", "targets": targets,
        "transparent": False,
    }  # fmt: skip


def _defaults(panel: Mapping[str, Any], look: Mapping[str, Any]) -> dict[str, Any]:
    """Return unit, thresholds and look of a panel's values; Grafana colours from a value on."""
    below = "red_below" in panel
    steps: list[dict[str, Any]] = [{"color": "red" if below else "green", "value": None}]
    bound = panel.get("red_below", panel.get("red_from"))
    if bound is not None:
        steps.append({"color": "green" if below else "red", "value": bound})
    found = {"unit": panel["unit"], "thresholds": {"mode": "absolute", "steps": steps}}
    if "custom" in look:
        found["custom"] = look["custom"]
    if look["type"] == "timeseries":
        found["min"] = 0
        if bound is not None:
            found["custom"] = look["custom"] | {"thresholdsStyle": {"mode": "dashed"}}
    if look["type"] == "state-timeline" and panel["unit"] == "bool_yes_no":
        named = {"0": {"color": "red", "text": "shut"}, "1": {"color": "green", "text": "open"}}
        found["mappings"] = [{"options": named, "type": "value"}]
    return found


def _runbook(alert: str) -> dict[str, Any]:
    page = re.sub(r"(?<!^)(?=[A-Z])", "-", alert).lower()
    return LINK | {
        "targetBlank": True, "title": f"Runbook: {alert}", "type": "link", "url": f"${{runbooks}}/{page}.md",
    }  # fmt: skip


def main() -> int:
    """Write the files; with --check, only say which are old."""
    check = "--check" in sys.argv[1:]
    old = {path: text for path, text in made().items() if not path.exists() or path.read_text() != text}
    for path, text in old.items():
        sys.stdout.write(f"{'old' if check else 'written'}: deploy/dashboards/{path.name}\n")
        if not check:
            path.write_text(text)
    return 1 if check and old else 0


if __name__ == "__main__":
    sys.exit(main())
