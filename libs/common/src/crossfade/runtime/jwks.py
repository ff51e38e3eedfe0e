"""The public keys of bearer tokens: a JWKS (RFC 7517) in a file or at an address, kept fresh (ADR 0039).

A file is looked at before each use, so a key that is gone from it stops working at once. An address is fetched again
when what is known is older than `refresh_s`, and at most every `AGAIN_S` when a token names a key that isn't known: an
issuer has new keys before it signs with them, and nobody can have us fetch as often as they like. While the keys can't
be read, the last ones count for `keep_s`, and the log says so; after that no token is accepted.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import jwt
import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric import rsa

from crossfade.core.values.errors import CrossfadeError
from crossfade.ports.clock import Clock
from crossfade.runtime.access_settings import is_url
from crossfade.runtime.http_client import call_json

log = structlog.get_logger()

AGAIN_S: Final = 10.0
"""Least time between two fetches that unknown keys or failures ask for."""

FETCH_S: Final = 5.0
"""How long a fetch may take: requests are waiting for it."""

RSA_BITS: Final = 2048
"""Shorter keys of RSA are refused (NIST SP 800-131A)."""

_BY_TYPE: Final = {
    ("RSA", None): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
"""Algorithms by type and curve of key: with a public key alone nobody can sign by any of them."""

ALGORITHMS: Final = frozenset(name for names in _BY_TYPE.values() for name in names)
"""What tokens may be signed with. Neither `none` nor HS256, whose verifiers could sign."""

Fetch = Callable[[], Awaitable[Any]]


class Key(NamedTuple):
    """A public key, for one algorithm.

    Attributes:
        kid: its name; None where it has none.
        algorithm: the only one that it verifies.
        key: as the library has it.
    """

    kid: str | None
    algorithm: str
    key: jwt.PyJWK


class UnknownKey(Exception):
    """No key that is known has signed this; the message says why."""


class KeysUnavailable(Exception):
    """Whether a token is good can't be told now; the message says why."""


def read_keys(document: bytes | Any) -> tuple[Key, ...]:
    """Return the keys of a JWKS that tokens may be signed with; others are left out.

    Args:
        document: JSON, or what was decoded from it.

    Raises:
        ValueError: it isn't a JWKS. One without keys is: nobody's tokens count.
    """
    if isinstance(document, bytes):
        try:
            document = msgspec.json.decode(document)
        except msgspec.DecodeError as error:
            raise ValueError(f"is not JSON: {error}") from error
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise ValueError('is not a JWKS: {"keys": [...]}')
    return tuple(key for each in listed if isinstance(each, dict) for key in _keys_of(each))


def _keys_of(given: dict[str, Any]) -> list[Key]:
    """Return a key once for each algorithm that it may verify; nothing of it if we don't trust it with any."""
    kid, use, named = given.get("kid"), given.get("use", "sig"), given.get("alg")
    fitting = _BY_TYPE.get((given.get("kty", ""), given.get("crv")), ())
    if use != "sig" or "d" in given or not isinstance(kid, str | None):
        return []  # "d": a private key that was published signs for everybody
    try:
        keys = [Key(kid, each, jwt.PyJWK(given, each)) for each in fitting if named in (None, each)]
    except jwt.PyJWTError:  # its message has the whole key
        return []
    short = any(isinstance(each.key.key, rsa.RSAPublicKey) and each.key.key.key_size < RSA_BITS for each in keys)
    return [] if short else keys


