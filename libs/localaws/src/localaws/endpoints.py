"""Where the embedded AWS listens, and the credentials it takes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

LOOPBACK = "127.0.0.1"
"""The only address anything here listens on."""

REGION = "us-east-1"

ACCOUNT_ID = "000000000000"


@dataclass(frozen=True)
class Endpoints:
    """What a client needs to know to talk to a running stack.

    Attributes:
        aws_endpoint: base URL of every AWS API.
        redis_url: URL of the Redis-compatible server; None when the stack was started without one.
        region: Region that the resources live in.
        access_key_id: any key works; this one keeps all clients in one account.
        secret_access_key: signatures are not checked, so this is no secret.
        account_id: whose resources they are.
    """

    aws_endpoint: str
    redis_url: str | None
    region: str = REGION
    access_key_id: str = "localaws"
    secret_access_key: str = "localaws"  # noqa: S105  # not a secret: the emulator checks no signature
    account_id: str = ACCOUNT_ID

    def client_arguments(self) -> dict[str, str]:
        """Return the keyword arguments that make a boto3 or aiobotocore client talk to this stack."""
        return {
            "endpoint_url": self.aws_endpoint,
            "region_name": self.region,
            "aws_access_key_id": self.access_key_id,
            "aws_secret_access_key": self.secret_access_key,
        }

    def to_json(self) -> str:
        """Return the endpoints as one line of JSON."""
        return json.dumps(asdict(self))
