"""CloudWatch: how long the oldest change record has been on its way from its table to its stream.

ministack 1.5.33 publishes nothing of DynamoDB. `AgeOfOldestUnreplicatedRecord` is the one metric that sees
this hop: a consumer can't tell a record that is late from one that was never written. Published every
second here, every minute by the service; 0 when nothing waits.

Source: Amazon DynamoDB developer guide, "DynamoDB metrics and dimensions": milliseconds, dimensions
TableName and DelegatedOperation. The value of the latter is not documented beyond "change data capture for
Kinesis Data Streams": read the metric by listing it for the table instead of spelling the value.
"""

from __future__ import annotations

import asyncio
import time

import ministack.services.cloudwatch as cloudwatch
import ministack.services.dynamodb as dynamodb
from ministack.core.responses import request_scope

from localaws.patches.change_records import capture

NAMESPACE = "AWS/DynamoDB"
METRIC = "AgeOfOldestUnreplicatedRecord"
DELEGATED_OPERATION = "ChangeDataCaptureForKinesisDataStreams"
PERIOD_S = 1.0
KEPT_POINTS = 3600


async def publish_for_ever() -> None:
    """Publish the age for each table with a streaming destination, each second."""
    while True:
        await asyncio.sleep(PERIOD_S)
        publish(time.time())


def publish(now_s: float) -> None:
    """Publish the age for each table with a streaming destination."""
    waiting = capture.delivery.oldest_waiting_us()
    for (account_id, region, table), destinations in dynamodb._kinesis_destinations.all_items():
        if any(each.get("DestinationStatus") == "ACTIVE" for each in destinations):
            oldest_us = waiting.get(table)
            age_ms = 0.0 if oldest_us is None else max(0.0, now_s * 1e3 - oldest_us / 1e3)
            dimensions = {"TableName": table, "DelegatedOperation": DELEGATED_OPERATION}
            with request_scope(account_id, region):
                cloudwatch.record_metric(NAMESPACE, METRIC, age_ms, "Milliseconds", dimensions)
                _trim(dimensions)


def _trim(dimensions: dict[str, str]) -> None:
    points = cloudwatch._metric_bucket((NAMESPACE, METRIC, cloudwatch._dims_key(dimensions)))
    if len(points) > 2 * KEPT_POINTS:
        del points[:-KEPT_POINTS]
