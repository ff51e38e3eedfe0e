"""One S3 bucket and the service's metrics, on aiobotocore. Importing it is slow, so a client is created at first
use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from crossfade.core.values.errors import SnapshotBroken, StoreUnavailable
from crossfade.core.values.shape import table_name

NO_SUCH: Final = frozenset({"NoSuchKey", "NoSuchBucket", "404", "NotFound"})

PART_BYTES: Final = 1024 * 1024
"""Of an object, read at once."""

UPLOAD_BYTES: Final = 8 * 1024 * 1024
"""Of an object, sent at once; S3 takes parts of 5 MiB or more, and 10,000 of them."""

NAMESPACE: Final = "AWS/DynamoDB"
UNREPLICATED: Final = "AgeOfOldestUnreplicatedRecord"

METRIC_WINDOW_S: Final = 300
"""How far back a metric's last value may lie: it comes once a minute."""


class LazyClient:
    """An aiobotocore client, created when it is first needed."""

    def __init__(self, make: Callable[[], AbstractAsyncContextManager[Any]]) -> None:
        """Take what makes it: `lambda: control_client(settings, "s3")`."""
        self._make = make
        self._stack = AsyncExitStack()
        self._client: Any = None

    async def get(self) -> Any:
        """Return the client."""
        if self._client is None:
            self._client = await self._stack.enter_async_context(self._make())
        return self._client

    async def close(self) -> None:
        """Close it, if it was created."""
        self._client = None
        await self._stack.aclose()


@contextmanager
def _typed(call: str) -> Iterator[None]:
    """Turn botocore's errors into ours, so that a caller knows that it may retry."""
    from botocore.exceptions import BotoCoreError, ClientError  # it is there already when a call is made

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise StoreUnavailable(f"{call}: {error}") from error


class S3Objects:
    """`crossfade.ports.admin.Objects` on S3."""

    def __init__(self, client: LazyClient, bucket: str) -> None:
        """Take the client and the bucket's name."""
        self._client = client
        self._bucket = bucket

    async def exists(self) -> bool:
        """Say whether the bucket exists and may be read."""
        client = await self._client.get()
        with _typed(f"HeadBucket {self._bucket}"):
            try:
                await client.head_bucket(Bucket=self._bucket)
            except client.exceptions.ClientError:
                return False
        return True

    async def get(self, key: str) -> bytes | None:
        """Return an object; None if it doesn't exist."""
        client = await self._client.get()
        with _typed(f"GetObject {key}"):
            try:
                answer = await client.get_object(Bucket=self._bucket, Key=key)
            except client.exceptions.ClientError as error:
                if error.response["Error"]["Code"] in NO_SUCH:
                    return None
                raise
            async with answer["Body"] as body:
                content: bytes = await body.read()
        return content

    async def fetch(self, key: str, path: Path) -> None:
        """Copy an object into a file, a part at a time: its memory doesn't grow with the object.

        Raises:
            StoreUnavailable: S3 doesn't answer, or there is no such object.
        """
        client = await self._client.get()
        with _typed(f"GetObject {key}"), path.open("wb") as file:
            answer = await client.get_object(Bucket=self._bucket, Key=key)
            async with answer["Body"] as body:
                async for part in body.iter_chunks(PART_BYTES):
                    file.write(part)

    async def read(self, key: str) -> AsyncIterator[bytes]:
        """Yield an object in pieces of a megabyte at most.

        Raises:
            SnapshotBroken: there is no such object.
            StoreUnavailable: S3 doesn't answer.
        """
        client = await self._client.get()
        with _typed(f"GetObject {key}"):
            try:
                answer = await client.get_object(Bucket=self._bucket, Key=key)
            except client.exceptions.ClientError as error:
                if error.response["Error"]["Code"] in NO_SUCH:
                    raise SnapshotBroken(f"{key} is missing from {self._bucket}") from error
                raise
        async with answer["Body"] as body:
            pieces = body.iter_chunks(PART_BYTES)
            while True:
                with _typed(f"GetObject {key}"):  # never around a yield: the reader's errors are its own
                    try:
                        piece: bytes = await anext(pieces)
                    except StopAsyncIteration:
                        return
                yield piece

    async def write(self, key: str, pieces: AsyncIterator[bytes]) -> None:
        """Write an object as its pieces come; nothing without a piece.

        A short one is one request; a long one goes up in parts, and appears when all of them are there.

        Raises:
            StoreUnavailable: S3 doesn't answer.
        """
        held, upload = bytearray(), None
        try:
            async for piece in pieces:
                held += piece
                if len(held) >= UPLOAD_BYTES:
                    upload = upload or await _Upload.begin(await self._client.get(), self._bucket, key)
                    await upload.part(bytes(held))
                    held.clear()
            if upload is not None:
                if held:
                    await upload.part(bytes(held))
                await upload.complete()
        except BaseException:
            if upload is not None:
                await upload.abort()
            raise
        if upload is None and held:
            await self.put(key, bytes(held))

    async def put(self, key: str, body: bytes) -> None:
        """Write a whole object."""
        client = await self._client.get()
        with _typed(f"PutObject {key}"):
            await client.put_object(Bucket=self._bucket, Key=key, Body=body)

    async def keys(self, prefix: str) -> list[str]:
        """Return the keys with a prefix, in order."""
        client = await self._client.get()
        found: list[str] = []
        with _typed(f"ListObjectsV2 {prefix}"):
            async for page in client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
                found += [each["Key"] for each in page.get("Contents", [])]
        return sorted(found)

    async def remove(self, key: str) -> None:
        """Remove an object; nothing if it doesn't exist."""
        client = await self._client.get()
        with _typed(f"DeleteObject {key}"):
            await client.delete_object(Bucket=self._bucket, Key=key)


