"""A very cheap DynamoDB and Kinesis for benchmarks: it answers with the right shape and does nothing.

    python benchmarks/stub_server.py --port 0        # prints {"port": …} and serves until it is killed
    python benchmarks/stub_server.py --payloads F    # GetRecords gives the lines of F, page after page, for ever

What it knows: BatchExecuteStatement (as many empty responses as statements), TransactWriteItems, PutItem, UpdateItem,
DeleteItem, GetItem, BatchGetItem (nothing found), GetRecords (as many change records as the limit says, canned once),
GetShardIterator, ListShards, PutRecords. Answers carry the checksum that AWS sends. Loopback only.
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


def change_record(number: int, *, padding: int = 240) -> bytes:
    """Return one change record of an engagement wallet, about 1 kB of KDS JSON."""

    def image(version: int, balance: int) -> dict[str, object]:
        return {
            "pk": {"S": f"USER#{number:09d}"},
            "sk": {"S": f"POINTS#{number % 97}"},
            "balance": {"N": str(balance)},
            "note": {"S": "x" * padding},
            "cf_mv": {"N": str((1_790_000_000_000_000 << 10) + version)},
            "cf_role": {"S": "A"},
            "cf_gen": {"N": "1"},
            "cf_emv": {"N": str((1_790_000_000_000_000 << 10) + version)},
        }

    new = image(number + 2, 100 + number)
    old = image(number + 1, 90 + number)
    record = {
        "awsRegion": "us-east-1",
        "eventID": f"{number:032x}",
        "eventName": "MODIFY",
        "userIdentity": None,
        "recordFormat": "application/json",
        "tableName": "wallet",
        "dynamodb": {
            "ApproximateCreationDateTime": 1_790_000_000_000_000 + number,
            "ApproximateCreationDateTimePrecision": "MICROSECOND",
            "Keys": {"pk": new["pk"], "sk": new["sk"]},
            "NewImage": new,
            "OldImage": old,
            "SizeBytes": 700,
        },
        "eventSource": "aws:dynamodb",
    }
    return json.dumps(record, separators=(",", ":")).encode()


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
        self._counted: dict[tuple[bytes, int], bytes] = {}

    def answer(self, operation: bytes, body: bytes) -> bytes:
        """Return the response to one request."""
        if operation == b"BatchExecuteStatement":
            return self._counted_answer(operation, body.count(b'"Statement":'))
        if operation in EMPTY:
            return self.empty
        if operation == b"GetRecords":
            request = json.loads(body)
            limit = int(request.get("Limit", 1000))
            if self._payloads:
                return self._page(int(request["ShardIterator"].partition("-")[2] or 0), limit)
            return self._counted_answer(operation, limit)
        if operation == b"PutRecords":
            return self._counted_answer(operation, body.count(b'"Data":'))
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

    def _counted_answer(self, operation: bytes, count: int) -> bytes:
        found = self._counted.get((operation, count))
        if found is None:
            found = self._counted[operation, count] = response(COUNTED[operation](count))
        return found


def _statements(count: int) -> bytes:
    return b'{"Responses":[' + b",".join([b'{"TableName":"engagement"}'] * count) + b"]}"


def _records(count: int) -> bytes:
    return _page([change_record(number) for number in range(count)], "stub")


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


def _put(count: int) -> bytes:
    accepted = {"SequenceNumber": "1", "ShardId": "shardId-000000000000"}
    return json.dumps({"FailedRecordCount": 0, "Records": [accepted] * count}).encode()


COUNTED: Final = {b"BatchExecuteStatement": _statements, b"GetRecords": _records, b"PutRecords": _put}


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


async def serve(port: int, payloads: list[bytes]) -> None:
    """Serve on loopback until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    canned = Canned(payloads)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    server = await loop.create_server(lambda: Client(canned), "127.0.0.1", port)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await stopped.wait()
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--payloads", type=Path, help="file of change records, one a line, that GetRecords gives")
    options = parser.parse_args()
    payloads = options.payloads.read_bytes().splitlines() if options.payloads else []
    uvloop.run(serve(options.port, payloads))


if __name__ == "__main__":
    main()
