"""Settings of the services that keep marks in Redis; the others are told the same address and never import a client."""

from __future__ import annotations

from pydantic import field_validator
from redis.asyncio import ConnectionPool

from crossfade.runtime.settings import ServiceSettings
from crossfade.runtime.urls import ENCODED, redis_url


class MarksSettings(ServiceSettings):
    """Settings of a service that reads or raises marks."""

    @field_validator("redis_url")
    @classmethod
    def _client_takes_it(cls, value: str | None) -> str | None:
        return client_url(value) if value else None


def client_url(url: str) -> str:
    """Return the address of a Redis if it is one that our client takes, options and all.

    Args:
        url: redis://, rediss:// or unix://.

    Raises:
        ValueError: it isn't; the message has no part of it.
    """
    redis_url(url)
    try:
        ConnectionPool.from_url(url).make_connection()  # opens nothing
    except Exception:  # whatever the client raises may repeat the address
        raise ValueError(f"the Redis client doesn't accept it, or an option after its ?; {ENCODED}") from None
    return url