class _Upload:
    """An object that goes up in parts."""

    def __init__(self, client: Any, place: dict[str, str]) -> None:
        self._client, self._place = client, place
        self._parts: list[dict[str, Any]] = []

    @classmethod
    async def begin(cls, client: Any, bucket: str, key: str) -> _Upload:
        place = {"Bucket": bucket, "Key": key}
        with _typed(f"CreateMultipartUpload {key}"):
            answer = await client.create_multipart_upload(**place)
        return cls(client, {**place, "UploadId": answer["UploadId"]})

    async def part(self, body: bytes) -> None:
        number = len(self._parts) + 1
        with _typed(f"UploadPart {number} of {self._place['Key']}"):
            answer = await self._client.upload_part(**self._place, PartNumber=number, Body=body)
        self._parts.append({"PartNumber": number, "ETag": answer["ETag"]})

    async def complete(self) -> None:
        with _typed(f"CompleteMultipartUpload {self._place['Key']}"):
            await self._client.complete_multipart_upload(**self._place, MultipartUpload={"Parts": self._parts})

    async def abort(self) -> None:
        """Remove the parts; what can't be removed now, the bucket's rule for unfinished uploads does."""
        with suppress(StoreUnavailable), _typed(f"AbortMultipartUpload {self._place['Key']}"):
            await self._client.abort_multipart_upload(**self._place)


class CloudWatchMetrics:
    """`crossfade.ports.admin.Metrics` on CloudWatch."""

    def __init__(self, client: LazyClient, *, period_s: int = 60) -> None:
        """Take the client.

        Args:
            client: of CloudWatch.
            period_s: over which the highest value is taken; the service publishes once a minute.
        """
        self._client = client
        self._period_s = period_s
        self._dimensions: dict[str, list[list[dict[str, str]]]] = {}

    async def unreplicated_s(self, table: str) -> float | None:
        """Return the last value of AgeOfOldestUnreplicatedRecord, in seconds; None when there is no recent one.

        The metric is listed first: AWS documents that it has a dimension DelegatedOperation, but not its value.
        """
        client = await self._client.get()
        found = self._dimensions.get(table)
        if not found:
            listed = await client.list_metrics(
                Namespace=NAMESPACE,
                MetricName=UNREPLICATED,
                Dimensions=[{"Name": "TableName", "Value": table_name(table)}],
            )
            found = self._dimensions[table] = [each["Dimensions"] for each in listed["Metrics"]]
        now = datetime.now(UTC)
        last: list[tuple[datetime, float]] = []
        for dimensions in found:
            answer = await client.get_metric_statistics(
                Namespace=NAMESPACE,
                MetricName=UNREPLICATED,
                Dimensions=dimensions,
                StartTime=now - timedelta(seconds=METRIC_WINDOW_S),
                EndTime=now + timedelta(seconds=1),
                Period=self._period_s,
                Statistics=["Maximum"],
            )
            last += [(each["Timestamp"], float(each["Maximum"])) for each in answer["Datapoints"]]
        return max(last)[1] / 1000 if last else None
