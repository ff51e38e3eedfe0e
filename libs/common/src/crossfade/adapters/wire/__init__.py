"""A lean client for the data plane of DynamoDB and Kinesis (design.md, section 7)."""

from crossfade.adapters.wire.client import Wire, WireConfig
from crossfade.adapters.wire.credentials import (
    BotocoreCredentials,
    CredentialSource,
    StaticCredentials,
    default_credentials,
)
from crossfade.adapters.wire.errors import ConditionFailed, ServiceError, TransactionCanceled
from crossfade.adapters.wire.signing import Credentials

__all__ = [
    "BotocoreCredentials",
    "ConditionFailed",
    "CredentialSource",
    "Credentials",
    "ServiceError",
    "StaticCredentials",
    "TransactionCanceled",
    "Wire",
    "WireConfig",
    "default_credentials",
]
