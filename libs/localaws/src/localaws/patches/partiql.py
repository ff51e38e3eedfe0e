"""PartiQL as DynamoDB takes it, in a single statement and in a batch.

What ministack 1.5.33 gets wrong, by the name of the patch. `partiql_or`: an OR beside the key equality
hides the key. `partiql_update`: the second SET sees what the first wrote, paths may overlap, and keys of
secondary indexes are not checked; indexes of lists are taken one after the other.
`partiql_functions`: no if_not_exists, no list_append, and begins_with compares base64 text.
`partiql_insert`: takes `INSERT … VALUE ?`, which the service refuses, and checks nothing but the size.
`partiql_parameters`: takes more parameters than the statement has, numbers as they were written
(`007.50`), and statements of any length. `partiql_batch`: one key twice in a batch runs twice.

Source: seen on AWS's own engine (DynamoDB Local 2.5.4), docs/aws-facts.md; PartiQL for DynamoDB
reference in the developer guide.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from typing import Any, cast

import ministack.services.dynamodb as dynamodb
from ministack.core.responses import error_response_json, json_response

from localaws.patches.paths import order_of, overlap
from localaws.patches.registry import patch
from localaws.patches.statements import marks

Json = dict[str, Any]
Answer = tuple[int, dict[str, str], Any]

LONGEST_STATEMENT = 8192
NOTHING_RETURNED = b'{"Items":[]}'


def _invalid(message: str) -> Answer:
    return cast(Answer, error_response_json("ValidationException", message, 400))


@patch("partiql_or", dynamodb, "_pq_conditions")
def conditions_beside_or(original: Any) -> Any:
    """An OR among the conjuncts is a condition like any other; the key is named beside it."""

    def mended(where: tuple[Any, ...] | None) -> list[Any]:
        found: list[Any] = []
        waiting = [where] if where is not None else []
        while waiting:
            node = waiting.pop()
            if node[0] == "and":
                waiting += (node[2], node[1])
            elif node[0] != "or":
                found += original(node)
        return found

    return mended


@patch("partiql_functions", dynamodb, "_pq_call")
def functions(original: Any) -> Any:
    """The functions that a SET may use, and begins_with on bytes."""

    def mended(name: str, arguments: list[Json | None], nodes: list[Any]) -> Json | None:
        if name == "if_not_exists" and len(arguments) == 2:
            return arguments[0] if arguments[0] is not None else arguments[1]
        if name == "list_append" and len(arguments) == 2:
            first, second = arguments
            if not (first and second and "L" in first and "L" in second):
                raise ValueError("An operand in the update expression has an incorrect data type")
            return {"L": first["L"] + second["L"]}
        if name == "begins_with" and all(part is not None and "B" in part for part in arguments):
            value, prefix = (base64.b64decode((part or {})["B"]) for part in arguments)
            return {"BOOL": value.startswith(prefix)}
        answer: Json | None = original(name, arguments, nodes)
        return answer

    return mended


def _assigned(item: Json, value: tuple[Any, ...], path: list[Any]) -> Json | None:
    """Return what a SET puts at its path, all operands read from `item`; None removes the attribute."""
    if value[0] == "setfn":
        result: Json | None = dynamodb._pq_set_function(value[1], dynamodb._partiql_get_path(item, path), value[2])
        return result
    result = dynamodb._pq_eval(value, item)
    if result is None:
        raise ValueError(dynamodb._PARTIQL_BAD_PATH)
    return result


def _changed(item: Json, parsed: Json) -> tuple[Json, list[list[Any]]]:
    """Return the item as the statement leaves it, and the paths it wrote.

    Raises:
        ValueError: with the service's message.
    """
    assignments, removes = parsed.get("assignments") or [], parsed.get("removes") or []
    written = [*(path for path, _ in assignments), *removes]
    if clash := overlap(written):
        raise ValueError(clash)
    nested = any(len(path) > 1 for path in written)
    work: Json = dynamodb.copy.deepcopy(item) if nested else dict(item)
    values = [(path, _assigned(item, value, path)) for path, value in assignments]
    for path, result in sorted(values, key=lambda each: order_of(each[0])):
        if result is None:
            dynamodb._partiql_remove_path(work, path)
        elif refusal := dynamodb._partiql_set_path(work, path, result):
            raise ValueError(refusal)
    for path in sorted(removes, key=order_of, reverse=True):
        dynamodb._partiql_remove_path(work, path)
    return work, written


def _returned(clause: str, before: Json, after: Json, written: list[list[Any]]) -> list[Json]:
    if clause == "ALL OLD *":
        return [before]
    if clause == "ALL NEW *":
        return [after]
    items: list[Json] = dynamodb._partiql_modified_items(before, after, written, want_old=clause == "MODIFIED OLD *")
    return items


@patch("partiql_update", dynamodb, "_partiql_update")
def update(_original: Any) -> Any:
    """All SETs read the item as it was, and no two paths of one statement overlap."""

    def mended(table: Json, parsed: Json, request: Json | None = None) -> Answer:
        clause = " ".join((parsed.get("returning") or "").upper().split())
        if clause not in ("", "ALL OLD *", "ALL NEW *", "MODIFIED OLD *", "MODIFIED NEW *"):
            return _invalid(f"Invalid returning clause: RETURNING {parsed['returning']} is not supported")
        pk_value, sk_value, condition, refusal = dynamodb._partiql_key_target(table, parsed)
        if refusal:
            return cast(Answer, refusal)
        item = table["items"].get(pk_value, {}).get(sk_value)
        try:
            if item is None or not condition(item):
                return cast(Answer, dynamodb._conditional_check_failed(request or {}, item))
            work, written = _changed(item, parsed)
        except ValueError as error:
            return _invalid(str(error))
        if refusal := dynamodb._key_attribute_update_error(table, [tuple(path) for path in written]):
            return cast(Answer, refusal)
        if dynamodb._item_size_bytes(work) > dynamodb._DDB_ITEM_MAX_BYTES:
            return _invalid(dynamodb._UPDATE_SIZE_MSG)
        if refusal := dynamodb._validate_index_key_values(table, work):
            return cast(Answer, refusal)
        dynamodb._set_item(table, pk_value, sk_value, work)
        if not clause:
            return 200, {"Content-Type": "application/x-amz-json-1.0"}, NOTHING_RETURNED
        return cast(Answer, json_response({"Items": _returned(clause, item, work, written)}))

    return mended


@patch("partiql_insert", dynamodb, "_partiql_insert")
def insert(original: Any) -> Any:
    """Only the struct form, and the item is checked like one that is put."""

    def mended(table: Json, parsed: Json) -> Answer:
        if parsed["item_token"][1] == "?":
            return _invalid("Unsupported format in item expression. Please use struct format {...}")
        item = parsed["item"]
        for name in (table["pk_name"], table["sk_name"]):
            if name and name not in item:
                return _invalid(f"One or more parameter values were invalid: Missing the key {name} in the item")
        if mismatch := dynamodb._key_type_mismatch_reason(table, item):
            return _invalid(mismatch)
        refusal = dynamodb._validate_item(item, table["pk_name"], table["sk_name"])
        refusal = refusal or dynamodb._validate_index_key_values(table, item)
        answer: Answer = refusal or original(table, parsed)
        return answer

    return mended


def normalised(value: Json) -> Json:
    """Return an attribute value with its numbers as DynamoDB stores them."""
    ((kind, inner),) = value.items()
    if kind in ("S", "B", "BS", "SS", "BOOL"):
        return value
    if kind == "N":
        return {kind: dynamodb._ddb_canonicalize_number(inner) or inner}
    if kind == "NS":
        return {kind: [dynamodb._ddb_canonicalize_number(each) or each for each in inner]}
    if kind == "L":
        return {kind: [normalised(each) for each in inner]}
    if kind == "M":
        return {kind: {name: normalised(each) for name, each in inner.items()}}
    return value


@patch("partiql_parameters", dynamodb, "_parse_partiql")
def parse(original: Any) -> Any:
    """As many parameters as question marks, numbers normalised, statements of at most 8192 characters."""

    def mended(statement: str, parameters: list[Json] | None) -> Json:
        if len(statement) > LONGEST_STATEMENT:
            raise ValueError(
                "1 validation error detected: Value at 'statement' failed to satisfy constraint: "
                f"Member must have length less than or equal to {LONGEST_STATEMENT}"
            )
        given = parameters or []
        if marks(statement) != len(given):
            raise ValueError("Number of parameters in request and statement don't match.")
        parsed: Json = original(statement, [normalised(value) if len(value) == 1 else value for value in given])
        return parsed

    return mended


def _key_of(parsed: Json) -> tuple[str, ...] | None:
    """Return table and key that a statement is about; None when it names no whole key."""
    table = dynamodb._tables.get(parsed["table"])
    if table is None:
        return None
    names = [name for name in (table["pk_name"], table["sk_name"]) if name]
    if parsed["op"] == "INSERT":
        values = [parsed["item"].get(name) for name in names] if isinstance(parsed["item"], dict) else []
    else:
        equal = {attribute: value for attribute, op, value in parsed.get("conditions") or [] if op == "="}
        values = [equal.get(name) for name in names]
    return (parsed["table"], *map(str, values)) if values and all(values) else None


def _run(parsed: Json, entry: Json) -> Answer:
    """Run one parsed statement of a batch."""
    table = dynamodb._tables.get(parsed["table"])
    if table is None or parsed["op"] == "SELECT":
        answer: Answer = dynamodb._execute_statement(entry)
    elif parsed["op"] == "INSERT":
        answer = dynamodb._partiql_insert(table, parsed)
    elif parsed["op"] == "UPDATE":
        answer = dynamodb._partiql_update(table, parsed, entry)
    else:
        answer = dynamodb._partiql_delete(table, parsed, entry)
    return answer


def _entry_of(parsed: Json, answer: Answer) -> Json:
    """Return a statement's part of the answer: HTTP 200 of the request says nothing about it."""
    status, _, body = answer
    if body == NOTHING_RETURNED:
        return {"TableName": parsed["table"]}
    shown = json.loads(body)
    if status == 200:
        items = shown.get("Items")
        return {"TableName": parsed["table"], **({"Item": items[0]} if items else {})}
    code = shown.get("__type", "ValidationException").rpartition("#")[2].removesuffix("Exception")
    error = {"Code": "ValidationError" if code == "Validation" else code, "Message": shown.get("message", "")}
    if code == "ConditionalCheckFailed" and shown.get("Item"):
        error["Item"] = shown["Item"]
    ran = code in ("ConditionalCheckFailed", "DuplicateItem")
    return {"Error": error, **({"TableName": parsed["table"]} if ran else {})}


