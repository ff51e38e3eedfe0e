"""An endpoint of every AWS service at which IAM refuses each call, in the service's own protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

CODE = "AccessDeniedException"
AS_JSON = b'{"__type":"%b","message":"not authorized"}' % CODE.encode()
AS_XML = b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>not authorized</Message></Error></ErrorResponse>"
AS_CBOR = b"\xa1\x66__type\x75" + CODE.encode()


@asynccontextmanager
async def refusing(port: int | None = None, only: Collection[str] = ()) -> AsyncIterator[str]:
    """Serve on loopback; yield the endpoint's URL.

    Args:
        port: of an endpoint that answers the calls which are not refused; None where all are.
        only: operations to refuse, as "DynamoDB_20120810.DescribeTimeToLive"; all by default.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                headers = _headers(head)
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                if port is not None and headers.get("x-amz-target", "") not in only:
                    writer.write(await _passed_on(port, head, body))
                else:
                    writer.write(_refusal(headers, is_head=head.startswith(b"HEAD ")))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2**22)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}


def _refusal(headers: dict[str, str], *, is_head: bool) -> bytes:
    kind = headers.get("content-type", "")
    if "cbor" in kind or "smithy-protocol" in headers:
        body, told = AS_CBOR, "application/cbor\r\nsmithy-protocol: rpc-v2-cbor"
    elif "x-www-form-urlencoded" in kind:
        body, told = AS_XML, "text/xml"
    else:
        body, told = AS_JSON, "application/x-amz-json-1.0"
    head = f"HTTP/1.1 403 Forbidden\r\nx-amzn-errortype: {CODE}\r\ncontent-type: {told}\r\ncontent-length: {len(body)}"
    return f"{head}\r\n\r\n".encode() + (b"" if is_head else body)


async def _passed_on(port: int, head: bytes, body: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(head + body)
        await writer.drain()
        answered = await reader.readuntil(b"\r\n\r\n")
        return answered + await reader.readexactly(int(_headers(answered).get("content-length", "0")))
    finally:
        writer.close()
