"""Settings of a process: from environment variables `CROSSFADE_…`, checked whole before anything starts."""

from __future__ import annotations

import difflib
import importlib
import os
import secrets
import socket
import sys
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar, cast

from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from crossfade.core.errors import ConfigError
from crossfade.core.mapping import Mapping

PREFIX: Final = "CROSSFADE_"


def _loopback(host: str) -> str:
    if host not in {"127.0.0.1", "localhost", "::1"}:
        raise ValueError("only loopback addresses are allowed without TLS and tokens; use 127.0.0.1")
    return host


Host = Annotated[str, AfterValidator(_loopback)]
"""An address to listen on; loopback until the service can authenticate its callers (design.md, section 8)."""


class ServiceSettings(BaseSettings):
    """What every service is told. A service subclasses it with settings of its own."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    migration_mapping: str = Field("engagement_migration:MAPPING", description="The mapping, as module:attribute.")
    region: str = Field("us-east-1", description="AWS Region of both tables and all streams.")
    aws_endpoint_url: str | None = Field(
        None, description="One endpoint for every AWS service; unset for the real ones."
    )
    redis_url: str | None = Field(None, description="Marks of applied writes; without it every copy is written.")
    flag_file: Path | None = Field(None, description="The flagd file with the flags `ownership` and `dual-write`.")
    legacy_stream: str = Field("wallet-changes", description="Kinesis stream with the legacy table's change records.")
    new_stream: str = Field("engagement-changes", description="Kinesis stream with the new table's change records.")
    feed_stream: str = Field("engagement-events", description="Kinesis stream that the feed publishes to.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least level that is logged.")
    pod: str = Field(
        default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}",
        description="Name of this process, unique for each start.",
    )
    insecure: bool = Field(False, description="Allow what only tests need: kill points, plain connections.")

    def mapping(self) -> Mapping:
        """Load the migration's mapping.

        Raises:
            ConfigError: there is no such module or attribute.
        """
        return load_mapping(self.migration_mapping)


def load_mapping(reference: str) -> Mapping:
    """Import a mapping by its "module:attribute" reference.

    Raises:
        ConfigError: there is no such module or attribute.
    """
    module, colon, attribute = reference.partition(":")
    if not colon:
        raise ConfigError(f"{PREFIX}MIGRATION_MAPPING must be module:attribute, not {reference!r}")
    try:
        return cast("Mapping", getattr(importlib.import_module(module), attribute))
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{PREFIX}MIGRATION_MAPPING={reference}: {error}") from error


SettingsT = TypeVar("SettingsT", bound=ServiceSettings)


def unknown_keys(cls: type[ServiceSettings], environment: dict[str, str]) -> list[str]:
    """Return a sentence for each CROSSFADE_ variable that `cls` has no field for."""
    known = {PREFIX + name.upper() for name in cls.model_fields}
    sentences = []
    for key in sorted(environment):
        if key.startswith(PREFIX) and key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            sentences.append(f"{key}: unknown setting" + (f"; did you mean {near[0]}?" if near else ""))
    return sentences


def read_settings(cls: type[SettingsT], **overrides: Any) -> SettingsT:
    """Read the settings from the environment.

    Args:
        cls: the service's settings.
        overrides: values from the command line, by field name; they win.

    Raises:
        ConfigError: a variable is unknown or wrong; the message names each and its cure.
    """
    wrong = unknown_keys(cls, dict(os.environ))
    try:
        settings = cls(**overrides)
    except ValidationError as error:
        for each in error.errors():
            name = PREFIX + "_".join(map(str, each["loc"])).upper()
            wrong.append(f"{name}: {each['msg']}")
        raise ConfigError("\n".join(wrong)) from error
    if wrong:
        raise ConfigError("\n".join(wrong))
    return settings


def load_settings(cls: type[SettingsT], **overrides: Any) -> SettingsT:
    """Read the settings, or say on stderr what is wrong with them and end the process with exit code 2."""
    try:
        return read_settings(cls, **overrides)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from error


def describe_settings(cls: type[ServiceSettings]) -> str:
    """Return the settings as text for `--help`: a line each, with default and meaning."""
    lines = []
    for name, field in cls.model_fields.items():
        default = "" if field.default_factory or field.is_required() else f" (default: {field.default})"
        needed = " (required)" if field.is_required() else default
        lines.append(f"  {PREFIX}{name.upper()}{needed}\n      {field.description or ''}")
    return "\n".join(lines)
