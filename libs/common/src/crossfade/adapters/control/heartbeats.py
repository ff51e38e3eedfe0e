"""Heartbeats in DynamoDB: who works under which flag document."""

from __future__ import annotations

import time
from collections.abc import Callable

from crossfade.adapters.control.rows import (
    beat_of,
    delete_request,
    heartbeat_of,
    heartbeat_row,
    key_of,
    put_request,
    query_request,
)
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.contracts.heartbeat import Heartbeat
from crossfade.core.migration.control import HEARTBEAT_PK


class Watch:
    """Says which pods' beats have not changed for their whole lease, on the watcher's own clock."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._seen: dict[str, tuple[object, float]] = {}

    def judge(self, beats: list[tuple[Heartbeat, object]]) -> list[Heartbeat]:
        """Mark the expired ones.

        Args:
            beats: each pod's heartbeat, and what changes with each beat.
        """
        now_s = self._monotonic()
        before, self._seen = self._seen, {}
        judged = []
        for heartbeat, beat in beats:
            seen = before.get(heartbeat.pod)
            if seen is None or seen[0] != beat:
                seen = (beat, now_s)
            self._seen[heartbeat.pod] = seen
            judged.append(heartbeat.replace(expired=now_s - seen[1] >= heartbeat.lease_s))
        return judged


class DynamoHeartbeats:
    """`crossfade.ports.control.Heartbeats` on a control table."""

    def __init__(self, db: DynamoDB, table: str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Take the client, the table's name and this process's clock."""
        self._db = db
        self._table = table
        self._watch = Watch(monotonic)
        self._beat = 0

    async def beat(self, heartbeat: Heartbeat) -> None:
        """Write the pod's heartbeat."""
        self._beat += 1
        await self._db.put_item(put_request(self._table, heartbeat_row(heartbeat, self._beat)))

    async def leave(self, pod: str) -> None:
        """Withdraw it, at a clean stop."""
        await self._db.delete_item(delete_request(self._table, key_of(HEARTBEAT_PK, pod)))

    async def all(self) -> list[Heartbeat]:
        """Return every pod's last heartbeat."""
        found: list[tuple[Heartbeat, object]] = []
        start = None
        while True:
            page = await self._db.query(query_request(self._table, HEARTBEAT_PK, start=start))
            found += [(heartbeat_of(row), beat_of(row)) for row in page.items]
            start = page.next_key
            if start is None:
                return self._watch.judge(found)
