"""What the alerts have in common: bounds, dashboards, words. Bounds that a gate has, too, are the gate's."""

from __future__ import annotations

from typing import Final

from crossfade.core.migration.evidence import Bounds
from tools.observability.alerting import Severity
from tools.observability.promql import MIGRATION, WATCHED, Label

GATES: Final = Bounds()
LAG_S: Final = 60.0
"""Ten times what gates ask for: worth waking somebody, while a short burst isn't."""
EXPIRY_S: Final = GATES.expiry_margin_s
"""A record this old has as long again to live at the shortest retention that is allowed, 48 h."""
METHOD_ERRORS: Final = 0.1
"""Of one method: a seldom one that always fails is lost in the share of all. High, since its calls are few."""
STALE_FLAGS_S: Final = 60.0
CLEAN_PASS_S: Final = 6 * GATES.clean_pass_s
"""The gate wants a fresh pass before a step; an alert only says that passes don't come any more."""
CROSSING_S: Final = 30.0
FLAPPING: Final = 4.0
"""A rolling restart moves each shard once or twice; a third time when the shares are evened out."""
FAILED_COPIES: Final = 0.05
THROTTLED: Final = 0.05
DRIFT: Final = ("stuck", "diverged", "missing", "extra", "ahead")

OVERVIEW, REPLICATOR, API, VERIFIER = (
    "crossfade-overview",
    "crossfade-replicator",
    "crossfade-api",
    "crossfade-verifier",
)
PAGE, TICKET = Severity.PAGE, Severity.TICKET

W = WATCHED
M = f"{{{{ $labels.{MIGRATION} }}}}"


def _value(function: str) -> str:
    """NaN isn't equal to itself: the value of an alert that is kept while nobody is left to count."""
    return f"{{{{ if eq $value $value }}}}{{{{ $value | {function} }}}}{{{{ else }}}}?{{{{ end }}}}"


VALUE = _value("humanize")
SECONDS = _value("humanizeDuration")
PERCENT = _value("humanizePercentage")


def label(attribute: Label) -> str:
    """Return the value of a label, as Prometheus's templates have it."""
    name = attribute if isinstance(attribute, str) else attribute.prometheus
    return f"{{{{ $labels.{name} }}}}"


def ratio(part: str, whole: str, bound: float) -> str:
    """Return an expression that fires while a part is more than a share of the whole."""
    return f"{part} / {whole} > {bound:g}"
