"""PromQL from the contract: a query can only name metrics and labels that the contract has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from crossfade.runtime.telemetry.openmetrics import RESOURCE_LABELS
from crossfade.runtime.telemetry.schema import Attribute, Kind, Metric

MIGRATION: Final = RESOURCE_LABELS["crossfade.migration"]
SERVICE: Final = RESOURCE_LABELS["service.name"]
Label: TypeAlias = Attribute | str
"""An attribute of the contract, or a label that every sample has: `MIGRATION`, `SERVICE`."""


class Where(NamedTuple):
    """One condition on a label.

    Attributes:
        label: which.
        pattern: a regular expression that the whole value has to match; `$name` is a variable of the dashboard.
        negated: whether it must not match.
    """

    label: Label
    pattern: str
    negated: bool = False

    def __str__(self) -> str:
        return f'{_name(self.label)}{"!~" if self.negated else "=~"}"{self.pattern}"'


def one_of(label: Label, values: Iterable[str]) -> Where:
    """Return the condition that a label has one of some values."""
    return Where(label, "|".join(values))


@dataclass(frozen=True, slots=True)
class Queries:
    """Makes queries for one place: the dashboards, which look at one migration, or the rules, which look at all.

    Attributes:
        always: conditions that every query has.
        keep: labels that every sum keeps.
        window: of rates.
    """

    always: tuple[Where, ...]
    keep: tuple[Label, ...]
    window: str

    def of(self, metric: Metric, *where: Where, part: str = "") -> str:
        """Return a selector.

        Args:
            metric: of the contract.
            where: conditions.
            part: of a histogram: "bucket", "sum" or "count".

        Raises:
            ValueError: the metric has no such label, or no such part.
        """
        if (metric.kind is Kind.HISTOGRAM) != (part in ("bucket", "sum", "count")):
            raise ValueError(f"{metric.name} is a {metric.kind.value}: it can't be asked for part {part!r}")
        _check(metric, [each.label for each in where])
        conditions = ",".join(map(str, (*self.always, *where)))
        return f"{metric.prometheus}{'_' + part if part else ''}" + (f"{{{conditions}}}" if conditions else "")

    def total(self, metric: Metric, *where: Where, by: tuple[Label, ...] = ()) -> str:
        """Return the sum over all processes."""
        return self._over("sum", metric, by, self.of(metric, *where))

    def worst(self, metric: Metric, *where: Where, by: tuple[Label, ...] = ()) -> str:
        """Return the highest over all processes."""
        return self._over("max", metric, by, self.of(metric, *where))

    def least(self, metric: Metric, *where: Where, by: tuple[Label, ...] = ()) -> str:
        """Return the lowest over all processes."""
        return self._over("min", metric, by, self.of(metric, *where))

    def rate(self, metric: Metric, *where: Where, by: tuple[Label, ...] = ()) -> str:
        """Return what a counter gains a second; of a histogram, how many values come a second."""
        part = "count" if metric.kind is Kind.HISTOGRAM else ""
        return self._over("sum", metric, by, f"rate({self.of(metric, *where, part=part)}[{self.window}])")

    def gained(self, metric: Metric, *where: Where, by: tuple[Label, ...] = (), within: str) -> str:
        """Return what a counter has gained within a time."""
        return self._over("sum", metric, by, f"increase({self.of(metric, *where)}[{within}])")

    def quantile(self, share: float, metric: Metric, *where: Where, by: tuple[Label, ...] = ()) -> str:
        """Return a quantile of a histogram."""
        return f"histogram_quantile({share:g}, {self.buckets(metric, *where, by=by)})"

    def buckets(self, metric: Metric, *where: Where, by: tuple[Label, ...] = ()) -> str:
        """Return the rates of a histogram's buckets."""
        inner = f"rate({self.of(metric, *where, part='bucket')}[{self.window}])"
        return self._over("sum", metric, by, inner, "le")

    def quantile_ever(self, share: float, metric: Metric, *where: Where) -> str:
        """Return a quantile over all values since the processes began: for what happens too seldom to have a rate."""
        buckets = self._over("sum", metric, (), self.of(metric, *where, part="bucket"), "le")
        return f"histogram_quantile({share:g}, {buckets})"

    def risen(self, metric: Metric, *where: Where, by: tuple[Label, ...] = (), within: str) -> str:
        """Return how much a counter that hardly ever counts has gained lately; nothing when it hasn't.

        A counter that appears with a value has no increase yet: what was not there before counts in full.
        """
        selector = self.of(metric, *where)
        grown = self._over("sum", metric, by, f"increase({selector}[{within}])")
        appeared = self._over("sum", metric, by, f"{selector} unless {selector} offset {within}")
        return f"({grown} > 0) or ({appeared} > 0)"

    def _over(self, how: str, metric: Metric, by: tuple[Label, ...], inner: str, *extra: str) -> str:
        _check(metric, by)
        labels = ", ".join([*extra, *(_name(each) for each in (*self.keep, *by))])
        return f"{how} by ({labels}) ({inner})" if labels else f"{how}({inner})"


def _name(label: Label) -> str:
    return label if isinstance(label, str) else label.prometheus


def _check(metric: Metric, labels: Iterable[Label]) -> None:
    for each in labels:
        if each not in metric.attributes and each not in (MIGRATION, SERVICE):
            raise ValueError(f"{metric.name} has no label {_name(each)}")


SHOWN: Final = Queries(always=(Where(MIGRATION, "$migration"),), keep=(), window="$__rate_interval")
"""For the dashboards."""

WATCHED: Final = Queries(always=(), keep=(MIGRATION,), window="5m")
"""For the alert rules."""