@patch("partiql_batch", dynamodb, "_batch_execute_statement")
def batch(original: Any) -> Any:
    """One key twice fails the whole request, before anything of it runs; each statement is parsed once."""

    def mended(request: Json) -> Answer:
        entries = request.get("Statements") or []
        reading = any(entry.get("Statement", "").lstrip()[:6].upper() == "SELECT" for entry in entries)
        if reading or not 1 <= len(entries) <= dynamodb._DDB_BATCH_PARTIQL_MAX:
            return cast(Answer, original(request))
        parsed: list[Json | str] = []
        for entry in entries:
            try:
                parsed.append(dynamodb._parse_partiql(entry.get("Statement", ""), entry.get("Parameters")))
            except ValueError as error:
                parsed.append(str(error))
        keys = [key for key in (_key_of(each) for each in parsed if isinstance(each, dict)) if key]
        if len(set(keys)) < len(keys):
            return _invalid("Provided list of item keys contains duplicates")
        responses = [
            {"Error": {"Code": "ValidationError", "Message": each}}
            if isinstance(each, str)
            else _entry_of(each, _run(each, entry))
            for each, entry in zip(parsed, entries, strict=True)
        ]
        shown: Json = {"Responses": responses}
        if request.get("ReturnConsumedCapacity", "NONE") != "NONE":
            ran = Counter(each["TableName"] for each in responses if "TableName" in each)
            units = [{"TableName": name, "CapacityUnits": float(count)} for name, count in ran.items()]
            shown["ConsumedCapacity"] = units
        return cast(Answer, json_response(shown))

    return mended
