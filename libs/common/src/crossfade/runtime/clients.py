"""The clients of one process: of home and of each side, one where they are the same."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, Self

from crossfade.adapters.admin import DynamoAdmin
from crossfade.adapters.dynamodb import DynamoDB
from crossfade.adapters.kinesis import Kinesis
from crossfade.adapters.s3_objects import CloudWatchMetrics, LazyClient
from crossfade.adapters.sided import SidedStreams, Whose, sided_admin, sided_metrics
from crossfade.adapters.wire import Wire
from crossfade.adapters.wire.client import Permit
from crossfade.core.mapping.interface import Mapping as MigrationMapping
from crossfade.core.values.shape import Side
from crossfade.ports.admin import Metrics, TableAdmin
from crossfade.ports.streams import StreamReader
from crossfade.runtime.aws import Access, access_to, control_client, credentials_of, wire_config
from crossfade.runtime.settings import ServiceSettings

PLACES = (None, *Side)
"""Home, and each side."""


class Clients:
    """One pool of connections to each service of each place that is reached differently. Who makes it closes it."""

    def __init__(
        self,
        settings: ServiceSettings,
        *,
        max_connections: int = 16,
        timeout_s: float | None = None,
        attempts: int | None = None,
    ) -> None:
        """Prepare; nothing is opened before the first call.

        Args:
            settings: of the process.
            max_connections: of each pool.
            timeout_s: of one attempt; None for each client's own.
            attempts: tries of one call, the first included; likewise.
        """
        self._settings, self._max_connections = settings, max_connections
        bounds = (("timeout_s", timeout_s), ("attempts", attempts))
        self._bounds: dict[str, Any] = {name: value for name, value in bounds if value is not None}
        self._wires: dict[tuple[str, Access, Permit | None], Wire] = {}
        self._lazy: dict[tuple[str, Access], LazyClient] = {}

    def wire(
        self, service: Literal["dynamodb", "kinesis"], side: Side | None = None, *, permit: Permit | None = None
    ) -> Wire:
        """Return the wire client of a side, or of home.

        Args:
            service: of AWS.
            side: None for home.
            permit: lets each request be signed; None for no bounds.

        Raises:
            ConfigError: the endpoint, or a key in the environment, can't be one.
        """
        access = access_to(self._settings, side)
        if (service, access, permit) not in self._wires:
            config = wire_config(self._settings, max_connections=self._max_connections, side=side)
            config = config._replace(**self._bounds)
            self._wires[service, access, permit] = Wire(service, config, credentials_of(access), permit=permit)
        return self._wires[service, access, permit]

    def wire_as(self, side: Side, *, profile: str, role_arn: str) -> Wire:
        """Return a wire client of a side's DynamoDB with another identity than the side's own. Errors as of `wire`."""
        access = access_to(self._settings, side)._replace(profile=profile, role_arn=role_arn)
        if ("dynamodb", access, None) not in self._wires:
            config = wire_config(self._settings, max_connections=self._max_connections, side=side)
            wire = Wire("dynamodb", config._replace(**self._bounds), credentials_of(access))
            self._wires["dynamodb", access, None] = wire
        return self._wires["dynamodb", access, None]

    def lazy(self, service: str, side: Side | None = None) -> LazyClient:
        """Return the aiobotocore client of a side, or of home, created when it is first needed."""
        access = access_to(self._settings, side)
        if (service, access) not in self._lazy:
            make = partial(control_client, self._settings, service, side=side, **self._bounds)
            self._lazy[service, access] = LazyClient(make)
        return self._lazy[service, access]

    def databases(self, *, permit: Permit | None = None) -> Mapping[Side, DynamoDB]:
        """Return the data plane of each side's table; `permit` as of `wire`."""
        return {side: DynamoDB(self.wire("dynamodb", side, permit=permit)) for side in Side}

    def admin(self, mapping: MigrationMapping, *, bucket_owner: str = "") -> TableAdmin:
        """Return the control plane of both sides; `bucket_owner` is the bucket's account, if not each table's."""
        admins = {
            place: DynamoAdmin(self.wire("dynamodb", place), self.wire("kinesis", place), bucket_owner=bucket_owner)
            for place in PLACES
        }
        return admins[None] if self._is_one else sided_admin(admins, self._whose(mapping))

    def streams(self, mapping: MigrationMapping) -> StreamReader:
        """Return a reader of both sides' streams."""
        readers = {place: Kinesis(self.wire("kinesis", place)) for place in PLACES}
        return readers[None] if self._is_one else SidedStreams(readers, self._whose(mapping))

    def metrics(self, mapping: MigrationMapping, *, period_s: int = 60) -> Metrics:
        """Return the metrics of both sides' tables; `period_s` is CloudWatch's."""
        found = {place: CloudWatchMetrics(self.lazy("cloudwatch", place), period_s=period_s) for place in PLACES}
        return found[None] if self._is_one else sided_metrics(found, self._whose(mapping))

    async def __aenter__(self) -> Self:
        """Enter; `close` at the end."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close what was opened."""
        await self.close()

    async def close(self) -> None:
        """Close what was opened."""
        for lazy in self._lazy.values():
            await lazy.close()
        for wire in self._wires.values():
            await wire.close()

    @property
    def _is_one(self) -> bool:
        return len({access_to(self._settings, place) for place in PLACES}) == 1

    def _whose(self, mapping: MigrationMapping) -> Whose:
        streams = {Side.SOURCE: self._settings.source_stream, Side.TARGET: self._settings.target_stream}
        return Whose({side: mapping.shape(side).table for side in Side}, streams)
