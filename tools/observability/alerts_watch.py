"""The alerts about the alerting: that it works, and that it knows whom to look for."""

from __future__ import annotations

from typing import Final

from crossfade.runtime.telemetry import contract as c
from tools.observability.alerting import Alert, Clients, Severity
from tools.observability.presence import EXPECTED, INFO
from tools.observability.promql import MIGRATION
from tools.observability.wording import OVERVIEW, PAGE, M

OF_WATCH: Final = (
    Alert(
        "Watchdog",
        "vector(1)",
        "0m",
        Severity.NONE,
        Clients.SAFE,
        "Always fires: when it stops, no other alert of Crossfade can arrive",
        OVERVIEW,
        (c.DRIVING,),
    ),
    Alert(
        "NothingExpected",
        f'count by ({MIGRATION}) ({INFO}{{service_namespace="{c.NAMESPACE}"}}) unless on ({MIGRATION}) {EXPECTED}'
        f" or absent({EXPECTED})",
        "5m",
        PAGE,
        Clients.SAFE,
        f"{M}: the rules don't say which services must run, so their death would go unseen",
        OVERVIEW,
        (c.DRIVING,),
    ),
)
