"""Addresses with secrets in them: read completely, as their users read them, and never repeated in a message."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

REDIS_SCHEMES: Final = ("redis", "rediss", "unix")
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
"""What is opened to this machine alone."""

HTTP_SCHEMES: Final = ("http", "https")

ENCODED: Final = "in a user name or password write % as %25, # as %23, / as %2F, ? as %3F, @ as %40, : as %3A"
"""The cure for nearly every address that is read as something else."""


class Address(NamedTuple):
    """Where to listen.

    Attributes:
        host: address to listen on.
        port: 0 for any free one.
        setting: name of the setting that says the port, for error messages.
    """

    host: str
    port: int
    setting: str = "port"


def redis_url(url: str) -> str:
    """Return the address of a Redis if a client reads it as it was meant.

    Clients ignore what they can't read (a path that is not a number, a query without values), so an unencoded
    password would connect them elsewhere, or end up in an error message of theirs. What this doesn't know are a
    client's own options after the ?: see `crossfade.runtime.marks_settings`.

    Args:
        url: redis://, rediss:// or unix://.

    Raises:
        ValueError: it isn't one; the message has no part of it.
    """
    split = _split(url, REDIS_SCHEMES)
    if split.scheme == "unix":
        if not split.path:
            raise ValueError("names no socket: unix:///path/to/socket")
    else:
        if not split.hostname:
            raise ValueError(f"names no host; {ENCODED}")
        database = split.path.removeprefix("/")
        if database and not (database.isascii() and database.isdecimal()):
            raise ValueError(f"what follows the host must be a database's number, as in redis://host:6379/0; {ENCODED}")
    if "@" in split.query:
        raise ValueError(f"has an @ after its ?; {ENCODED}")
    return url


def http_url(url: str) -> str:
    """Return an address of HTTP if it is one, and without credentials: nothing here would send them.

    Args:
        url: http:// or https://, of a service.

    Raises:
        ValueError: it isn't one; the message has no part of it.
    """
    split = _split(url, HTTP_SCHEMES)
    if split.username is not None or split.password is not None:
        raise ValueError("has a user name or password in it, which would not be sent: leave it out")
    if not split.hostname:
        raise ValueError("names no host")
    if split.query:
        raise ValueError("ends in a query, after a ?: leave it out")
    return url


def _split(url: str, schemes: tuple[str, ...]) -> SplitResult:
    """Split an address; `urlsplit` silently drops control characters, and its errors repeat the input."""
    if not url.startswith(tuple(f"{each}://" for each in schemes)):
        raise ValueError(f"must begin with {' or '.join(f'{each}://' for each in schemes)}")
    if any(each.isspace() or not each.isprintable() for each in url):
        raise ValueError("contains a space or a control character: does it end in a line break?")
    try:
        split = urlsplit(url)
        port = split.port
    except ValueError:
        raise ValueError(f"its host or port can't be read; {ENCODED}") from None
    if "#" in url:
        raise ValueError(f"has a # in it; {ENCODED}")
    if port == 0:
        raise ValueError("nothing can listen on port 0")
    return split
