"""Where the keys come from.

Keys from the environment or given by hand need no botocore, whose import alone costs a process a third of a second.
Everything else (roles of pods and instances, SSO, profiles) is botocore's to find and to refresh.
"""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple, Protocol, TypeVar, cast

from crossfade.adapters.wire.signing import Credentials
from crossfade.core.values.errors import ConfigError, StoreUnavailable

KEPT_S: Final = 60.0
"""How long keys are used before botocore is asked again, which costs nothing until they are due; it refreshes them ten
to fifteen minutes before they expire. Keys that live shorter are asked for at half their life."""

SPARE_S: Final = 30.0
"""Keys are not used for so long before they expire: a request is on its way for some seconds, and clocks differ."""

RETRIED_S: Final = 5.0
"""After how long a refresh that failed is tried again, while the keys at hand still serve."""

HUNG_S: Final = 60.0
"""After how long botocore is given up on and asked again, in another thread."""

T = TypeVar("T")


class CredentialSource(Protocol):
    """Gives the keys to sign with."""

    async def current(self) -> Credentials:
        """Return keys that are valid now.

        Raises:
            ConfigError: there are none.
            StoreUnavailable: they are not available just now.
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


class _Kept(NamedTuple):
    """Keys at hand, with times of the monotonic clock.

    Attributes:
        keys: the keys.
        ask_s: from when on newer ones are asked for.
        until_s: when they have to be replaced; infinity when they don't expire.
    """

    keys: Credentials
    ask_s: float
    until_s: float


class BotocoreCredentials:
    """Keys that botocore's chain finds and refreshes, asked for in a thread since it blocks.

    Keys at hand serve until `SPARE_S` before they expire, however long botocore hangs or fails meanwhile. Only a call
    that finds none waits, for as long as its own timeout.
    """

    def __init__(
        self,
        session: Any = None,
        *,
        make_session: Callable[[], Any] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        hung_s: float = HUNG_S,
    ) -> None:
        """Take a botocore session, or leave it to the first call to make the default one.

        Args:
            session: of botocore.
            make_session: makes one at the first call, in the thread, instead of the default one.
            monotonic: clock in seconds.
            wall: wall clock, seconds since the epoch; expiry is told in it.
            hung_s: see `HUNG_S`.
        """
        self._session, self._make_session = session, make_session
        self._source: Any = None
        self._monotonic = monotonic
        self._wall, self._hung_s = wall, hung_s
        self._asking: asyncio.Task[_Kept] | None = None
        self._kept: _Kept | None = None

    async def current(self) -> Credentials:
        """Return the chain's keys. Those still good are given at once, while newer ones are asked for behind them."""
        kept, now_s = self._kept, self._monotonic()
        if kept is not None and now_s < kept.ask_s:
            return kept.keys
        if self._asking is None:
            self._asking = asyncio.create_task(self._refresh())
            self._asking.add_done_callback(self._asked)
        if kept is not None and now_s < kept.until_s:
            return kept.keys
        # Shielded: the others that wait for the same keys must not pay for one caller's deadline.
        return (await asyncio.shield(self._asking)).keys

    def refused(self, credentials: Credentials) -> bool:
        """Forget the keys, so that the next call builds the chain again."""
        if self._kept is not None and self._kept.keys == credentials:
            self._kept = self._source = None
        return True

    async def _refresh(self) -> _Kept:
        try:
            async with asyncio.timeout(self._hung_s):
                keys, expires_s = await _in_daemon_thread(self._ask)
        except TimeoutError as error:
            self._source = None  # whose lock the lost thread may hold
            raise StoreUnavailable(f"can't get AWS credentials: no answer within {self._hung_s:g} s") from error
        left_s = expires_s - self._wall()
        if left_s <= 0:
            raise StoreUnavailable(f"can't get AWS credentials: those found expired {-left_s:.0f} s ago")
        now_s = self._monotonic()
        kept = _Kept(keys, now_s + min(KEPT_S, left_s / 2), now_s + max(left_s - SPARE_S, left_s / 2))
        self._kept = kept
        return kept

    def _asked(self, task: asyncio.Task[_Kept]) -> None:
        self._asking = None
        if not task.cancelled() and task.exception() is not None and self._kept is not None:
            # A failure reaches callers once the keys at hand are too old; until then it is tried again, not too often.
            self._kept = self._kept._replace(ask_s=min(self._monotonic() + RETRIED_S, self._kept.until_s))

    def _ask(self) -> tuple[Credentials, float]:
        """Return keys and when they expire, in seconds since the epoch."""
        # Lazy: a process whose keys are static must not pay for this import.
        from botocore.exceptions import BotoCoreError
        from botocore.session import Session

        try:
            if self._source is None:
                self._session = self._session or (self._make_session or Session)()
                self._source = self._session.get_component("credential_provider").load_credentials()
            source = self._source
            if source is None:
                raise ConfigError(
                    "no AWS credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                    "or run under a role (pod identity, IRSA, instance profile)"
                )
            frozen = source.get_frozen_credentials()
        except (BotoCoreError, RuntimeError) as error:  # the second: "refreshed credentials are still expired"
            raise StoreUnavailable(f"can't get AWS credentials: {error}") from error
        # botocore has no public name for it; a test holds this against its own class.
        expires = getattr(source, "_expiry_time", None)
        expires_s = math.inf if expires is None else float(expires.timestamp())
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token), expires_s


async def _in_daemon_thread(work: Callable[[], T]) -> T:
    """Run what blocks in a thread of its own, which doesn't keep the process from ending if it never comes back.

    `asyncio.to_thread` would take one of the few threads that name look-ups need, and the end would wait for it.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: BaseException | None) -> None:
        if result.done():
            return
        if error is None:
            result.set_result(cast("T", value))
        else:
            result.set_exception(error)

    def run() -> None:
        value, failure = None, None
        try:
            value = work()
        except BaseException as error:
            failure = error
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, value, failure)

    threading.Thread(target=run, name="aws-credentials", daemon=True).start()
    return await result


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
                "an AWS key in the environment contains white space or a control character: perhaps a line break was "
                "copied along"
            )
        return StaticCredentials(credentials)
    return BotocoreCredentials()
