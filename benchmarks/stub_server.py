"""A very cheap DynamoDB and Kinesis for benchmarks: it answers with the right shape and does nothing.

    python benchmarks/stub_server.py FILE     prints {"port": …} and serves until it is killed

What it knows: BatchExecuteStatement (as many empty responses as statements), TransactWriteItems, PutItem, UpdateItem,
DeleteItem, GetItem, BatchGetItem (nothing found), GetRecords (the lines of FILE, page after page, for ever),
GetShardIterator, ListShards. Answers carry the checksum that AWS sends. Loopback only.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import signal
import zlib
from pathlib import Path
from typing import Final, Protocol, cast

import httptools
import uvloop

EMPTY: Final = {
    b"PutItem",
    b"UpdateItem",
    b"DeleteItem",
    b"GetItem",
    b"TransactWriteItems",
}
SHARDS: Final = 4


def response(body: bytes) -> bytes:
    """Wrap a body as AWS does, checksum included."""
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nx-amzn-RequestId: {'STUB' * 13}\r\n"
        f"x-amz-crc32: {zlib.crc32(body)}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Canned:
    """Whole responses, each built once."""

    def __init__(self, payloads: list[bytes]) -> None:
        self._payloads = payloads
        self._pages: dict[tuple[int, int], bytes] = {}
        self.empty = response(b"{}")
        self.unknown = response(b'{"__type":"UnknownOperationException"}').replace(b"200 OK", b"400 Bad Request")
        self.shards = response(
            json.dumps(
                {
                    "Shards": [
                        {
                            "ShardId": f"shardId-{each:012d}",
                            "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "1"},
                            "SequenceNumberRange": {"StartingSequenceNumber": "1"},
                        }
                        for each in range(SHARDS)
                    ]
                }
            ).encode()
        )
        self.iterator = response(b'{"ShardIterator":"stub"}')
        self.nothing_found = response(b'{"Responses":{},"UnprocessedKeys":{}}')
        self._counted: dict[int, bytes] = {}

    def answer(self, operation: bytes, body: bytes) -> bytes:
        """Return the response to one request."""
        if operation == b"BatchExecuteStatement":
            return self._statements(body.count(b'"Statement":'))
        if operation in EMPTY:
            return self.empty
        if operation == b"GetRecords":
            request = json.loads(body)
            number = int(request["ShardIterator"].partition("-")[2] or 0)
            return self._page(number, int(request.get("Limit", 1000)))
        fixed = {
            b"ListShards": self.shards,
            b"GetShardIterator": self.iterator,
            b"BatchGetItem": self.nothing_found,
        }
        return fixed.get(operation, self.unknown)

    def _page(self, number: int, limit: int) -> bytes:
        start = number * limit % len(self._payloads)
        found = self._pages.get((start, limit))
        if found is None:
            chosen = self._payloads[start : start + limit]
            found = self._pages[start, limit] = response(_page(chosen, f"stub-{number + 1}"))
        return found

    def _statements(self, count: int) -> bytes:
        found = self._counted.get(count)
        if found is None:
            answers = b",".join([b'{"TableName":"engagement"}'] * count)
            found = self._counted[count] = response(b'{"Responses":[' + answers + b"]}")
        return found


def _page(payloads: list[bytes], following: str) -> bytes:
    records = [
        {
            "SequenceNumber": f"4966{number:052d}",
            "ApproximateArrivalTimestamp": 1_790_000_000.123,
            "Data": base64.b64encode(payload).decode(),
            "PartitionKey": f"{number:032x}",
        }
        for number, payload in enumerate(payloads)
    ]
    return json.dumps({"Records": records, "NextShardIterator": following, "MillisBehindLatest": 0}).encode()


class Answers(Protocol):
    """What a client is answered from."""

    def answer(self, operation: bytes, body: bytes) -> bytes:
        """Return the whole response to a request."""
        ...


class Client(asyncio.Protocol):
    """One client connection."""

    def __init__(self, canned: Answers) -> None:
        self._canned = canned
        self._parser = httptools.HttpRequestParser(self)
        self._operation = b""
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(name) == 12 and name.lower() == b"x-amz-target":
            self._operation = value.rpartition(b".")[2]

    def on_body(self, chunk: bytes) -> None:
        self._body.append(chunk)

    def on_message_complete(self) -> None:
        body, self._body = b"".join(self._body), []
        self._transport.write(self._canned.answer(self._operation, body))


async def serve(payloads: list[bytes]) -> None:
    """Serve on loopback until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    canned = Canned(payloads)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    server = await loop.create_server(lambda: Client(canned), "127.0.0.1", 0)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await stopped.wait()
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("payloads", type=Path, help="file of change records, one a line")
    uvloop.run(serve(parser.parse_args().payloads.read_bytes().splitlines()))


if __name__ == "__main__":
    main()
