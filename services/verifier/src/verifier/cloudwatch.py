"""The first hop, table to stream, as only CloudWatch sees it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import structlog

from crossfade.core.shape import Side
from crossfade.runtime.aws import control_client
from verifier.lags import Unreplicated
from verifier.settings import Settings

log = structlog.get_logger()

METRIC: Final = "AgeOfOldestUnreplicatedRecord"
_WINDOW: Final = timedelta(minutes=15)


async def watch(settings: Settings, tables: dict[Side, tuple[str, str]], told: dict[Side, Unreplicated]) -> None:
    """Ask for the metric now and then, until cancelled.

    Args:
        settings: of the process.
        tables: name of the table and of its stream, per side.
        told: where the answers go.
    """
    async with control_client(settings, "cloudwatch") as client:
        while True:
            for side, (table, stream) in tables.items():
                told[side] = await _ask(client, table, stream)
            await asyncio.sleep(settings.cloudwatch_every_s)


async def _ask(client: Any, table: str, stream: str) -> Unreplicated:
    now = datetime.now(UTC)
    try:
        answer = await client.get_metric_statistics(
            Namespace="AWS/DynamoDB",
            MetricName=METRIC,
            Dimensions=[{"Name": "TableName", "Value": table}, {"Name": "DelegatedOperation", "Value": stream}],
            StartTime=now - _WINDOW,
            EndTime=now,
            Period=60,
            Statistics=["Maximum"],
        )
    except Exception as error:  # a metric that can't be read is unknown; it never stops the verifier
        log.warning("no metric", metric=METRIC, table=table, error=str(error))
        return Unreplicated(None, f"CloudWatch: {error}")
    points = sorted(answer.get("Datapoints", ()), key=lambda point: point["Timestamp"])
    if not points:
        return Unreplicated(None, f"CloudWatch has no {METRIC} of the last {_WINDOW.seconds // 60} minutes")
    return Unreplicated(float(points[-1]["Maximum"]) / 1000, "")
