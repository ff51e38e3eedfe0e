"""Lambda functions behind a Kinesis stream: the mapping's own settings, which decide what is tried again.

ministack 1.5.33 invokes a function with the next records of each shard, one shard after the other, and tries a failed
batch again forever. It ignores ReportBatchItemFailures, retries, record age, bisecting, the failure destination, the
batching window and parallelisation, takes AT_TIMESTAMP for LATEST, skips what a child shard got before it was noticed,
and keeps positions as list indexes, which records that expire move.

The decisions are in `localaws.event_source`; here they meet ministack. A shard is read after its parents are done. Each
invocation has a thread of its own, since the function calls back; everything else runs on the event loop.

Source: AWS Lambda developer guide, "Using Lambda with Kinesis"; the failure record as in "Retain discarded records".
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
import traceback
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import ministack.services.cloudwatch as cloudwatch
import ministack.services.kinesis as kinesis
import ministack.services.lambda_svc as functions
from ministack.core.arn import parse_arn
from ministack.core.responses import error_response_json, new_uuid, request_scope

from localaws.errors import WrongSetting
from localaws.event_source import Arrived, Failure, GivenUp, Lane, Settings, answered
from localaws.patches.change_records import capture
from localaws.patches.registry import patch

Json = dict[str, Any]

PERIOD_S: Final = 0.1
READ_AHEAD_BATCHES: Final = 2
FRAME_BYTES: Final = 600
"""What an event adds to the data of each of its records."""


@dataclass
class _Shard:
    """How far a mapping is in a shard."""

    after: int
    lanes: dict[int, Lane] = field(default_factory=dict)
    done: bool = False

    def waiting(self) -> int:
        return sum(len(lane.waiting) for lane in self.lanes.values())


class EventSources:
    """All mappings of functions to Kinesis streams."""

    def __init__(self) -> None:
        """Begin without any."""
        self._shards: dict[str, dict[str, _Shard]] = {}

    async def run_for_ever(self) -> None:
        """Look for records every tenth of a second, as long as there are mappings."""
        while True:
            await asyncio.sleep(PERIOD_S)
            if not functions._esms.has_any() or functions._poll_kinesis is not _no_poll:
                continue
            for account_id, region, mapping in functions._iter_all_esms():
                if ":kinesis:" in mapping["EventSourceArn"] and mapping.get("Enabled", True):
                    try:
                        with request_scope(account_id, region):
                            self._advance(mapping, time.time())
                    except Exception:  # a mapping that can't be served must not stop the others
                        traceback.print_exc(file=sys.stderr)

    def forget(self, mapping_id: str) -> None:
        """Drop what is known of a mapping that was deleted."""
        self._shards.pop(mapping_id, None)

    def begin(self, mapping: Json) -> None:
        """Fix where a new mapping begins: LATEST means when it was made, not when it was first looked at."""
        stream = kinesis._resolve_stream_by_arn(mapping["EventSourceArn"])
        if stream:
            shards = self._shards.setdefault(mapping["UUID"], {})
            for shard_id, shard in stream["shards"].items():
                shards[shard_id] = _Shard(_start(mapping, shard))

    def _advance(self, mapping: Json, now_s: float) -> None:
        function, _ = functions._get_func_record_for_qualifier(mapping["FunctionName"], mapping.get("Qualifier"))
        stream = kinesis._resolve_stream_by_arn(mapping["EventSourceArn"])
        if function is None or not stream:
            return
        settings = Settings.read(mapping)
        shards = self._shards.setdefault(mapping["UUID"], {})
        for shard_id, shard in stream["shards"].items():
            state = shards.get(shard_id)
            if state is None:  # a child: all of it comes after its parents
                state = shards[shard_id] = _Shard(int(shard["starting_sequence_number"]) - 1)
            if not state.done and all(shards[each].done for each in _parents(shard) if each in shards):
                self._read(mapping, settings, shard_id, shard, state, now_s)
                self._invoke(mapping, settings, function, shard_id, state, now_s)
                state.done = "ending_sequence_number" in shard and _read_to_its_end(shard, state)

    def _read(self, mapping: Json, settings: Settings, shard_id: str, shard: Json, state: _Shard, now_s: float) -> None:
        room = settings.batch_size * settings.lanes * READ_AHEAD_BATCHES - state.waiting()
        start = bisect_right(shard["records"], state.after, key=_number)
        for record in shard["records"][start : start + max(0, room)]:
            state.after = _number(record)
            event = _event(mapping, shard_id, record)
            if functions._apply_filter_criteria([event], mapping):
                place = zlib.crc32(record["PartitionKey"].encode()) % settings.lanes
                size_bytes = len(event["kinesis"]["data"]) + FRAME_BYTES
                arrived = Arrived(state.after, record["ApproximateArrivalTimestamp"], size_bytes, event)
                state.lanes.setdefault(place, Lane()).add(arrived, now_s)

    def _invoke(
        self, mapping: Json, settings: Settings, function: Json, shard_id: str, state: _Shard, now_s: float
    ) -> None:
        for lane in state.lanes.values():
            records = lane.due(settings, now_s)
            if records:
                self._start_thread(mapping, settings, function, lane, records)
            for given_up in lane.given_up:
                _tell(mapping, shard_id, given_up)
            lane.given_up.clear()

    def _start_thread(
        self, mapping: Json, settings: Settings, function: Json, lane: Lane, records: Sequence[Arrived]
    ) -> None:
        event = {"Records": [each.event for each in records]}
        spec = parse_arn(mapping["FunctionArn"])

        def settle(result: Json) -> None:
            failure = _failure(settings, result, records)
            mapping["LastProcessingResult"] = "OK" if failure is None else "PROBLEM: Function call failed"
            lane.settle(settings, failure, time.time())

        def run() -> None:
            with request_scope(spec.account_id, spec.region):
                age_ms = (time.time() - records[-1].arrived_s) * 1e3
                cloudwatch.record_metric(
                    "AWS/Lambda", "IteratorAge", age_ms, "Milliseconds", {"FunctionName": mapping["FunctionName"]}
                )
                try:
                    result = functions._execute_function(function, event)
                except Exception as error:  # a fault of the executor must not stop the lane
                    result = {"error": True, "body": {"errorMessage": repr(error)}}
            capture.on_loop(lambda: settle(result))

        threading.Thread(target=run, daemon=True, name=f"event-source-{mapping['FunctionName']}").start()


sources = EventSources()


def _no_poll() -> bool:
    return False


def _number(record: Json) -> int:
    return int(record["SequenceNumber"])


def _parents(shard: Json) -> Iterator[str]:
    return filter(None, (shard["parent_shard_id"], shard["adjacent_parent_shard_id"]))


def _read_to_its_end(shard: Json, state: _Shard) -> bool:
    unread = bisect_right(shard["records"], state.after, key=_number) < len(shard["records"])
    return not unread and all(lane.empty for lane in state.lanes.values())


def _start(mapping: Json, shard: Json) -> int:
    """Return the sequence number behind which a mapping begins to read a shard."""
    kind, records = mapping.get("StartingPosition"), shard["records"]
    before_all = int(shard["starting_sequence_number"]) - 1
    if kind == "LATEST":
        return _number(records[-1]) if records else before_all
    if kind == "AT_TIMESTAMP":
        at_s = float(mapping.get("StartingPositionTimestamp") or 0)
        return max(
            (_number(each) for each in records if each["ApproximateArrivalTimestamp"] < at_s), default=before_all
        )
    return before_all


def _event(mapping: Json, shard_id: str, record: Json) -> Json:
    spec = parse_arn(mapping["EventSourceArn"])
    return {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": record["PartitionKey"],
            "sequenceNumber": record["SequenceNumber"],
            "data": kinesis._ensure_base64(record["Data"]),
            "approximateArrivalTimestamp": record["ApproximateArrivalTimestamp"],
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"{shard_id}:{record['SequenceNumber']}",
        "eventName": "aws:kinesis:record",
        "invokeIdentityArn": f"arn:aws:iam::{spec.account_id}:role/lambda-role",
        "awsRegion": spec.region,
        "eventSourceARN": mapping["EventSourceArn"],
    }


def _failure(settings: Settings, result: Json, records: Sequence[Arrived]) -> Failure | None:
    if result.get("throttle"):
        return Failure(throttled=True)
    if result.get("error"):
        return Failure()
    return answered(settings, result.get("body"), records)


def _iso(at_s: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at_s)) + f".{int(at_s * 1000) % 1000:03d}Z"


def _tell(mapping: Json, shard_id: str, given_up: GivenUp) -> None:
    """Send what was given up to the failure destination: where the records are, not what they hold."""
    destination = ((mapping.get("DestinationConfig") or {}).get("OnFailure") or {}).get("Destination")
    if not destination:
        return
    first, last = given_up.records[0], given_up.records[-1]
    message = json.dumps(
        {
            "requestContext": {
                "requestId": new_uuid(),
                "functionArn": mapping["FunctionArn"],
                "condition": given_up.condition,
                "approximateInvokeCount": given_up.invocations,
            },
            "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
            "version": "1.0",
            "timestamp": _iso(time.time()),
            "KinesisBatchInfo": {
                "shardId": shard_id,
                "startSequenceNumber": str(first.sequence),
                "endSequenceNumber": str(last.sequence),
                "approximateArrivalOfFirstRecord": _iso(first.arrived_s),
                "approximateArrivalOfLastRecord": _iso(last.arrived_s),
                "batchSize": len(given_up.records),
                "streamArn": mapping["EventSourceArn"],
            },
        }
    )
    spec = parse_arn(destination)
    if spec.service == "sqs":
        import ministack.services.sqs as sqs

        sqs._act_send_message({"MessageBody": message}, sqs._queue_url(spec.resource))
    elif spec.service == "sns":
        import ministack.services.sns as sns

        sns._fanout(destination, new_uuid(), message, "", "", {})


@patch("event_sources", functions, "_poll_kinesis")
def poll_kinesis(_original: Any) -> Callable[[], bool]:
    """The mappings run on the event loop instead."""
    return _no_poll


@patch("event_sources", functions, "_create_esm")
def create_mapping(original: Any) -> Any:
    """Refuses settings out of range, keeps all of them, and begins where the stream is now."""

    def mended(request: Json) -> Any:
        if ":kinesis:" not in request.get("EventSourceArn", ""):
            return original(request)
        try:
            settings = Settings.read(request)
        except WrongSetting as error:
            return error_response_json("InvalidParameterValueException", str(error), 400)
        if not request.get("StartingPosition"):
            return error_response_json("InvalidParameterValueException", "StartingPosition is required", 400)
        status, headers, body = original(request | {"BatchSize": settings.batch_size})
        if status == 202:
            mapping = functions._esms[json.loads(body)["UUID"]]
            mapping |= {name: request[name] for name in ("StartingPositionTimestamp",) if name in request}
            sources.begin(mapping)
        return status, headers, body

    return mended


@patch("event_sources", functions, "_update_esm")
def update_mapping(original: Any) -> Any:
    """Refuses settings out of range."""

    def mended(mapping_id: str, request: Json) -> Any:
        try:
            Settings.read(request)
        except WrongSetting as error:
            return error_response_json("InvalidParameterValueException", str(error), 400)
        return original(mapping_id, request)

    return mended


@patch("event_sources", functions, "_release_esm_poll_state")
def release(original: Any) -> Any:
    """Forgets the positions of a mapping that was deleted."""

    def mended(mapping_id: str) -> None:
        original(mapping_id)
        sources.forget(mapping_id)

    return mended
