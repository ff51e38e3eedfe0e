"""An answer is the same however the network cuts it, and records are cut into requests without loss."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from crossfade.adapters.kinesis import MAX_PUT_BYTES, MAX_PUT_RECORDS, cut
from crossfade.adapters.wire.connection import Answer, Connection


class FakeTransport(asyncio.Transport):
    """Collects what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.closing = False
        self.written: list[bytes] = []

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closing

    def abort(self) -> None:
        self.closing = True


def chunked(body: bytes, sizes: list[int]) -> bytes:
    framed, rest = b"", body
    for size in sizes:
        piece, rest = rest[:size], rest[size:]
        if piece:
            framed += b"%x\r\n%b\r\n" % (len(piece), piece)
    if rest:
        framed += b"%x\r\n%b\r\n" % (len(rest), rest)
    return b"HTTP/1.1 200 OK\r\nX-Amz-CRC32: 7\r\nTransfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"


def sized(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nX-Amz-CRC32: 7\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


@given(
    bodies=st.lists(st.binary(max_size=200), min_size=1, max_size=3),
    chunk_sizes=st.none() | st.lists(st.integers(1, 80), max_size=4),
    cuts=st.lists(st.integers(0, 600), max_size=12),
)
def test_answers_on_one_connection_survive_any_framing_and_any_cut(
    bodies: list[bytes], chunk_sizes: list[int] | None, cuts: list[int]
) -> None:
    async def play() -> list[Answer]:
        connection = Connection(lambda _: None)
        connection.connection_made(FakeTransport())
        answers = []
        for body in bodies:
            exchange = asyncio.ensure_future(connection.exchange(b"request"))
            await asyncio.sleep(0)
            wire = sized(body) if chunk_sizes is None else chunked(body, chunk_sizes)
            edges = [0, *sorted(cut for cut in cuts if cut < len(wire)), len(wire)]
            for start, end in itertools.pairwise(edges):
                if start < end:
                    connection.data_received(wire[start:end])
            answers.append(await exchange)
            assert connection.reusable
        return answers

    answers = asyncio.run(play())
    assert [answer.body for answer in answers] == bodies
    assert {(answer.status, answer.headers[b"x-amz-crc32"]) for answer in answers} == {(200, b"7")}


@given(
    st.lists(st.sampled_from([0, 1, 700, 1_000_000, 1_048_576, MAX_PUT_BYTES]) | st.integers(0, 20_000), max_size=1200)
)
def test_records_are_cut_into_requests_within_both_limits_in_order_and_none_is_lost(sizes: list[int]) -> None:
    chunks = cut(sizes)
    assert [index for chunk in chunks for index in chunk] == list(range(len(sizes)))
    for chunk in chunks:
        assert 1 <= len(chunk) <= MAX_PUT_RECORDS
        assert sum(sizes[index] for index in chunk) <= MAX_PUT_BYTES
    for before, after in itertools.pairwise(chunks):
        together = sum(sizes[index] for index in before) + sizes[after[0]]
        assert len(before) == MAX_PUT_RECORDS or together > MAX_PUT_BYTES, "a request could have held more"
