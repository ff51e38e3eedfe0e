"""What a panel and a dashboard are, before they are JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from crossfade.runtime.telemetry.schema import Attribute, Metric
from tools.observability.promql import Label

WIDTH: Final = 24
"""Of a dashboard, in Grafana's columns."""


class Look(Enum):
    """How a panel shows its queries."""

    LINES = "timeseries"
    STACK = "stacked timeseries"
    NUMBER = "stat"
    NAME = "stat of names"
    HEAT = "heatmap"
    STATES = "state-timeline"


class Unit(Enum):
    """Grafana's units."""

    SECONDS = "s"
    PER_SECOND = "cps"
    COUNT = "short"
    SHARE = "percentunit"
    PERCENT = "percent"
    YES_NO = "bool_yes_no"


@dataclass(frozen=True, slots=True)
class Query:
    """One query of a panel.

    Attributes:
        expr: PromQL.
        legend: Grafana's template of the legend.
        exemplars: whether the traces behind it are shown as points.
    """

    expr: str
    legend: str = ""
    exemplars: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Attributes:
        title: of it.
        about: what it shows and when to worry, for the tooltip.
        queries: of it.
        unit: of the values.
        metrics: that it shows: the alerts about them are linked.
        look: how.
        bound: where it becomes red; None for nowhere.
        below: whether it is red below the bound instead of above.
        width: in columns.
        height: in rows.
        rare: why there need not be data; empty when there must.
    """

    title: str
    about: str
    queries: tuple[Query, ...]
    unit: Unit
    metrics: tuple[Metric, ...]
    look: Look = Look.LINES
    bound: float | None = None
    below: bool = False
    width: int = 8
    height: int = 8
    rare: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice at the head of a dashboard.

    Attributes:
        name: in queries.
        label: for a person.
        metric: that has the label.
        of: the label.
        several: whether all or some may be chosen; else one.
    """

    name: str
    label: str
    metric: Metric
    of: Label
    several: bool = True


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard."""

    uid: str
    title: str
    about: str
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...] = field(default=())

    @property
    def file(self) -> str:
        """Its file."""
        return self.uid.removeprefix("crossfade-") + ".json"

    @property
    def panels(self) -> tuple[Panel, ...]:
        """All panels."""
        return tuple(panel for row in self.rows for panel in row.panels)


def shown(attribute: Attribute) -> str:
    """Return a legend that is the value of an attribute."""
    return f"{{{{{attribute.prometheus}}}}}"
