"""The replicator as a function behind a stream of the embedded AWS."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3

from crossfade.core.values.shape import Side
from replicator_world import World
from tools import lambda_zip

HANDLER = "crossfade_replicator.lambda_handler.lambda_handler"
ROLE = "arn:aws:iam::000000000000:role/replicator"


def own_zip(folder: Path, world: World) -> bytes:
    """Pack our own code with the world's mapping; the packages it needs are those of the tests' interpreter."""
    code = folder / "code"
    code.mkdir()
    lambda_zip.copy_own(code, (lambda_zip.ENTRY, "engagement_migration"))
    tables = {side.value: world.mapping.shape(side).table for side in Side}
    (code / "world_mapping.py").write_text(
        "import engagement_migration\n"
        f"MAPPING = engagement_migration.MAPPING.with_tables(name={world.mapping.name!r}, **{tables!r})\n"
    )
    lambda_zip.pack(code, folder / "function.zip")
    return (folder / "function.zip").read_bytes()


class Deployed:
    """One function, with its event source mappings."""

    def __init__(self, world: World, consumer: str, code: bytes, *, timeout_s: int = 3, **settings: str) -> None:
        arguments = world.endpoints.client_arguments()
        self._functions, self._logs = (boto3.client(each, **arguments) for each in ("lambda", "logs"))
        self._kinesis = boto3.client("kinesis", **arguments)
        self.name = f"{consumer}-{world.id}"
        self._mappings: list[str] = []
        variables = {
            "CROSSFADE_CONSUMER": consumer,
            "CROSSFADE_PARTIAL_RESPONSES": "1",
            "CROSSFADE_MIGRATION_MAPPING": "world_mapping:MAPPING",
            "CROSSFADE_AWS_ENDPOINT_URL": world.endpoints.aws_endpoint,
            "CROSSFADE_REDIS_URL": world.endpoints.redis_url,
            "CROSSFADE_SOURCE_STREAM": world.streams[Side.SOURCE],
            "CROSSFADE_TARGET_STREAM": world.streams[Side.TARGET],
            "CROSSFADE_FEED_STREAM": world.feed_stream,
        } | {f"CROSSFADE_{name.upper()}": value for name, value in settings.items()}
        self._functions.create_function(
            FunctionName=self.name,
            Runtime="python3.11",
            Role=ROLE,
            Handler=HANDLER,
            Code={"ZipFile": code},
            Timeout=timeout_s,
            Environment={"Variables": variables},
        )

    def behind(self, stream: str, **settings: Any) -> None:
        """Put it behind a stream, with the settings that keep order and lose nothing."""
        summary = self._kinesis.describe_stream_summary(StreamName=stream)["StreamDescriptionSummary"]
        made = self._functions.create_event_source_mapping(
            FunctionName=self.name,
            EventSourceArn=summary["StreamARN"],
            **{
                "StartingPosition": "TRIM_HORIZON",
                "BatchSize": 100,
                "FunctionResponseTypes": ["ReportBatchItemFailures"],
                "BisectBatchOnFunctionError": True,
            }
            | settings,
        )
        self._mappings.append(made["UUID"])

    def invoke(self, event: dict[str, Any]) -> Any:
        """Invoke it as a schedule would; return what it answered."""
        answer = self._functions.invoke(FunctionName=self.name, Payload=json.dumps(event).encode())
        told = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, told
        return told

    def log(self) -> list[dict[str, Any]]:
        """Return the JSON lines of its log so far."""
        group = f"/aws/lambda/{self.name}"
        try:
            streams = self._logs.describe_log_streams(logGroupName=group)["logStreams"]
        except self._logs.exceptions.ResourceNotFoundException:
            return []
        lines = []
        for stream in streams:
            found = self._logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"])
            lines += [json.loads(each["message"]) for each in found["events"] if each["message"].startswith("{")]
        return lines

    def metric(self, name: str, **dimensions: str) -> list[float]:
        """Return the values of a metric that the log holds."""
        values: list[float] = []
        for line in self.log():
            if name in line and all(line.get(each) == value for each, value in dimensions.items()):
                values += line[name] if isinstance(line[name], list) else [line[name]]
        return values

    def close(self) -> None:
        for each in self._mappings:
            self._functions.delete_event_source_mapping(UUID=each)
        self._functions.delete_function(FunctionName=self.name)
