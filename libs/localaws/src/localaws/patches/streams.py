"""Kinesis: sequence numbers, iterators and resharding as the real service has them.

ministack 1.5.33 pads its sequence numbers with zeros and compares them as strings, so a reader that
resumes from an integer finds nothing at lag 0; it keeps positions as list indexes, which records that
expire move; it sweeps all iterators of five minutes in every call; it drops the records of a shard that
is split or merged, or whose stream changes its shard count; one GetRecords returns more than 10 MB.

Source: Kinesis Data Streams API reference and developer guide (resharding, GetShardIterator, GetRecords).
"""

from __future__ import annotations

import base64
import itertools
import json
import time
from bisect import bisect_left, bisect_right
from typing import Any

import ministack.services.kinesis as kinesis
from ministack.core.responses import error_response_json, json_response

from localaws.patches.registry import patch

Json = dict[str, Any]
Answer = tuple[int, dict[str, str], Any]

FIRST_SEQUENCE_NUMBER = 49_600_000_000_000_000_000_000_000_000_000_000_000_000_000_000_000_000_000
"""56 digits, as the service's: too long for a 64-bit integer and for a double."""

SEQUENCE_STEP = 1_000_003
"""The service's numbers are not consecutive either."""

EXPIRY_CHECK_S = 10.0

MAX_RECORDS = 10_000
MAX_RECORDS_BYTES = 10 * 1024 * 1024
"""What one GetRecords returns at most."""

_numbers = itertools.count(FIRST_SEQUENCE_NUMBER, SEQUENCE_STEP)
_next_expiry_check: dict[str, float] = {}


@patch("sequence_numbers", kinesis, "_next_sequence_number")
def sequence_numbers(_original: Any) -> Any:
    """Numbers of one length without leading zeros: right as strings and as integers."""
    return lambda: str(next(_numbers))


@patch("iterators", kinesis, "_expire_iterators")
def no_iterators_to_expire(_original: Any) -> Any:
    """An iterator carries its position and its age itself."""
    return lambda: None


@patch("record_expiry", kinesis, "_expire_records")
def expire_records(original: Any) -> Any:
    """Records expire within seconds of their retention; every call looking at all of them costs O(stream)."""

    def mended(stream: Json) -> None:
        now = time.monotonic()
        if now >= _next_expiry_check.get(stream["StreamARN"], 0.0):
            _next_expiry_check[stream["StreamARN"]] = now + EXPIRY_CHECK_S
            original(stream)

    return mended


def _token(stream: Json, shard_id: str, after: int) -> str:
    """Return an iterator that stands behind the sequence number `after`."""
    state = json.dumps([stream["StreamARN"], shard_id, str(after), time.time()], separators=(",", ":"))
    return base64.b64encode(state.encode()).decode()


def _number(record: Json) -> int:
    return int(record["SequenceNumber"])


def _position(shard: Json, kind: str, sequence: str, at_s: float | None) -> int | None:
    """Return the sequence number behind which an iterator of this kind stands; None for an unknown kind."""
    records = shard["records"]
    before_all = int(shard["starting_sequence_number"]) - 1
    if kind == "TRIM_HORIZON":
        return before_all
    if kind == "LATEST":
        return _number(records[-1]) if records else before_all
    if kind == "AFTER_SEQUENCE_NUMBER":
        return int(sequence)
    if kind == "AT_SEQUENCE_NUMBER":
        return int(sequence) - 1
    if kind == "AT_TIMESTAMP":
        index = bisect_left(records, float(at_s or 0), key=lambda record: record["ApproximateArrivalTimestamp"])
        return _number(records[index - 1]) if index else before_all
    return None


