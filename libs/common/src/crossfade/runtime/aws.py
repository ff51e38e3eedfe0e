"""Whose calls go where: the one place where a process gets its access to home, to the source's side and the target's.

*Home* has the control tables, the bucket and the feed stream. A side has its table, that table's change stream and its
metrics; it may be in another account, another Region, or behind another endpoint (settings `source_…`, `target_…`).
The data plane goes through the lean wire client, the rest of the control plane through aiobotocore, both with the keys
that are found here.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, NamedTuple

from crossfade.adapters.wire import WireConfig
from crossfade.adapters.wire.credentials import BotocoreCredentials, CredentialSource, default_credentials
from crossfade.core.values.errors import ConfigError
from crossfade.core.values.shape import Side
from crossfade.runtime.settings import ServiceSettings


class Access(NamedTuple):
    """How home or a side is reached.

    Attributes:
        region: of AWS.
        endpoint_url: of every service there; None for the Region's own.
        profile: of ~/.aws/config; empty for the process's own identity.
        role_arn: to assume from it; empty for none.
    """

    region: str
    endpoint_url: str | None = None
    profile: str = ""
    role_arn: str = ""

    @property
    def is_own(self) -> bool:
        """Whether the calls are made by the process's own identity."""
        return not (self.profile or self.role_arn)

    def __str__(self) -> str:
        """Say where it is, and by whom it is reached: for an operator."""
        where = self.endpoint_url or f"AWS in {self.region}"
        by = [f"profile {self.profile}"] * bool(self.profile) + [self.role_arn] * bool(self.role_arn)
        return f"{where} as {', '.join(by)}" if by else where


def access_to(settings: ServiceSettings, side: Side | None = None) -> Access:
    """Return how a side is reached; home for None."""
    home = Access(settings.region, settings.aws_endpoint_url)
    if side is None:
        return home
    region, endpoint_url, profile, role_arn = (
        getattr(settings, f"{side.value}_{name}") for name in ("region", "endpoint_url", "profile", "role_arn")
    )
    return Access(region or home.region, endpoint_url or home.endpoint_url, profile, role_arn)


def wire_config(settings: ServiceSettings, *, max_connections: int = 16, side: Side | None = None) -> WireConfig:
    """Return the wire client's settings for a side, or for home."""
    access = access_to(settings, side)
    return WireConfig(region=access.region, endpoint_url=access.endpoint_url, max_connections=max_connections)


def credentials_of(access: Access) -> CredentialSource:
    """Return whose keys sign the calls.

    Raises:
        ConfigError: a key in the environment can't be one.
    """
    return default_credentials() if access.is_own else BotocoreCredentials(make_session=partial(_session, access))


def control_client(
    settings: ServiceSettings, service: str, *, timeout_s: float = 60.0, attempts: int = 5, side: Side | None = None
) -> AbstractAsyncContextManager[Any]:
    """Return an aiobotocore client, for `async with`. Importing it costs about two seconds, so it is done here.

    Args:
        settings: of the process.
        service: by its name in AWS, as "s3", "dynamodb", "kinesis" or "cloudwatch".
        timeout_s: for a connection, and for each wait for a part of an answer.
        attempts: tries of one call, the first included.
        side: whose; None for home.

    Raises:
        ConfigError: there is no such profile.
    """
    from aiobotocore.config import AioConfig
    from aiobotocore.credentials import AioDeferredRefreshableCredentials
    from aiobotocore.session import AioSession

    access = access_to(settings, side)
    config = AioConfig(
        s3={"addressing_style": "path"},
        connect_timeout=timeout_s,
        read_timeout=timeout_s,
        retries={"mode": "standard", "total_max_attempts": attempts},
    )
    session = _checked(AioSession(profile=access.profile or None), access)
    if access.role_arn:
        # One fetcher for both clients: botocore's own, which blocks.
        async def assume() -> Any:
            return await asyncio.to_thread(lambda: _role(access).fetch_credentials())

        session._credentials = AioDeferredRefreshableCredentials(refresh_using=assume, method="assume-role")
    client: AbstractAsyncContextManager[Any] = session.create_client(
        service,
        region_name=access.region,
        endpoint_url=access.endpoint_url,
        config=config,
        **_static_credentials(access),
    )
    return client


def _static_credentials(access: Access) -> dict[str, str]:
    if access.endpoint_url and access.is_own and not os.environ.get("AWS_ACCESS_KEY_ID"):
        return {"aws_access_key_id": "local", "aws_secret_access_key": "local"}
    return {}


def _checked(session: Any, access: Access) -> Any:
    """Return a session of botocore or aiobotocore.

    Raises:
        ConfigError: there is no such profile.
    """
    from botocore.exceptions import ProfileNotFound

    try:
        session.get_scoped_config()
    except ProfileNotFound as error:
        raise ConfigError(
            f"there is no profile {access.profile!r} in ~/.aws/config or ~/.aws/credentials (AWS_CONFIG_FILE, "
            "AWS_SHARED_CREDENTIALS_FILE): add it, or correct CROSSFADE_SOURCE_PROFILE and CROSSFADE_TARGET_PROFILE"
        ) from error
    return session


def _session(access: Access) -> Any:
    """Return a botocore session whose chain ends in the keys of a side. It blocks. Errors as of `_role`."""
    from botocore.credentials import DeferredRefreshableCredentials
    from botocore.session import Session

    session = _checked(Session(profile=access.profile or None), access)
    if access.role_arn:
        role = DeferredRefreshableCredentials(refresh_using=_role(access).fetch_credentials, method="assume-role")
        session.register_component("credential_provider", _Given(role))
    return session


class _Given:
    """A chain of one link."""

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials

    def load_credentials(self) -> Any:
        """See botocore's `CredentialResolver`."""
        return self._credentials


def _role(access: Access) -> Any:
    """Return what assumes the role, by the profile's identity or the process's own. It blocks.

    Raises:
        ConfigError: there is neither, or no such profile.
    """
    from botocore.credentials import AssumeRoleCredentialFetcher
    from botocore.session import Session

    base = _checked(Session(profile=access.profile or None), access)
    keys = base.get_credentials()
    if keys is None:
        raise ConfigError(
            f"nobody to assume {access.role_arn}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, run under a role, "
            "or name a profile"
        )
    return AssumeRoleCredentialFetcher(
        partial(base.create_client, region_name=access.region, endpoint_url=access.endpoint_url),
        keys,
        access.role_arn,
        extra_args={"RoleSessionName": "crossfade"},
    )
