"""`Wire`: signed JSON calls to DynamoDB or Kinesis over pooled connections."""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Literal, NamedTuple, Protocol, Self
from urllib.parse import urlsplit

from isal import isal_zlib

from crossfade.adapters.wire.connection import Answer, Connection, ConnectionBroken
from crossfade.adapters.wire.credentials import CredentialSource, default_credentials
from crossfade.adapters.wire.dates import Dates, date_s
from crossfade.adapters.wire.errors import Cure, read_refusal, refused
from crossfade.adapters.wire.observing import call_observer
from crossfade.adapters.wire.pool import Pool, PoolClosed
from crossfade.adapters.wire.retry import RetryBudget, pause_s
from crossfade.adapters.wire.signing import Signer
from crossfade.core.values.errors import ConfigError, CrossfadeError, StoreUnavailable, Throttled

SERVICES: Final = {
    "dynamodb": ("DynamoDB_20120810.", "application/x-amz-json-1.0"),
    "kinesis": ("Kinesis_20131202.", "application/x-amz-json-1.1"),
}
LONGEST_ASKED_S: Final = 20.0
"""A longer retry-after isn't slept through here: the caller is told and decides."""

SKEW_WORTH_CORRECTING_S: Final = 60.0


class WireConfig(NamedTuple):
    """How to reach one service.

    Attributes:
        region: AWS region, "eu-central-1"; also signed.
        endpoint_url: None for the region's public endpoint.
        max_connections: bound of the pool; each carries one request at a time.
        connect_timeout_s: for one connection, TLS handshake included.
        timeout_s: for one attempt: credentials, a connection from the pool, sending, the whole answer.
        attempts: tries of one call, the first included.
        ca_file: PEM file of the authorities to trust instead of the system's.
    """

    region: str
    endpoint_url: str | None = None
    max_connections: int = 16
    connect_timeout_s: float = 2.0
    timeout_s: float = 5.0
    attempts: int = 5
    ca_file: str | None = None


class Endpoint(NamedTuple):
    """Where the connections go."""

    host: str
    port: int
    tls: bool
    host_header: str


def endpoint_of(service: str, config: WireConfig) -> Endpoint:
    """Resolve the endpoint.

    Raises:
        ConfigError: the address isn't one of a service's root.
    """
    suffix = "amazonaws.com.cn" if config.region.startswith("cn-") else "amazonaws.com"
    url = config.endpoint_url or f"https://{service}.{config.region}.{suffix}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path not in ("", "/") or parts.query:
        raise ConfigError(f"endpoint_url must look like http(s)://host[:port], got {url!r}")
    tls = parts.scheme == "https"
    usual_port = 443 if tls else 80
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = parts.port or usual_port
    return Endpoint(parts.hostname, port, tls, name if port == usual_port else f"{name}:{port}")


class Permit(Protocol):
    """What a client's requests are subject to, where they may be sent at some times only."""

    def check(self) -> None:
        """Let a request be signed: asked after its date was taken. What this raises ends the call."""

    def outcome_unknown(self) -> None:
        """Take note of a request that was sent, has no answer, and may yet take effect."""