@patch("iterators", kinesis, "_get_shard_iterator")
def get_shard_iterator(_original: Any) -> Any:
    """A position is a sequence number, which stays right when older records expire."""

    def mended(request: Json) -> Answer:
        name, stream = kinesis._resolve_stream(request)
        if not stream:
            return _refuse("ResourceNotFoundException", f"Stream {name} not found")
        shard_id = request.get("ShardId", "")
        if shard_id not in stream["shards"]:
            return _refuse("ResourceNotFoundException", f"Shard {shard_id} in stream {name} does not exist")
        kind, sequence = request.get("ShardIteratorType", ""), request.get("StartingSequenceNumber") or ""
        if kind.endswith("SEQUENCE_NUMBER") and not sequence.isdigit():
            return _refuse("InvalidArgumentException", f"StartingSequenceNumber {sequence!r} is invalid")
        if kind == "AT_TIMESTAMP" and request.get("Timestamp") is None:
            return _refuse("InvalidArgumentException", "Must specify timestampInMillis parameter for AT_TIMESTAMP")
        after = _position(stream["shards"][shard_id], kind, sequence, request.get("Timestamp"))
        if after is None:
            return _refuse("ValidationException", f"Invalid ShardIteratorType: {kind}")
        answer: Answer = json_response({"ShardIterator": _token(stream, shard_id, after)})
        return answer

    return mended


def _refuse(code: str, message: str) -> Answer:
    refusal: Answer = error_response_json(code, message, 400)
    return refusal


def _rendered(record: Json) -> str:
    """Return the record as GetRecords shows it; rendered once, since every consumer reads it."""
    text: str | None = record.get("_rendered")
    if text is None:
        shown = {name: record[name] for name in ("SequenceNumber", "ApproximateArrivalTimestamp", "PartitionKey")}
        shown["Data"] = kinesis._ensure_base64(record["Data"])
        text = record["_rendered"] = json.dumps(shown, ensure_ascii=False, separators=(",", ":"))
    return text


def _size_bytes(record: Json) -> int:
    """Return how much data a record holds; counted once, since every consumer reads it."""
    size: int | None = record.get("_size_bytes")
    if size is None:
        text = kinesis._ensure_base64(record["Data"])
        size = record["_size_bytes"] = len(text) // 4 * 3 - text.count("=", -2)
    return size


def _within_bytes(records: list[Json]) -> list[Json]:
    """Return as many of the records as one answer holds, and at least one."""
    left = MAX_RECORDS_BYTES
    for place, record in enumerate(records):
        left -= _size_bytes(record)
        if left < 0 and place:
            return records[:place]
    return records


def _children(stream: Json, shard_id: str) -> list[Json]:
    """Return the shards that a closed shard was split or merged into."""
    found = []
    for child_id, child in stream["shards"].items():
        parents = [parent for parent in (child["parent_shard_id"], child["adjacent_parent_shard_id"]) if parent]
        if shard_id in parents:
            span = {"StartingHashKey": child["starting_hash_key"], "EndingHashKey": child["ending_hash_key"]}
            found.append({"ShardId": child_id, "ParentShards": parents, "HashKeyRange": span})
    return found


