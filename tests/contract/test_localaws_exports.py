"""Point-in-time recovery, exports to S3 and imports on the emulator."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

import pytest
from botocore.exceptions import ClientError

from localaws.fixture import Emulator, mends

pytestmark = pytest.mark.embedded

Item = dict[str, Any]
_numbers = count()


def n(number: int) -> Item:
    return {"N": str(number)}


def schema(name: str) -> Item:
    return {
        "TableName": name,
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
        "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
        "BillingMode": "PAY_PER_REQUEST",
    }


class Exported:
    """A table with a bucket for its exports."""

    def __init__(self, emulator: Emulator, *, recovery: bool = True) -> None:
        self.emulator, self.dynamodb, self.s3 = emulator, emulator.dynamodb, emulator.s3
        self.name = f"exported-{next(_numbers)}"
        self.dynamodb.create_table(**schema(self.name))
        self.s3.create_bucket(Bucket=self.name)
        self.arn = self.dynamodb.describe_table(TableName=self.name)["Table"]["TableArn"]
        if recovery:
            self.recover(enabled=True)

    def recover(self, *, enabled: bool) -> None:
        self.dynamodb.update_continuous_backups(
            TableName=self.name, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": enabled}
        )

    def put(self, key: str, value: int) -> None:
        self.dynamodb.put_item(TableName=self.name, Item={"pk": {"S": key}, "n": n(value)})

    def delete(self, key: str) -> None:
        self.dynamodb.delete_item(TableName=self.name, Key={"pk": {"S": key}})

    def export(self, **request: Any) -> Item:
        """Export and wait for the end."""
        request = {"TableArn": self.arn, "S3Bucket": self.name} | request
        shown: Item = self.dynamodb.export_table_to_point_in_time(**request)["ExportDescription"]
        deadline = time.monotonic() + 10
        while shown["ExportStatus"] == "IN_PROGRESS" and time.monotonic() < deadline:
            time.sleep(0.02)
            shown = self.dynamodb.describe_export(ExportArn=shown["ExportArn"])["ExportDescription"]
        return shown

    def text(self, key: str) -> bytes:
        body: bytes = self.s3.get_object(Bucket=self.name, Key=key)["Body"].read()
        return body

    def lines(self, export: Item) -> list[Item]:
        """Return the lines of all files that the manifest names."""
        summary = json.loads(self.text(export["ExportManifest"]))
        files = [json.loads(line) for line in self.text(summary["manifestFilesS3Key"]).splitlines()]
        texts = [gzip.decompress(self.text(each["dataFileS3Key"])) for each in files]
        return [json.loads(line) for text in texts for line in text.splitlines()]

    def contents(self, export: Item) -> dict[str, int]:
        return {line["Item"]["pk"]["S"]: int(line["Item"]["n"]["N"]) for line in self.lines(export)}


def md5(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()


def instant_s() -> float:
    """Return a time with a little room before and after it, in ms as clients send it."""
    time.sleep(0.02)
    now_s = round(time.time(), 3)
    time.sleep(0.02)
    return now_s


@mends("export")
def test_an_export_needs_point_in_time_recovery(emulator: Emulator) -> None:
    table = Exported(emulator, recovery=False)
    with pytest.raises(ClientError, match="PointInTimeRecoveryUnavailable"):
        table.export()
    table.recover(enabled=True)
    assert table.export()["ExportStatus"] == "COMPLETED"
    table.recover(enabled=False)
    with pytest.raises(ClientError, match="PointInTimeRecoveryUnavailable"):
        table.export()


@mends("point_in_time", "export")
def test_recovery_shows_since_when_it_reaches_back(emulator: Emulator) -> None:
    before_s = time.time()
    table = Exported(emulator)
    time.sleep(0.05)
    shown = emulator.dynamodb.describe_continuous_backups(TableName=table.name)["ContinuousBackupsDescription"]
    window = shown["PointInTimeRecoveryDescription"]
    assert window["PointInTimeRecoveryStatus"] == "ENABLED"
    assert (
        before_s - 0.01
        <= window["EarliestRestorableDateTime"].timestamp()
        < window["LatestRestorableDateTime"].timestamp()
    )


@mends("export")
def test_an_export_has_the_files_of_the_service(emulator: Emulator) -> None:
    table = Exported(emulator)
    for key in "abc":
        table.put(key, 1)
    export = table.export(S3Prefix="out")
    home = f"out/AWSDynamoDB/{export['ExportArn'].rpartition('/')[2]}"
    keys = [each["Key"] for each in emulator.s3.list_objects_v2(Bucket=table.name)["Contents"]]
    manifests = {f"manifest-{part}.{kind}" for part in ("files", "summary") for kind in ("json", "checksum")}
    assert {key.removeprefix(f"{home}/") for key in keys if "/data/" not in key} == {"_started", *manifests}
    summary_text = table.text(f"{home}/manifest-summary.json")
    assert table.text(f"{home}/manifest-summary.checksum") == md5(summary_text).encode()
    summary = json.loads(summary_text)
    assert (summary["itemCount"], summary["outputFormat"], summary["s3Prefix"]) == (3, "DYNAMODB_JSON", "out")
    assert summary["exportArn"] == export["ExportArn"]
    assert summary["billedSizeBytes"] == export["BilledSizeBytes"] > 0
    (file,) = [json.loads(line) for line in table.text(summary["manifestFilesS3Key"]).splitlines()]
    packed = table.text(file["dataFileS3Key"])
    assert file["dataFileS3Key"].startswith(f"{home}/data/")
    assert file["dataFileS3Key"].endswith(".json.gz")
    assert file["md5Checksum"] == md5(packed)
    assert file["etag"] in emulator.s3.head_object(Bucket=table.name, Key=file["dataFileS3Key"])["ETag"]
    assert (file["itemCount"], export["ItemCount"]) == (3, 3)
    assert gzip.decompress(packed).splitlines()[0].startswith(b'{"Item":{')


@mends("export")
def test_an_export_is_the_table_as_it_was_at_its_time(emulator: Emulator) -> None:
    table = Exported(emulator)
    for key in "abc":
        table.put(key, 1)
    at_s = instant_s()
    table.put("a", 2)
    table.delete("b")
    table.put("d", 2)
    table.put("b", 3)
    assert table.contents(table.export(ExportTime=at_s)) == {"a": 1, "b": 1, "c": 1}
    assert table.contents(table.export()) == {"a": 2, "b": 3, "c": 1, "d": 2}


@mends("export")
def test_an_export_of_a_time_before_recovery_is_refused(emulator: Emulator) -> None:
    table = Exported(emulator)
    with pytest.raises(ClientError, match="InvalidExportTime"):
        table.export(ExportTime=time.time() - 3600)


@mends("export")
def test_an_incremental_export_has_the_net_changes_from_inclusive_to_exclusive(emulator: Emulator) -> None:
    table = Exported(emulator)
    table.put("a", 1)
    table.put("gone", 1)
    from_s = instant_s()
    table.put("a", 2)
    table.put("a", 3)
    table.delete("gone")
    table.put("new", 1)
    to_s = instant_s()
    table.put("a", 4)
    export = table.export(
        ExportType="INCREMENTAL_EXPORT",
        IncrementalExportSpecification={"ExportFromTime": from_s, "ExportToTime": to_s},
    )
    lines = {line["Keys"]["pk"]["S"]: line for line in table.lines(export)}
    assert set(lines) == {"a", "gone", "new"}
    assert (lines["a"]["OldImage"]["n"], lines["a"]["NewImage"]["n"]) == (n(1), n(3))
    assert "NewImage" not in lines["gone"]
    assert "OldImage" not in lines["new"]
    written_us = int(lines["a"]["Metadata"]["WriteTimestampMicros"]["N"])
    assert from_s * 1e6 <= written_us < to_s * 1e6
    assert all("AWSDynamoDB/data/" in key for key in data_keys(table, export))


def data_keys(table: Exported, export: Item) -> list[str]:
    summary = json.loads(table.text(export["ExportManifest"]))
    return [json.loads(line)["dataFileS3Key"] for line in table.text(summary["manifestFilesS3Key"]).splitlines()]


@mends("export")
def test_an_export_without_its_bucket_fails(emulator: Emulator) -> None:
    table = Exported(emulator)
    assert table.export(S3Bucket="no-such-bucket-here")["ExportStatus"] == "FAILED"


class Imported:
    """A source of lines in S3, and the table that an import makes of it."""

    def __init__(self, emulator: Emulator, *lines: Item | str) -> None:
        self.dynamodb = emulator.dynamodb
        self.name = f"a-table-imported-{next(_numbers)}"
        emulator.s3.create_bucket(Bucket=self.name)
        text = "\n".join(line if isinstance(line, str) else json.dumps({"Item": line}) for line in lines)
        emulator.s3.put_object(Bucket=self.name, Key="source/a.json.gz", Body=gzip.compress(text.encode()))

    def start(self, **request: Any) -> Item:
        source = {"S3Bucket": self.name, "S3KeyPrefix": "source/"}
        shown: Item = self.dynamodb.import_table(
            **{"S3BucketSource": source, "InputFormat": "DYNAMODB_JSON", "InputCompressionType": "GZIP"}
            | {"TableCreationParameters": schema(self.name)}
            | request
        )["ImportTableDescription"]
        return shown

    def finish(self, started: Item) -> Item:
        deadline = time.monotonic() + 120
        while started["ImportStatus"] == "IN_PROGRESS" and time.monotonic() < deadline:
            time.sleep(0.02)
            started = self.dynamodb.describe_import(ImportArn=started["ImportArn"])["ImportTableDescription"]
        return started

    def count(self) -> int:
        return int(self.dynamodb.scan(TableName=self.name, Select="COUNT", ConsistentRead=True)["Count"])


def rows(count: int) -> list[Item]:
    return [{"pk": {"S": f"key {i}"}, "n": n(i), "text": {"S": "x" * 30}} for i in range(count)]


def test_an_import_makes_a_target_table_of_the_lines(emulator: Emulator) -> None:
    source = Imported(emulator, *rows(30))
    done = source.finish(source.start())
    assert (done["ImportStatus"], done["ImportedItemCount"], done["ProcessedItemCount"]) == ("COMPLETED", 30, 30)
    assert source.count() == 30
    with pytest.raises(ClientError, match="ResourceInUse"):
        source.start()


def error_code(call: Callable[[], object]) -> str:
    """Return the code of what a call is refused with; empty if it isn't."""
    try:
        call()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


