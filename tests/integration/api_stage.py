"""API processes on tables of their own in the embedded AWS."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path

from crossfade.adapters.control.heartbeats import DynamoHeartbeats
from crossfade.adapters.control.tables import create_control_tables
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.flagd import FlagFile
from crossfade.adapters.tables import DynamoTable
from crossfade.adapters.wire import Credentials, StaticCredentials, Wire, WireConfig
from crossfade.contracts.heartbeat import Heartbeat
from crossfade.core.migration.control import control_tables
from crossfade.core.ownership.ramp import FlagDocument
from crossfade.core.protocol.keyed.item import Item
from crossfade.core.values.shape import Side
from crossfade.gen.engagement.v1 import engagement_service_pb2 as pb
from engagement_api.keys import wallet_key
from engagement_api.ulids import encode_ulid
from engagement_migration import MAPPING
from localaws import Endpoints

ALL_NEW = FlagDocument(share=10_000, target_gen=2)


def ulid() -> str:
    return encode_ulid(((time.time_ns() // 1_000_000 << 80) | secrets.randbits(80)).to_bytes(16, "big"))


class Stage:
    """Tables of its own on the embedded AWS, a flag file, and the API processes on them."""

    def __init__(self, aws: Endpoints, folder: Path) -> None:
        name = secrets.token_hex(4)
        self.aws, self.flag_file = aws, folder / "flags.json"
        self.names = {Side.SOURCE: f"wallet-{name}", Side.TARGET: f"engagement-{name}"}
        self.mapping = MAPPING.with_tables(source=self.names[Side.SOURCE], target=self.names[Side.TARGET])
        self.flags = FlagFile(self.flag_file)
        self.processes: list[subprocess.Popen[str]] = []
        self._pages: dict[int, str] = {}
        keys = StaticCredentials(Credentials(aws.access_key_id, aws.secret_access_key))
        self.wire = Wire("dynamodb", WireConfig(aws.region, aws.aws_endpoint), keys)

    async def prepare(self) -> None:
        for name in self.names.values():
            request = {
                "TableName": name,
                "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
                "AttributeDefinitions": [{"AttributeName": each, "AttributeType": "S"} for each in ("pk", "sk")],
                "BillingMode": "PAY_PER_REQUEST",
            }
            await self.wire.call("CreateTable", json.dumps(request).encode())
        await create_control_tables(self.wire, control_tables(self.mapping.name))
        await self.flags.publish(FlagDocument(), dual_write=False)

    def environment(self, **settings: object) -> dict[str, str]:
        common: dict[str, object] = {
            "AWS_ENDPOINT_URL": self.aws.aws_endpoint,
            "REDIS_URL": self.aws.redis_url,
            "FLAG_FILE": self.flag_file,
            "MIGRATION_MAPPING": "api_mapping:MAPPING",
            "PORT": 0,
            "LEASE_S": 3,
            "OPERATION_S": 1.5,
        }
        chosen = {f"CROSSFADE_{name.upper()}": str(value) for name, value in (common | settings).items()}
        return (
            {name: value for name, value in os.environ.items() if not name.startswith("CROSSFADE_")}
            | {"AWS_ACCESS_KEY_ID": self.aws.access_key_id, "AWS_SECRET_ACCESS_KEY": self.aws.secret_access_key}
            | {"API_TEST_SOURCE": self.names[Side.SOURCE], "API_TEST_TARGET": self.names[Side.TARGET]}
            | {"PYTHONPATH": str(Path(__file__).parent)}
            | chosen
        )

    def start(self, **settings: object) -> tuple[subprocess.Popen[str], str]:
        """Start a process; return it with its address, once it is ready."""
        process = subprocess.Popen(
            [sys.executable, "-m", "engagement_api.main"],
            env=self.environment(**settings),
            stdout=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if (said := json.loads(line))["event"] == "health page":
                self._pages[process.pid] = said["address"]
            if said["event"] == "ready":
                assert said["service"] == "engagement-api"
                return process, str(said["address"])
        raise AssertionError("".join(lines))

    def health_page(self, process: subprocess.Popen[str]) -> str:
        """Return the address of a process's health page, "127.0.0.1:8081"."""
        return self._pages[process.pid]

    async def item(self, user: str, side: Side) -> Item | None:
        return await DynamoTable(DynamoDB(self.wire), self.mapping, side).read(wallet_key(user, "chan"))

    async def heartbeat(self, pod: str) -> Heartbeat | None:
        beats = await DynamoHeartbeats(DynamoDB(self.wire), control_tables(self.mapping.name).heartbeats).all()
        return next((each for each in beats if each.pod == pod), None)

    def end(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()


def earning(user: str, amount: int = 5, transaction_id: str = "") -> pb.EarnPointsRequest:
    return pb.EarnPointsRequest(user=user, channel="chan", amount=amount, transaction_id=transaction_id or ulid())
