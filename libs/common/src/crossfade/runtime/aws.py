"""Clients for AWS: the lean wire client for the data plane, aiobotocore for the control plane."""

from __future__ import annotations

import os
from contextlib import AbstractAsyncContextManager
from typing import Any

from crossfade.adapters.wire import WireConfig
from crossfade.runtime.settings import ServiceSettings


def wire_config(settings: ServiceSettings, *, max_connections: int = 16) -> WireConfig:
    """Return the wire client's settings."""
    return WireConfig(region=settings.region, endpoint_url=settings.aws_endpoint_url, max_connections=max_connections)


def control_client(
    settings: ServiceSettings, service: str, *, timeout_s: float = 60.0, attempts: int = 5
) -> AbstractAsyncContextManager[Any]:
    """Return an aiobotocore client, for `async with`. Importing it costs about two seconds, so it is done here.

    Args:
        settings: of the process.
        service: "s3", "dynamodb", "kinesis" or "cloudwatch".
        timeout_s: for a connection, and for each wait for a part of an answer.
        attempts: tries of one call, the first included.
    """
    from aiobotocore.config import AioConfig
    from aiobotocore.session import get_session

    config = AioConfig(
        s3={"addressing_style": "path"},
        connect_timeout=timeout_s,
        read_timeout=timeout_s,
        retries={"mode": "standard", "total_max_attempts": attempts},
    )
    client: AbstractAsyncContextManager[Any] = get_session().create_client(
        service,
        region_name=settings.region,
        endpoint_url=settings.aws_endpoint_url,
        config=config,
        **_static_credentials(settings),
    )
    return client


def _static_credentials(settings: ServiceSettings) -> dict[str, str]:
    if settings.aws_endpoint_url and not os.environ.get("AWS_ACCESS_KEY_ID"):
        return {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
    return {}