@mends("import_table")
def test_a_table_can_not_be_used_while_it_is_imported(emulator: Emulator) -> None:
    dynamodb = emulator.dynamodb
    for _ in range(3):
        Exported(emulator)  # so that the one imported is on a page that others follow
    for wanted in (8_000, 40_000):  # what was tried counts if the import still ran afterwards
        source = Imported(emulator, *rows(wanted))
        started = source.start()
        table: dict[str, Any] = {"TableName": source.name}
        put = error_code(partial(dynamodb.put_item, **table, Item=rows(1)[0]))
        create = error_code(partial(dynamodb.create_table, **schema(source.name)))
        pages = dynamodb.get_paginator("list_tables").paginate(PaginationConfig={"PageSize": 2})
        names = [name for page in pages for name in page["TableNames"]]
        status = dynamodb.describe_table(**table)["Table"]["TableStatus"]
        if status == "CREATING":
            break
    assert (status, put, create) == ("CREATING", "ResourceNotFoundException", "ResourceInUseException")
    assert names.count(source.name) == 1
    assert source.finish(started)["ImportStatus"] == "COMPLETED"
    opened = dynamodb.describe_table(**table)["Table"]
    assert (opened["TableStatus"], opened["ItemCount"]) == ("ACTIVE", wanted)


