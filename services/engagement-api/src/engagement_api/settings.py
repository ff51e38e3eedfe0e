"""Settings of the Engagement API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from crossfade.adapters.flagd import read_flagd_file
from crossfade.core.mapping.interface import Mapping
from crossfade.core.values.errors import ConfigError
from crossfade.runtime.marks_settings import MarksSettings
from crossfade.runtime.settings import ListeningSettings
from engagement_api.keys import wallet_key


class Settings(ListeningSettings, MarksSettings):
    """Settings of the Engagement API."""

    port: int = Field(50051, ge=0, le=65535, description="Port to listen on; 0 for any free one.")
    lease_s: float = Field(10.0, gt=0, le=60, description="How long a heartbeat counts. It is renewed every third.")
    operation_s: float = Field(
        3.0, gt=0, description="Longest time of one call, handovers included; at most half of the lease."
    )
    flag_poll_s: float = Field(0.4, ge=0.05, le=60, description="How often the flag file is looked at.")
    dual_write_budget_ms: int = Field(
        20,
        ge=0,
        le=1000,
        description="Longest time that a caller waits for the copy to the other table, in ms; 0: doesn't wait.",
    )
    dual_write_call_s: float = Field(1.0, gt=0, le=30, description="Longest time of one request of copies.")
    connections: int = Field(32, ge=1, le=1024, description="Maximum number of connections to DynamoDB.")
    max_concurrent_calls: int = Field(
        2_000, ge=1, description="More concurrent calls are refused with RESOURCE_EXHAUSTED and a retry-after."
    )
    connection_age_s: float = Field(
        300.0,
        ge=0,
        le=86_400,
        description="Clients are asked to reconnect after about this long, to spread over new pods. 0: never.",
    )
    max_message_bytes: int = Field(1 << 20, ge=1 << 10, le=1 << 26, description="Longest request.")
    trace_per_million: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Wallets per million whose calls get a trace context here if they bring none.",
    )
    report_s: float = Field(60.0, gt=0, description="Interval of the report in the log.")
    drain_notice_s: float = Field(
        2.0,
        ge=0,
        le=120,
        description="How long calls are still accepted after NOT_SERVING, so that clients can turn away.",
    )
    drain_s: float = Field(10.0, gt=0, le=300, description="How long running calls may take to finish at the end.")

    @model_validator(mode="after")
    def _fits_the_lease(self) -> Self:
        if self.operation_s > self.lease_s / 2:
            raise ValueError("CROSSFADE_OPERATION_S must be at most half of CROSSFADE_LEASE_S")
        return self

    def mapping(self) -> Mapping:
        """Load the migration's mapping, whose rows must be the API's wallets.

        Raises:
            ConfigError: there is none, or its rows are somebody else's.
        """
        mapping = super().mapping()
        if not mapping.belongs(wallet_key("user", "channel")):
            raise ConfigError(
                f"CROSSFADE_MIGRATION_MAPPING: rows of {mapping.name!r} have other keys than this API's wallets "
                "(USER#<user>, POINTS#<channel>): another service has to write them, by crossfade.application.ownership"
            )
        return mapping

    def flags(self) -> Path:
        """Return the flag file.

        Raises:
            ConfigError: none was named.
        """
        if self.flag_file is None:
            raise ConfigError("CROSSFADE_FLAG_FILE: name the flagd file with the flags `ownership` and `dual-write`")
        return self.flag_file

    def checks(self) -> Iterator[Callable[[], object]]:
        """See `ServiceSettings.checks`."""
        yield from super().checks()
        yield lambda: read_flagd_file(self.flags())