class _Failed(Exception):
    """One attempt came to nothing, another may do better."""

    def __init__(
        self, error: CrossfadeError, *, at_once: bool = False, fresh: bool = False, free: bool = False
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.at_once = at_once  # no need to wait: the cause is cured
        self.fresh = fresh  # the connections at rest are doubted
        self.free = free  # the service isn't to blame: the budget isn't charged


class Wire:
    """A client of one service at one endpoint. Belongs to the event loop that first uses it.

    Attributes:
        dates: how far the answers' `Date` puts our clock off.
    """

    def __init__(
        self,
        service: Literal["dynamodb", "kinesis"],
        config: WireConfig,
        credentials: CredentialSource | None = None,
        *,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
        permit: Permit | None = None,
    ) -> None:
        """Prepare the client; nothing is opened before the first call.

        Args:
            service: which API it speaks.
            config: how to reach it.
            credentials: whose calls; None for the environment's, or else botocore's chain.
            now: wall clock in seconds since the epoch, signed into the requests.
            sleep: waits between attempts.
            jitter: random number from 0 to 1.
            permit: lets each request be signed, and hears of those that have no answer; None for no bounds.
        """
        self._service = service
        self._permit = permit
        self._observer = call_observer()
        self._config = config
        self._endpoint = endpoint_of(service, config)
        self._target_start, content_type = SERVICES[service]
        self._signer = Signer(
            service=service,
            region=config.region,
            host=self._endpoint.host_header,
            content_type=content_type,
        )
        self._credentials = credentials or default_credentials()
        self._pool = Pool(self._open, config.max_connections)
        self._tls: ssl.SSLContext | None = None
        self._budget = RetryBudget()
        self._now = now
        self._sleep = sleep
        self._jitter = jitter
        self._skew_s = 0.0
        self.dates = Dates(wall=now)

    async def call(
        self, operation: str, body: bytes, *, timeout_s: float | None = None, attempts: int | None = None
    ) -> bytes:
        """Make one call and return the JSON of its answer.

        A retry of a write is blind: an attempt that timed out may have been applied, and the next one meets its
        effect. Crossfade's own writes are idempotent by version or transaction id. With `attempts=1` the request is
        sent at most once.

        Args:
            operation: "BatchExecuteStatement".
            body: the request's JSON.
            timeout_s: for each attempt; None for the configured one.
            attempts: tries, the first included; None for the configured number.

        Raises:
            ConditionFailed, TransactionCanceled, ServiceError: the service refused for good.
            Throttled: still throttled at the last attempt. An earlier attempt may have been applied.
            StoreUnavailable: no readable answer, or a fault of the service. The outcome of a write is unknown.
        """
        if self._observer is None:
            return await self._call(operation, body, timeout_s, attempts)
        ended = self._observer.began(self._service, operation, body)
        if ended is None:
            return await self._call(operation, body, timeout_s, attempts)
        code = "cancelled"
        try:
            answer = await self._call(operation, body, timeout_s, attempts)
        except Exception as error:
            code = getattr(error, "code", type(error).__name__)
            raise
        else:
            code = ""
            return answer
        finally:
            ended(code)

    async def _call(self, operation: str, body: bytes, timeout_s: float | None, attempts: int | None) -> bytes:
        tries = self._config.attempts if attempts is None else attempts
        limit_s = self._config.timeout_s if timeout_s is None else timeout_s
        failures, fresh = 0, False
        while True:
            try:
                answer = await self._attempt(operation, body, limit_s, fresh=fresh)
            except _Failed as failed:
                failures += 1
                if failures >= tries or not (failed.free or self._budget.spend()):
                    raise failed.error from failed.__cause__
                asked_s = failed.error.retry_after_s
                if asked_s is not None and asked_s > LONGEST_ASKED_S:
                    raise failed.error from failed.__cause__
                fresh = failed.fresh
                if not failed.at_once:
                    await self.back_off(failures, throttled=isinstance(failed.error, Throttled), asked_s=asked_s)
            else:
                self._budget.earn()
                return answer

    async def back_off(self, failures: int, *, throttled: bool = True, asked_s: float | None = None) -> None:
        """Wait as before a retry; for callers that retry a part of a request themselves."""
        await self._sleep(pause_s(failures, throttled=throttled, jitter=self._jitter(), asked_s=asked_s))

    async def close(self) -> None:
        """Drop all connections. Calls in flight fail."""
        await self._pool.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _attempt(self, operation: str, body: bytes, limit_s: float, *, fresh: bool) -> bytes:
        missing, unanswered = "no AWS credentials", None
        try:
            async with asyncio.timeout(limit_s):
                credentials = await self._credentials.current()
                missing = "no answer"
                connection = await self._pool.acquire(fresh=fresh)
                reused = connection.served > 0
                try:
                    sent_s = self._now()
                    if self._permit is not None:
                        self._permit.check()
                        unanswered = self._permit
                    request = self._signer.sign(
                        self._target_start + operation, body, credentials, sent_s + self._skew_s
                    )
                    answer = await connection.exchange(request)
                    unanswered = None
                    self.dates.note(answer.headers.get(b"date"), sent_s, self._now())
                finally:
                    if unanswered is not None:
                        unanswered.outcome_unknown()
                    self._pool.release(connection)
        except TimeoutError as error:
            raise _Failed(StoreUnavailable(f"{operation}: {missing} within {limit_s} s")) from error
        except ConnectionBroken as error:
            # The server closed an idle connection while the request was on its way: nobody's fault, no delay.
            stale = reused and error.before_answer
            raise _Failed(StoreUnavailable(f"{operation}: {error}"), at_once=stale, fresh=stale, free=stale) from error
        except PoolClosed as error:
            raise StoreUnavailable(f"{operation}: {error}") from error
        except ssl.SSLCertVerificationError as error:
            raise StoreUnavailable(f"{operation}: {self._endpoint.host} is not who it claims: {error}") from error
        except OSError as error:
            raise _Failed(
                StoreUnavailable(f"{operation}: can't reach {self._endpoint.host_header}: {error}")
            ) from error
        checksum = answer.headers.get(b"x-amz-crc32")
        if checksum is not None and checksum != b"%d" % isal_zlib.crc32(answer.body):
            raise _Failed(StoreUnavailable(f"{operation}: the answer doesn't match its checksum"))
        if answer.status == 200:
            return answer.body
        raise self._failure(operation, answer, lambda: self._credentials.refused(credentials))

    def _failure(self, operation: str, answer: Answer, other_credentials: Callable[[], bool]) -> Exception:
        refusal, cure = read_refusal(answer.status, answer.headers, answer.body)
        error = refused(operation, refusal, answer.body)
        if cure is Cure.WAIT:
            return _Failed(Throttled(str(error), retry_after_s=_asked_s(answer)))
        if cure is Cure.RETRY:
            return _Failed(StoreUnavailable(str(error), retry_after_s=_asked_s(answer)))
        if cure is Cure.REFRESH and other_credentials():
            return _Failed(error)
        if cure is Cure.CLOCK and self._clock_corrected(answer):
            return _Failed(error, at_once=True)
        return error

    def _clock_corrected(self, answer: Answer) -> bool:
        server_s = date_s(answer.headers.get(b"date"))
        if server_s is None:
            return False
        skew_s = server_s - self._now()
        if abs(skew_s - self._skew_s) < SKEW_WORTH_CORRECTING_S:
            return False  # the clock isn't it
        self._skew_s = skew_s
        return True

    async def _open(self, on_lost: Callable[[Connection], None]) -> Connection:
        endpoint = self._endpoint
        if endpoint.tls and self._tls is None:
            self._tls = ssl.create_default_context(cafile=self._config.ca_file)
        try:
            async with asyncio.timeout(self._config.connect_timeout_s):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: Connection(on_lost), endpoint.host, endpoint.port, ssl=self._tls
                )
        except TimeoutError as error:
            raise ConnectionError(f"no connection within {self._config.connect_timeout_s} s") from error
        return connection


def _asked_s(answer: Answer) -> float | None:
    try:
        return max(0.0, float(answer.headers[b"retry-after"]))
    except (KeyError, ValueError):
        return None
