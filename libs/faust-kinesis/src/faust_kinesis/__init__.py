"""A kinesis:// transport for Faust, and the fetch and lease engine below it, which needs no Faust."""

from faust_kinesis.client import BotoKinesis, Fetched, KinesisClient, Record, Shard
from faust_kinesis.cursor import PrivateCursor
from faust_kinesis.dynamo import DynamoBackend
from faust_kinesis.engine import Engine, EngineReport
from faust_kinesis.errors import CheckpointExpired, KinesisTransportError, LeaseLost, ServiceError
from faust_kinesis.leases import DynamoLeases, Lease, LeaseBackend, LeaseStore, Progress, group_applied_to_s
from faust_kinesis.options import Options, configure
from faust_kinesis.position import LATEST, TRIM_HORIZON, Position
from faust_kinesis.tail import Batch, ShardReport

__all__ = [
    "LATEST",
    "TRIM_HORIZON",
    "Batch",
    "BotoKinesis",
    "CheckpointExpired",
    "DynamoBackend",
    "DynamoLeases",
    "Engine",
    "EngineReport",
    "Fetched",
    "KinesisClient",
    "KinesisTransportError",
    "Lease",
    "LeaseBackend",
    "LeaseLost",
    "LeaseStore",
    "Options",
    "Position",
    "PrivateCursor",
    "Progress",
    "Record",
    "ServiceError",
    "Shard",
    "ShardReport",
    "configure",
    "group_applied_to_s",
]
