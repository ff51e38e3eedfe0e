"""ImportTable: the table cannot be used before it is complete, and loading leaves room for requests.

ministack 1.5.33 shows the target table as ACTIVE at once and takes reads and writes of it, waits a second
before it begins, and loads it in a thread that holds the interpreter from the requests.

Source: Amazon DynamoDB developer guide, "DynamoDB data import from Amazon S3": the table is in CREATING and
cannot be accessed until the import is over; API reference of ImportTable.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import ministack.services.dynamodb as dynamodb
import msgspec
from ministack.core.responses import AccountRegionScopedDict, error_response_json, json_response

from localaws.patches.change_records import capture
from localaws.patches.registry import patch

Json = dict[str, Any]
Answer = tuple[int, dict[str, str], Any]

ITEMS_PER_STEP = 100
"""Stored in one go on the event loop, 2 to 3 ms; requests go on between the steps."""

PARTIAL = (
    "Some of the items failed validation checks and were not imported. "
    "Please check CloudWatch error logs for more details."
)

_creating = AccountRegionScopedDict()
"""Tables that an import fills: name to ministack's table. They are not among its tables yet."""

_decode = msgspec.json.Decoder().decode


@patch("import_table", dynamodb, "_import_table")
def import_table(original: Any) -> Any:
    """Starts an import into a table that nobody can use before it is over."""

    def mended(request: Json) -> Answer:
        name = (request.get("TableCreationParameters") or {}).get("TableName")
        return _in_use(str(name)) if name in _creating else cast(Answer, original(request))

    return mended


@patch("import_table", dynamodb, "spawn_background")
def run_on_the_loop(original: Any) -> Any:
    """Takes over the import's thread; every other background work stays a thread."""

    def mended(work: Any, *arguments: Any, **options: Any) -> Any:
        if options.get("thread_name") != "ministack-ddb-import":
            return original(work, *arguments, **options)
        import_arn, name = arguments
        if dynamodb._imports[import_arn]["InputFormat"] != "DYNAMODB_JSON":
            return original(work, *arguments, **options)
        table = dynamodb._tables.pop(name)
        table["TableStatus"] = "CREATING"
        _creating[name] = table
        capture.later(_load(dynamodb._imports[import_arn], table))
        return None

    return mended


async def _load(description: Json, table: Json) -> None:
    """Fill the table, open it, and note the end of the import in its description."""
    name = table["TableName"]
    failure: tuple[str, str] | None = None
    opens = True
    try:
        compression = description.get("InputCompressionType") or "NONE"
        if compression not in ("NONE", "GZIP"):
            message = f"localaws reads no {compression}"
            raise dynamodb._ImportFailed("InputCompressionTypeNotSupported", message, table_created=False)
        bucket, objects = dynamodb._import_source_objects(description["S3BucketSource"], compression)
        for key, text in objects:
            description["ProcessedSizeBytes"] += len(text)
            await _load_object(description, table, bucket, key, text)
    except dynamodb._ImportFailed as error:
        failure, opens = (error.code, error.message), error.table_created
    except Exception as error:  # an import that ends without a word would be waited for forever
        failure = ("InternalServerError", repr(error))
    _creating.pop(name, None)
    if opens:
        table["TableStatus"] = "ACTIVE"
        dynamodb._tables[name] = table
    if failure is None and description["ErrorCount"]:
        failure = ("ItemValidationError", PARTIAL)
    dynamodb._finish_import(description, "FAILED" if failure else "COMPLETED", *(failure or ()))


async def _load_object(description: Json, table: Json, bucket: str, key: str, text: bytes) -> None:
    for index, line in enumerate(text.split(b"\n")):
        if index % ITEMS_PER_STEP == 0:
            await asyncio.sleep(0)
        if not line.strip():
            continue
        description["ProcessedItemCount"] += 1
        if (wrong := _store(table, line)) is None:
            description["ImportedItemCount"] += 1
        else:
            description["ErrorCount"] += 1
            dynamodb._log_import_error(description["ImportArn"], bucket, key, index, wrong)


def _store(table: Json, line: bytes) -> str | None:
    """Store the item of a line; return what is wrong with it."""
    try:
        item = _decode(line)["Item"]
        names = [name for name in (table["pk_name"], table["sk_name"]) if name]
        if missing := [name for name in names if name not in item]:
            return f"One or more parameter values were invalid: Missing the key {missing[0]} in the item"
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        return f"The item is not in DYNAMODB_JSON format: {error!r}"
    refusal = dynamodb._validate_item(item, table["pk_name"], table["sk_name"]) or dynamodb._validate_index_key_values(
        table, item
    )
    if refusal:
        return str(dynamodb._import_error_message(refusal[2]))
    if mismatch := dynamodb._key_type_mismatch_reason(table, item):
        return str(mismatch)
    sort = dynamodb._extract_key_val(item[table["sk_name"]]) if table["sk_name"] else "__no_sort__"
    dynamodb._set_item(table, dynamodb._extract_key_val(item[table["pk_name"]]), sort, item)
    return None


def _in_use(name: str) -> Answer:
    return cast(Answer, error_response_json("ResourceInUseException", f"Table already exists: {name}", 400))


@patch("import_table", dynamodb, "_create_table")
def create_table(original: Any) -> Any:
    """A table that is being imported is there, though nobody can use it."""

    def mended(request: Json) -> Answer:
        name = request.get("TableName")
        return _in_use(str(name)) if name in _creating else cast(Answer, original(request))

    return mended


@patch("import_table", dynamodb, "_describe_table")
def describe_table(original: Any) -> Any:
    """Shows a table that is being imported as CREATING."""

    def mended(request: Json) -> Answer:
        name = dynamodb._normalize_table_name(request.get("TableName"))
        table = _creating.get(name)
        if table is None:
            return cast(Answer, original(request))
        dynamodb._tables[name] = table
        try:
            shown = dynamodb._table_description(name)
        finally:
            del dynamodb._tables[name]
        return cast(Answer, json_response({"Table": shown}))

    return mended


@patch("import_table", dynamodb, "_list_tables")
def list_tables(original: Any) -> Any:
    """Lists a table that is being imported, on the page where it belongs."""

    def mended(request: Json) -> Answer:
        status, headers, body = original(request)
        names = [name for name in _creating.keys() if name > (request.get("ExclusiveStartTableName") or "")]  # noqa: SIM118  # iterating the store itself is not scoped to the account
        if status == 200 and names:
            shown = json.loads(body)
            last = shown.pop("LastEvaluatedTableName", None)
            here = sorted({*shown["TableNames"], *(name for name in names if last is None or name <= last)})
            limit = int(request.get("Limit") or 100)
            shown["TableNames"] = here[:limit]
            if last is not None or len(here) > limit:
                shown["LastEvaluatedTableName"] = here[:limit][-1]
            body = json.dumps(shown).encode()
        return status, headers, body

    return mended