@patch("iterators", kinesis, "_get_records")
def get_records(_original: Any) -> Any:
    """Reads by sequence number; the last page of a closed shard has no next iterator, but its children."""

    def mended(request: Json) -> Answer:
        try:
            arn, shard_id, after, made_s = json.loads(base64.b64decode(request.get("ShardIterator") or ""))
        except ValueError:
            return _refuse("InvalidArgumentException", "Invalid ShardIterator.")
        now = time.time()
        if now - made_s > kinesis.ITERATOR_EXPIRY_SECONDS:
            return _refuse("ExpiredIteratorException", "Iterator expired. It was created more than 5 minutes ago.")
        stream = kinesis._resolve_stream_by_arn(arn)
        if not stream or shard_id not in stream["shards"]:
            return _refuse("ResourceNotFoundException", f"Shard {shard_id} of {arn} does not exist")
        kinesis._expire_records(stream)
        shard = stream["shards"][shard_id]
        records = shard["records"]
        start = bisect_right(records, int(after), key=_number) if records else 0
        limit = int(request.get("Limit", MAX_RECORDS))
        if not 1 <= limit <= MAX_RECORDS:
            bound = f"less than or equal to {MAX_RECORDS}" if limit > 1 else "greater than or equal to 1"
            return _refuse(
                "ValidationException",
                f"1 validation error detected: Value '{limit}' at 'limit' failed to satisfy constraint: "
                f"Member must have value {bound}",
            )
        page = _within_bytes(records[start : start + limit])
        end = start + len(page)
        behind_ms = int((now - records[end]["ApproximateArrivalTimestamp"]) * 1000) if end < len(records) else 0
        rest: Json = {"MillisBehindLatest": max(0, behind_ms)}
        if end < len(records) or "ending_sequence_number" not in shard:
            rest["NextShardIterator"] = _token(stream, shard_id, _number(page[-1]) if page else int(after))
        else:
            rest["ChildShards"] = _children(stream, shard_id)
        body = f'{{"Records":[{",".join(map(_rendered, page))}],{json.dumps(rest)[1:]}'
        return 200, {"Content-Type": "application/x-amz-json-1.1"}, body.encode()

    return mended


@patch("resharding", kinesis, "_route_to_shard")
def route_to_open_shard(_original: Any) -> Any:
    """A closed shard stays readable until its records expire, and takes no more."""

    def mended(hash_key: int, stream: Json) -> str:
        opened = {shard_id: shard for shard_id, shard in stream["shards"].items() if _is_open(shard)}
        for shard_id, shard in opened.items():
            if int(shard["starting_hash_key"]) <= hash_key <= int(shard["ending_hash_key"]):
                return str(shard_id)
        raise LookupError(f"no open shard of {stream['StreamName']} holds the hash key {hash_key}")

    return mended


def _is_open(shard: Json) -> bool:
    return "ending_sequence_number" not in shard


def _open_child(stream: Json, start: int, end: int, parent: str, adjacent: str | None = None) -> None:
    shard_id = f"shardId-{kinesis._max_shard_index(stream) + 1:012d}"
    stream["shards"][shard_id] = {
        "records": [],
        "starting_hash_key": str(start),
        "ending_hash_key": str(end),
        "starting_sequence_number": kinesis._next_sequence_number(),
        "parent_shard_id": parent,
        "adjacent_parent_shard_id": adjacent,
    }


def _close(shard: Json) -> None:
    shard["ending_sequence_number"] = kinesis._next_sequence_number()


def _split(stream: Json, shard_id: str, at: int) -> None:
    shard = stream["shards"][shard_id]
    _close(shard)
    _open_child(stream, int(shard["starting_hash_key"]), at - 1, shard_id)
    _open_child(stream, at, int(shard["ending_hash_key"]), shard_id)


def _merge(stream: Json, left_id: str, right_id: str) -> None:
    left, right = stream["shards"][left_id], stream["shards"][right_id]
    _close(left)
    _close(right)
    _open_child(stream, int(left["starting_hash_key"]), int(right["ending_hash_key"]), left_id, right_id)


def _open_shards(stream: Json) -> list[str]:
    """Return the ids of the open shards in order of their hash keys."""
    opened = [(int(s["starting_hash_key"]), shard_id) for shard_id, s in stream["shards"].items() if _is_open(s)]
    return [shard_id for _, shard_id in sorted(opened)]