def test_bad_items_are_left_out_and_the_import_fails_with_a_partial_table(emulator: Emulator) -> None:
    bad: list[Item | str] = ["{", {"n": n(1)}, {"pk": n(1)}, {"pk": {"S": "x"}, "n": {"N": "many"}}]
    source = Imported(emulator, *rows(10), *bad)
    done = source.finish(source.start())
    assert (done["ImportStatus"], done["FailureCode"]) == ("FAILED", "ItemValidationError")
    assert (done["ImportedItemCount"], done["ErrorCount"]) == (10, 4)
    assert source.count() == 10


def test_an_import_of_nothing_fails_and_makes_no_table(emulator: Emulator) -> None:
    source = Imported(emulator)
    done = source.finish(source.start(S3BucketSource={"S3Bucket": source.name, "S3KeyPrefix": "elsewhere/"}))
    assert done["ImportStatus"] == "FAILED"
    with pytest.raises(ClientError, match="ResourceNotFound"):
        emulator.dynamodb.describe_table(TableName=source.name)


def test_what_an_export_wrote_can_be_imported(emulator: Emulator) -> None:
    table = Exported(emulator)
    table.put("a", 1)
    export = table.export()
    source = Imported(emulator)
    prefix = data_keys(table, export)[0].rpartition("/")[0]
    done = source.finish(source.start(S3BucketSource={"S3Bucket": table.name, "S3KeyPrefix": prefix}))
    assert (done["ImportStatus"], done["ImportedItemCount"]) == ("COMPLETED", 1)
