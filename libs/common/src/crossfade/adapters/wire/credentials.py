"""Where the keys come from.

Keys from the environment or given by hand need no botocore, whose import alone costs a process a third of a second.
Everything else (roles of pods and instances, SSO, profiles) is botocore's to find and to refresh.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from crossfade.adapters.wire.signing import Credentials
from crossfade.core.values.errors import ConfigError, StoreUnavailable

KEPT_S: Final = 60.0
"""How long keys are used before botocore is asked again."""

LONGEST_KEPT_S: Final = 300.0
"""How long they may serve while botocore can't be had; it refreshes them ten to fifteen minutes before they expire."""


class CredentialSource(Protocol):
    """Gives the keys to sign with."""

    async def current(self) -> Credentials:
        """Return keys that are valid now.

        Raises:
            ConfigError: there are none.
            StoreUnavailable: they could not be had just now.
        """
        ...

    def refused(self, credentials: Credentials) -> bool:
        """Take note that the service called these keys expired; say whether asking again may give others."""
        ...


class StaticCredentials:
    """Keys that never change."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def current(self) -> Credentials:
        """Return the keys."""
        return self._credentials

    def refused(self, credentials: Credentials) -> bool:  # noqa: ARG002 -- there is only one set
        """There are no others."""
        return False


class BotocoreCredentials:
    """Keys that botocore's chain finds and refreshes, asked for in a thread since it blocks."""

    def __init__(self, session: Any = None, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Take a botocore session, or leave it to the first call to make the default one."""
        self._session = session
        self._source: Any = None
        self._monotonic = monotonic
        self._asking: asyncio.Task[Credentials] | None = None
        self._cached: Credentials | None = None
        self._asked_s = 0.0

    async def current(self) -> Credentials:
        """Return the chain's keys. Those still good are given at once, while newer ones are asked for behind them."""
        cached = self._cached
        age_s = self._monotonic() - self._asked_s
        if cached is not None and age_s < KEPT_S:
            return cached
        if self._asking is None:
            self._asking = asyncio.create_task(self._refresh())
            self._asking.add_done_callback(self._asked)
        if cached is not None and age_s < LONGEST_KEPT_S:
            return cached
        # Shielded: the others that wait for the same keys must not pay for one caller's deadline.
        return await asyncio.shield(self._asking)

    def refused(self, credentials: Credentials) -> bool:
        """Forget the keys, so that the next call builds the chain anew."""
        if self._cached == credentials:
            self._cached = self._source = None
        return True

    async def _refresh(self) -> Credentials:
        found = await asyncio.to_thread(self._ask)
        self._cached, self._asked_s = found, self._monotonic()
        return found

    def _asked(self, task: asyncio.Task[Credentials]) -> None:
        self._asking = None
        if not task.cancelled():
            task.exception()  # seen: a failure reaches callers once the keys at hand are too old

    def _ask(self) -> Credentials:
        # Lazy: a process whose keys are static must not pay for this import.
        from botocore.exceptions import BotoCoreError
        from botocore.session import Session

        try:
            if self._source is None:
                self._session = self._session or Session()
                self._source = self._session.get_component("credential_provider").load_credentials()
            if self._source is None:
                raise ConfigError(
                    "no AWS credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                    "or run under a role (pod identity, IRSA, instance profile)"
                )
            frozen = self._source.get_frozen_credentials()
        except BotoCoreError as error:
            raise StoreUnavailable(f"AWS credentials can't be had: {error}") from error
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token)


def default_credentials(environment: Mapping[str, str] = os.environ) -> CredentialSource:
    """Return the environment's keys when it has them, as the AWS tools do, otherwise botocore's chain.

    Raises:
        ConfigError: a key in the environment can't be one.
    """
    access_key = environment.get("AWS_ACCESS_KEY_ID")
    secret_key = environment.get("AWS_SECRET_ACCESS_KEY")
    if access_key and secret_key:
        credentials = Credentials(access_key, secret_key, environment.get("AWS_SESSION_TOKEN") or None)
        if any(part and not (part.isascii() and part.isprintable() and " " not in part) for part in credentials):
            raise ConfigError(
                "an AWS key in the environment holds white space or worse: a line end copied along, perhaps"
            )
        return StaticCredentials(credentials)
    return BotocoreCredentials()
