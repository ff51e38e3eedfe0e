"""The first hop, table to stream, as only CloudWatch sees it."""

from __future__ import annotations

import structlog

from crossfade.core.values.shape import Side
from crossfade.ports.admin import Metrics
from crossfade.ports.clock import Clock
from crossfade_verifier.lags import Unreplicated

log = structlog.get_logger()


async def watch(
    metrics: Metrics,
    tables: dict[Side, str],
    told: dict[Side, Unreplicated],
    *,
    every_s: float,
    clock: Clock,
) -> None:
    """Ask for the metric now and then, until cancelled.

    Args:
        metrics: CloudWatch.
        tables: the name of each side's table.
        told: where the answers go.
        every_s: pause between two askings.
        clock: of the process.
    """
    while True:
        for side, table in tables.items():
            told[side] = await _ask(metrics, table)
        await clock.sleep(every_s)


async def _ask(metrics: Metrics, table: str) -> Unreplicated:
    try:
        age_s = await metrics.unreplicated_s(table)
    except Exception as error:  # whatever the client raises: the lag is unknown, and the verifier goes on
        log.warning("metric not read", table=table, error=str(error))
        return Unreplicated(None, f"CloudWatch: {error}")
    return Unreplicated(age_s, "" if age_s is not None else "CloudWatch has no recent value")