@patch("resharding", kinesis, "_split_shard")
def split_shard(_original: Any) -> Any:
    """Closes the parent and keeps its records."""

    def mended(request: Json) -> Answer:
        name, stream = kinesis._resolve_stream(request)
        shard_id = request.get("ShardToSplit", "")
        if not stream or shard_id not in stream["shards"]:
            return _refuse("ResourceNotFoundException", f"Shard {shard_id} of stream {name} not found")
        shard, at = stream["shards"][shard_id], int(request.get("NewStartingHashKey") or 0)
        if not _is_open(shard):
            return _refuse("InvalidArgumentException", f"Shard {shard_id} is closed")
        if not int(shard["starting_hash_key"]) < at <= int(shard["ending_hash_key"]):
            return _refuse("InvalidArgumentException", f"NewStartingHashKey {at} is not inside shard {shard_id}")
        _split(stream, shard_id, at)
        return 200, {"Content-Type": "application/x-amz-json-1.1"}, b"{}"

    return mended


@patch("resharding", kinesis, "_merge_shards")
def merge_shards(_original: Any) -> Any:
    """Closes both parents and keeps their records."""

    def mended(request: Json) -> Answer:
        name, stream = kinesis._resolve_stream(request)
        wanted = [request.get("ShardToMerge", ""), request.get("AdjacentShardToMerge", "")]
        if not stream or any(shard_id not in stream["shards"] for shard_id in wanted):
            return _refuse("ResourceNotFoundException", f"A shard of {wanted} in stream {name} was not found")
        opened = _open_shards(stream)
        left, right = sorted(wanted, key=lambda shard_id: int(stream["shards"][shard_id]["starting_hash_key"]))
        if (left, right) not in itertools.pairwise(opened):
            return _refuse("InvalidArgumentException", f"Shards {left} and {right} are not open and adjacent")
        _merge(stream, left, right)
        return 200, {"Content-Type": "application/x-amz-json-1.1"}, b"{}"

    return mended


@patch("resharding", kinesis, "_update_shard_count")
def update_shard_count(_original: Any) -> Any:
    """Splits or merges the open shards until there are as many as wanted, at most double or half."""

    def mended(request: Json) -> Answer:
        name, stream = kinesis._resolve_stream(request)
        if not stream:
            return _refuse("ResourceNotFoundException", f"Stream {name} not found")
        before, target = len(_open_shards(stream)), int(request.get("TargetShardCount") or 0)
        if not before / 2 <= target <= before * 2:
            return _refuse(
                "LimitExceededException", f"TargetShardCount {target} is not between half and double {before}"
            )
        while (opened := _open_shards(stream)) and len(opened) != target:
            widths = {
                shard_id: int(stream["shards"][shard_id]["ending_hash_key"])
                - int(stream["shards"][shard_id]["starting_hash_key"])
                for shard_id in opened
            }
            if len(opened) < target:
                widest = max(opened, key=widths.__getitem__)
                _split(stream, widest, int(stream["shards"][widest]["starting_hash_key"]) + widths[widest] // 2 + 1)
            else:
                _merge(stream, *min(itertools.pairwise(opened), key=lambda pair: widths[pair[0]] + widths[pair[1]]))
        answer: Answer = json_response(
            {
                "StreamName": stream["StreamName"],
                "CurrentShardCount": before,
                "TargetShardCount": target,
                "StreamARN": stream["StreamARN"],
            }
        )
        return answer

    return mended


@patch("resharding", kinesis, "_shard_out")
def shown_shard(original: Any) -> Any:
    """A closed shard shows where it ends."""

    def mended(shard_id: str, shard: Json) -> Json:
        shown: Json = original(shard_id, shard)
        if not _is_open(shard):
            shown["SequenceNumberRange"]["EndingSequenceNumber"] = shard["ending_sequence_number"]
        return shown

    return mended


@patch("resharding", kinesis, "_describe_stream_summary")
def describe_stream_summary(original: Any) -> Any:
    """Counts only open shards."""

    def mended(request: Json) -> Answer:
        status, headers, body = original(request)
        if status == 200:
            shown = json.loads(body)
            _, stream = kinesis._resolve_stream(request)
            shown["StreamDescriptionSummary"]["OpenShardCount"] = len(_open_shards(stream))
            return 200, headers, json.dumps(shown).encode()
        return status, headers, body

    return mended
