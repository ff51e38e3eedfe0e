"""Marks of applied writes in Redis or Valkey (design.md, section 3, rule 7).

One MGET asks for a batch, one script marks it. Whatever goes wrong with the store, the answer is "no mark": then a
write goes out that might have been saved, and the fence refuses it. All keys of a call must live on one node.

After a failover the old primary may live on as a replica, and answer: reads with what it holds, writes with READONLY.
The name of the store leads to the new one by then, but an open connection does not. So an error answer, whatever it
says, closes all connections, and the next call looks the name up again.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import structlog
from hiredis import pack_command
from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError, ResponseError

from crossfade.core.replication.marks import mark_prefix, mark_value, marked_version
from crossfade.core.values.keys import Key
from crossfade.core.values.shape import Direction

log = structlog.get_logger()

DEFAULT_TTL_S: Final = 24 * 3600
TIMEOUT_S: Final = 0.25
"""For one call. A mark saves a write of some milliseconds; waiting longer for it would cost more than it saves."""

COOLDOWN_S: Final = 1.0
"""How long the store is left alone after a failure."""

# Versions are text of one length, so Lua's string comparison orders them; tonumber() would round them.
_RAISE: Final = b"""
local ttl_ms = ARGV[#ARGV]
for i, key in ipairs(KEYS) do
  local held = redis.call('GET', key)
  if not held or held < ARGV[i] then
    redis.call('SET', key, ARGV[i], 'PX', ttl_ms)
  end
end
"""
_RAISE_SHA: Final = hashlib.sha1(_RAISE, usedforsecurity=False).hexdigest().encode()


class RedisMarks:
    """The marks of one migration.

    Attributes:
        failures: calls since the start that the store did not answer, or refused.
    """

    def __init__(
        self,
        url: str,
        migration: str,
        *,
        ttl_s: float = DEFAULT_TTL_S,
        table_ids: Mapping[Direction, str] | None = None,
        timeout_s: float = TIMEOUT_S,
        cooldown_s: float = COOLDOWN_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare the client; nothing is opened before the first call.

        Args:
            url: "redis://127.0.0.1:6379/0".
            migration: name of the mapping.
            ttl_s: how long a mark is kept after it was last raised.
            table_ids: `TableId` of the destination table of each direction, as far as known; see `name_destination`.
            timeout_s: for one call.
            cooldown_s: how long to leave the store alone after a failure.
            now: monotonic clock in seconds.
        """
        self._redis: Any = Redis.from_url(url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s)
        self._migration = migration
        self._ttl_ms = b"%d" % int(ttl_s * 1000)
        self._timeout_s = timeout_s
        self._cooldown_s = cooldown_s
        self._now = now
        self._prefixes: dict[Direction, bytes] = {}
        self._quiet_until_s = float("-inf")
        self.failures = 0
        self._failing: set[str] = set()
        for direction, table_id in (table_ids or {}).items():
            self.name_destination(direction, table_id)

    @property
    def is_usable(self) -> bool:
        """Whether marks are found and made: the last call for each of the two went well."""
        return not self._failing

    def name_destination(self, direction: Direction, table_id: str) -> None:
        """Tell the destination table's `TableId`. Until it is known there are no marks for the direction."""
        self._prefixes[direction] = mark_prefix(self._migration, table_id, direction)

    async def seen(self, direction: Direction, keys: Sequence[Key]) -> list[int | None]:
        """See `crossfade.ports.dedup.Marks`."""
        prefix = self._prefixes.get(direction)
        if prefix is None or not keys:
            return [None] * len(keys)
        values = await self._ask("find", lambda: self._command(b"MGET", *[prefix + key for key in keys]))
        return [None] * len(keys) if values is None else [marked_version(value) for value in values]

    async def mark(self, direction: Direction, versions: Mapping[Key, int]) -> None:
        """See `crossfade.ports.dedup.Marks`."""
        prefix = self._prefixes.get(direction)
        if prefix is None or not versions:
            return
        arguments = [b"%d" % len(versions), *[prefix + key for key in versions]]
        arguments += map(mark_value, versions.values())
        arguments.append(self._ttl_ms)
        await self._ask("make", lambda: self._raise(arguments))

    async def _raise(self, arguments: list[bytes]) -> None:
        try:
            await self._command(b"EVALSHA", _RAISE_SHA, *arguments)
        except NoScriptError:  # never loaded, flushed, or another server by now
            await self._command(b"EVAL", _RAISE, *arguments)

    async def _command(self, *arguments: bytes) -> Any:
        """Send one command. The client's own packing is Python and costs more than the server's work."""
        pool = self._redis.connection_pool
        connection = await pool.get_connection()
        try:
            await connection.send_packed_command([pack_command(arguments)])  # type: ignore[arg-type]  # its stub means a tuple of any length
            return await connection.read_response()
        except ResponseError:  # the connection is in step; whether it is kept is for `_ask` to say
            raise
        except BaseException:
            await connection.disconnect(nowait=True)  # an answer may still come, and would be taken for the next one's
            raise
        finally:
            await pool.release(connection)

    async def _ask(self, what: str, call: Callable[[], Awaitable[Any]]) -> Any:
        if self._now() < self._quiet_until_s:
            return None
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await call()
        except (RedisError, OSError, TimeoutError) as error:
            self.failures += 1
            self._failing.add(what)
            self._quiet_until_s = self._now() + self._cooldown_s
            log.warning("marks unavailable", to=what, error=repr(error), cooldown_s=self._cooldown_s)
            with suppress(RedisError, OSError):  # they all lead to the same place
                await self._redis.connection_pool.disconnect(inuse_connections=False)
            return None
        if what in self._failing:
            self._failing.discard(what)
            log.info("marks are back", to=what)
        return answer

    async def close(self) -> None:
        """Drop all connections."""
        await self._redis.aclose()
