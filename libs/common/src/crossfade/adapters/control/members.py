"""The plain protocol's members in DynamoDB, in the table of reports.

pk "member"   sk the member's name   what it says of itself
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from crossfade.adapters.control.rows import BODY, delete_request, key_of, put_request, query_request
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.contracts.owning import MemberBeat
from crossfade.core.migration.control import MEMBER_PK
from crossfade.core.protocol.plain.members import Member
from crossfade.core.values import image as wire

LEASE_S: Final = 10.0
"""How long a beat is valid, unless the member says otherwise."""


class Silence:
    """Says how long each member has not beaten, on the watcher's own clock."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._seen: dict[str, tuple[int, float]] = {}

    def judge(self, beats: Sequence[MemberBeat]) -> list[Member]:
        """Return the members. One that is seen for the first time counts as live for a lease, which is safe: a dead
        one is waited for a little longer.
        """
        now_s = self._monotonic()
        before, self._seen = self._seen, {}
        judged = []
        for each in beats:
            beat, since_s = before.get(each.name, (0, now_s))
            if beat != each.beat:
                since_s = now_s
            self._seen[each.name] = (each.beat, since_s)
            silent_s = now_s - since_s
            judged.append(
                Member(
                    each.name,
                    each.duty,
                    each.acked,
                    each.unanswered_s,
                    silent_s < each.lease_s,
                    silent_s,
                    each.lease_s,
                )
            )
        return judged


class DynamoMembers:
    """`crossfade.ports.members.Members` on a control table."""

    def __init__(
        self,
        db: DynamoDB,
        table: str,
        *,
        lease_s: float = LEASE_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the client and the name of the table of reports.

        Args:
            db: the data plane.
            table: its name.
            lease_s: how long a beat of this process is valid.
            monotonic: this process's clock.
        """
        self._db = db
        self._table = table
        self._lease_s = lease_s
        self._silence = Silence(monotonic)
        self._beat = 0

    async def beat(self, name: str, duty: str, *, acked: int, unanswered_s: float) -> None:
        """Register, and stay registered."""
        self._beat += 1
        said = MemberBeat(
            name=name, duty=duty, acked=acked, unanswered_s=unanswered_s, lease_s=self._lease_s, beat=self._beat
        )
        row = key_of(MEMBER_PK, name) | {BODY: wire.of_string(said.to_text())}
        await self._db.put_item(put_request(self._table, row))

    async def leave(self, name: str) -> None:
        """Leave, with nothing on the wire."""
        await self._db.delete_item(delete_request(self._table, key_of(MEMBER_PK, name)))

    async def all(self) -> list[Member]:
        """Return all that have not left."""
        found: list[MemberBeat] = []
        start = None
        while True:
            page = await self._db.query(query_request(self._table, MEMBER_PK, start=start))
            found += [MemberBeat.of_text(wire.string(row[BODY])) for row in page.items]
            start = page.next_key
            if start is None:
                return self._silence.judge(found)

    async def bury(self, name: str) -> None:
        """Take out one that died."""
        await self.leave(name)
