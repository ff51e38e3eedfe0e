"""One control plane, one reader of streams and one source of metrics where the two tables are in two places.

Callers name a table, a stream or an ARN, which says whose it is: no two of a migration are spelled alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast

from crossfade.core.values.shape import Side, table_name
from crossfade.ports.admin import Metrics, TableAdmin
from crossfade.ports.streams import Fetched, StreamReader, StreamShard

_MARK: Final = "|"
"""Between a side and an iterator of Kinesis, which is base64."""


class Whose(NamedTuple):
    """What belongs to which side.

    Attributes:
        tables: each side's table, as the mapping has it: a name or an ARN.
        streams: each side's change stream.
    """

    tables: Mapping[Side, str]
    streams: Mapping[Side, str]

    def side_of(self, reference: str) -> Side | None:
        """Return the side that a table, a stream, or an ARN of either or of an export or import belongs to.

        None for home's: the feed stream, the control tables.
        """
        for side, table in self.tables.items():
            if reference == table or reference.startswith(f"{table}/") or reference == self.streams[side]:
                return side
        bare = reference.split("/")[1] if reference.startswith("arn:") and "/" in reference else reference
        named = [side for side, table in self.tables.items() if table_name(table) == bare]
        named += [side for side, stream in self.streams.items() if stream == bare]
        return named[0] if len(named) == 1 else None


class _Routed:
    """Calls of a port whose first argument says whose they are."""

    def __init__(self, ports: Mapping[Side | None, Any], whose: Whose) -> None:
        self._ports, self._whose = ports, whose

    def __getattr__(self, name: str) -> Any:
        async def call(reference: str, *arguments: Any, **named: Any) -> Any:
            return await getattr(self._ports[self._whose.side_of(reference)], name)(reference, *arguments, **named)

        return call


def sided_admin(admins: Mapping[Side | None, TableAdmin], whose: Whose) -> TableAdmin:
    """Return the control plane of both sides, and of home (None)."""
    return cast("TableAdmin", _Routed(admins, whose))


def sided_metrics(metrics: Mapping[Side | None, Metrics], whose: Whose) -> Metrics:
    """Return the metrics of both sides."""
    return cast("Metrics", _Routed(metrics, whose))


class SidedStreams:
    """Reads the streams of both sides, and of home: implements `crossfade.ports.streams.StreamReader`."""

    def __init__(self, readers: Mapping[Side | None, StreamReader], whose: Whose) -> None:
        """Take a reader of each side, and of home (None)."""
        self._readers, self._whose = readers, whose

    async def list_shards(self, stream: str) -> list[StreamShard]:
        """See `crossfade.ports.streams.StreamReader`."""
        return await self._readers[self._whose.side_of(stream)].list_shards(stream)

    async def shard_iterator(
        self, stream: str, shard_id: str, *, after: str | None = None, at_s: float | None = None, latest: bool = False
    ) -> str:
        """See `crossfade.ports.streams.StreamReader`; the iterator remembers whose it is."""
        side = self._whose.side_of(stream)
        found = await self._readers[side].shard_iterator(stream, shard_id, after=after, at_s=at_s, latest=latest)
        return f"{side.value if side else ''}{_MARK}{found}"

    async def get_records(self, iterator: str, limit: int = 1000) -> Fetched:
        """See `crossfade.ports.streams.StreamReader`."""
        side, _, found = iterator.partition(_MARK)
        fetched = await self._readers[Side(side) if side else None].get_records(found, limit)
        follows = fetched.next_iterator
        return fetched if follows is None else fetched._replace(next_iterator=f"{side}{_MARK}{follows}")
