"""Turns dashboards into Grafana's JSON, through the Grafana Foundation SDK."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import heatmap, prometheus, stat, statetimeline, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models import heatmap as heatmap_models

from tools.observability.alerting import Alert
from tools.observability.alerts import ALERTS
from tools.observability.panels import Board, Look, Panel, Query, Unit, Variable
from tools.observability.promql import MIGRATION, SHOWN

TAG: Final = "crossfade"
GREEN, RED = "green", "red"
SOURCE: Final = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")
FIRST_METRIC: Final = "crossfade_controller_driving"
RUNBOOKS: Final = "runbooks"
"""The dashboards' variable with the address that runbooks are found under."""


def dashboard_json(board: Board, runbooks: str) -> str:
    """Return a dashboard as Grafana imports it.

    Args:
        board: the dashboard.
        runbooks: address that the runbooks are found under; it may be changed at the head of the dashboard.
    """
    built = (
        builders.Dashboard(board.title)
        .uid(board.uid)
        .description(board.about)
        .tags([TAG])
        .timezone("browser")
        .refresh("30s")
        .time("now-1h", "now")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .link(_other_boards())
        .variables(_variables(board, runbooks))
    )
    number = 0
    for row in board.rows:
        number += 1
        built.with_row(builders.Row(row.title).id(number))
        for panel in row.panels:
            number += 1
            built.with_panel(_panel(panel, number))
    return json.dumps(built.build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def alerts_of(panel: Panel) -> list[Alert]:
    """Return the alerts about what a panel shows."""
    return [each for each in ALERTS if set(each.metrics) & set(panel.metrics)]


def _other_boards() -> builders.DashboardLink:
    return (
        builders.DashboardLink("Crossfade")
        .type(dashboard.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(True)
        .keep_time(True)
        .include_vars(True)
    )


def _variables(board: Board, runbooks: str) -> list[Any]:
    chosen: list[Any] = [
        builders.DatasourceVariable("datasource").label("Prometheus").type("prometheus"),
        builders.QueryVariable("migration")
        .label("Migration")
        .datasource(SOURCE)
        .query(f"label_values({FIRST_METRIC}, {MIGRATION})")
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC),
    ]
    chosen += [_variable(each) for each in board.variables]
    chosen.append(
        builders.TextBoxVariable(RUNBOOKS)
        .label("Runbooks at")
        .default_value(runbooks)
        .current(dashboard.VariableOption(selected=True, text=runbooks, value=runbooks))
    )
    return chosen


def _variable(each: Variable) -> builders.QueryVariable:
    part = "count" if each.metric.buckets else ""
    label = each.of if isinstance(each.of, str) else each.of.prometheus
    built = (
        builders.QueryVariable(each.name)
        .label(each.label)
        .datasource(SOURCE)
        .query(f"label_values({SHOWN.of(each.metric, part=part)}, {label})")
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .multi(each.several)
    )
    if each.several:
        everything = dashboard.VariableOption(selected=True, text="All", value="$__all")
        built.include_all(True).all_value(".*").current(everything)
    return built


def _panel(panel: Panel, number: int) -> Any:
    built: Any = _LOOKS[panel.look](panel)
    return (
        built.id(number)
        .title(panel.title)
        .description(panel.about)
        .datasource(SOURCE)
        .unit(panel.unit.value)
        .thresholds(_thresholds(panel))
        .links([_runbook(each) for each in alerts_of(panel)])
        .targets([_target(each, panel, chr(ord("A") + n)) for n, each in enumerate(panel.queries)])
        .span(panel.width)
        .height(panel.height)
    )


def _runbook(alert: Alert) -> builders.DashboardLink:
    return (
        builders.DashboardLink(f"Runbook: {alert.name}")
        .type(dashboard.DashboardLinkType.LINK)
        .url(f"${{{RUNBOOKS}}}/{alert.runbook}")
        .target_blank(True)
    )


def _target(query: Query, panel: Panel, ref: str) -> prometheus.Dataquery:
    built = prometheus.Dataquery().expr(query.expr).ref_id(ref).datasource(SOURCE).exemplar(query.exemplars)
    if query.legend:
        built.legend_format(query.legend)
    if panel.look is Look.HEAT:
        from grafana_foundation_sdk.models.prometheus import PromQueryFormat

        built.format(PromQueryFormat.HEATMAP)
    if panel.look in (Look.NUMBER, Look.NAME):
        return built.instant()
    return built.range()


def _thresholds(panel: Panel) -> builders.ThresholdsConfig:
    good, bad = (RED, GREEN) if panel.below else (GREEN, RED)
    steps = [dashboard.Threshold(value=None, color=good)]
    if panel.bound is not None:
        # Grafana colours from the value on; a bound of 0 means that one is too many.
        steps.append(dashboard.Threshold(value=panel.bound or 1, color=bad))
    return builders.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)


def _lines(panel: Panel) -> Any:
    built = (
        timeseries.Panel()
        .min(0)
        .fill_opacity(8)
        .line_width(1)
        .show_points(common.VisibilityMode.NEVER)
        .legend(_legend())
        .tooltip(
            common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
        )
    )
    if panel.look is Look.STACK:
        built.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL)).fill_opacity(40)
    if panel.bound is not None:
        built.thresholds_style(
            common_builders.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        )
    return built


def _number(panel: Panel) -> Any:
    named = panel.look is Look.NAME
    return (
        stat.Panel()
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        .graph_mode(common.BigValueGraphMode.NONE if named else common.BigValueGraphMode.AREA)
        .color_mode(common.BigValueColorMode.VALUE)
        .text_mode(common.BigValueTextMode.NAME if named else common.BigValueTextMode.VALUE)
    )


def _heat(_panel: Panel) -> Any:
    return (
        heatmap.Panel()
        .calculate(False)
        .color(
            heatmap.HeatmapColorOptions()
            .mode(heatmap_models.HeatmapColorMode.SCHEME)
            .scheme("Oranges")
            .fill("dark-orange")
            .exponent(0.5)
            .steps(64)
        )
        .scale_distribution(common_builders.ScaleDistributionConfig().type(common.ScaleDistribution.LINEAR))
        .y_axis(heatmap.YAxisConfig().unit(Unit.SECONDS.value))
        .exemplars_color("rgba(70,130,255,0.9)")
    )


def _states(panel: Panel) -> Any:
    built = statetimeline.Panel().legend(_legend()).fill_opacity(70)
    if panel.unit is Unit.YES_NO:
        named = {"0": ("shut", RED), "1": ("open", GREEN)}
        found = {value: dashboard.ValueMappingResult(text=text, color=color) for value, (text, color) in named.items()}
        built.mappings([dashboard.ValueMap(options=found)])
    return built


def _legend() -> common_builders.VizLegendOptions:
    return (
        common_builders.VizLegendOptions()
        .show_legend(True)
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
    )


_LOOKS: Final = {
    Look.LINES: _lines,
    Look.STACK: _lines,
    Look.NUMBER: _number,
    Look.NAME: _number,
    Look.HEAT: _heat,
    Look.STATES: _states,
}


def decoded(text: str) -> Any:
    """Read a dashboard with the SDK and write it again, as JSON values.

    Args:
        text: of the file.
    """
    from grafana_foundation_sdk.cog.plugins import register_default_plugins

    register_default_plugins()
    return json.loads(json.dumps(dashboard.Dashboard.from_json(json.loads(text)), cls=JSONEncoder))


__all__: Sequence[str] = ("alerts_of", "dashboard_json", "decoded")