class Keys:
    """The keys of one JWKS."""

    def __init__(
        self, source: str, *, clock: Clock, refresh_s: float, keep_s: float, fetch: Fetch | None = None
    ) -> None:
        """Take where they are; nothing is read yet.

        Args:
            source: an address, or a file's name.
            clock: tells their age.
            refresh_s: how old they may be before they are fetched again.
            keep_s: how old they may be while they can't be.
            fetch: gets the document; None for HTTP.
        """
        self._source, self._clock, self._refresh_s, self._keep_s = source, clock, refresh_s, keep_s
        self._file = None if is_url(source) else Path(source)
        if fetch is None and self._file is None:
            tls = ssl.create_default_context() if source.startswith("https://") else None
            fetch = lambda: call_json(source, timeout_s=FETCH_S, tls=tls)  # noqa: E731
        self._fetch = fetch
        self._keys: tuple[Key, ...] = ()
        self._stamp: tuple[int, ...] = ()
        self._read_s: float | None = None
        self._tried_s = float("-inf")
        self._trouble = ""
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, kid: str | None, algorithm: str) -> jwt.PyJWK:
        """Return the key that a token must have been signed with.

        Args:
            kid: as the token names it; None where it doesn't.
            algorithm: of the token, one of `ALGORITHMS`.

        Raises:
            UnknownKey: there is none.
            KeysUnavailable: there may be one, but the keys can't be read.
        """
        known = bool(self._matching(kid, algorithm)) and not self._too_old()
        await self._refresh(self._refresh_s, waits=not (known and self._trouble))
        found = self._matching(kid, algorithm)
        if self._too_old() or not found:
            await self._refresh(AGAIN_S)
            found = self._matching(kid, algorithm)
        if self._too_old() or (self._trouble and not found):
            raise KeysUnavailable(f"the keys of tokens can't be read: {self._trouble}{self._age()}")
        if not found:
            what = f"key {kid[:80]!r}" if kid is not None else "a key without a name"
            raise UnknownKey(f"{what} for {algorithm} isn't in the JWKS{self._age()}")
        if kid is None and len(found) > 1:
            raise UnknownKey(f"it doesn't name its key (kid), and {len(found)} could have signed it")
        return found[0].key

    def _matching(self, kid: str | None, algorithm: str) -> list[Key]:
        return [each for each in self._keys if each.algorithm == algorithm and kid in (None, each.kid)]

    def _too_old(self) -> bool:
        return self._read_s is None or self._clock.monotonic() - self._read_s > self._keep_s

    def _age(self) -> str:
        if self._read_s is None:
            return "; they never were"
        return f"; it was read {self._clock.monotonic() - self._read_s:.0f} s ago"

    async def _refresh(self, after_s: float, *, waits: bool = True) -> None:
        """Read the keys again, unless that was tried in the last `after_s`.

        Args:
            after_s: see above.
            waits: for the outcome. Who has a key at hand doesn't, once an address has failed: it may hang.
        """
        if self._file is not None:
            self._look(self._file)
            return
        due = self._clock.monotonic() - self._tried_s >= after_s
        if due and self._fetching is None:
            self._tried_s = self._clock.monotonic()
            self._fetching = asyncio.create_task(self._get())
        if waits and self._fetching is not None:
            await asyncio.shield(self._fetching)

    def _look(self, file: Path) -> None:
        try:
            found = os.stat(file)
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            if stamp != self._stamp:
                self._know(read_keys(file.read_bytes()))
                self._stamp = stamp
        except (OSError, ValueError) as error:
            self._failed(error)
        else:
            self._read_s, self._trouble = self._clock.monotonic(), ""

    async def _get(self) -> None:
        try:
            if self._fetch is not None:
                self._know(read_keys(await self._fetch()))
        except (CrossfadeError, OSError, ValueError) as error:
            self._failed(error)
        else:
            self._read_s, self._trouble = self._clock.monotonic(), ""
        finally:
            self._fetching = None

    def _know(self, keys: tuple[Key, ...]) -> None:
        names = sorted({each.kid or "" for each in keys})
        if names != sorted({each.kid or "" for each in self._keys}) or self._trouble:
            log.info("the keys of tokens are read", source=self._source, keys=names)
        self._keys = keys

    def _failed(self, error: Exception) -> None:
        trouble = str(error) or type(error).__name__
        self._trouble = trouble if self._source in trouble else f"{self._source}: {trouble}"
        left_s = 0.0 if self._read_s is None else self._read_s + self._keep_s - self._clock.monotonic()
        log.warning(
            "the keys of tokens can't be read", error=self._trouble, last_ones_count_for_s=max(0, round(left_s))
        )
