"""Settings of a process: from environment variables `CROSSFADE_…`, checked whole before anything starts."""

from __future__ import annotations

import difflib
import importlib
import os
import secrets
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Literal, Self, TypeVar, cast

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from crossfade.core.mapping.interface import Mapping
from crossfade.core.values.errors import ConfigError
from crossfade.core.values.shape import Side, same_table
from crossfade.runtime.tls import TlsFiles, client_context, server_context
from crossfade.runtime.urls import LOOPBACK, Address, http_url, redis_url

PREFIX: Final = "CROSSFADE_"


_REGION: Final = r"^[a-z]{2,}(-[a-z]+)*-[0-9]{1,2}$"
_REGION_OR_NONE: Final = r"^([a-z]{2,}(-[a-z]+)*-[0-9]{1,2})?$"
_ROLE: Final = r"^(arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]+)?$"
_PROFILE: Final = r"^[^\s\[\]]*$"

STREAM: Final = r"^[a-zA-Z0-9_.-]{1,128}$"
"""Names that Kinesis takes."""

NAME: Final = r"^[!-~]{1,255}$"
"""Names of processes: one word of printable ASCII."""

_MAPPING_NAMES: Final = sorted(name for name in vars(Mapping) if not name.startswith("_"))


class ServiceSettings(BaseSettings):
    """What every service can be set to. A service subclasses it with settings of its own."""

    # An error that shows its input would show a password; nan and inf are no durations.
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False
    )

    migration_mapping: str = Field("engagement_migration:MAPPING", description="The mapping, as module:attribute.")
    region: str = Field(
        "us-east-1",
        pattern=_REGION,
        description="AWS Region of the control tables, the bucket and the feed stream, and of each table and its "
        "stream unless that side has one of its own; such as us-east-1.",
    )
    aws_endpoint_url: str | None = Field(
        None, description="One endpoint for every AWS service; unset for the real ones."
    )
    source_region: str = Field("", pattern=_REGION_OR_NONE, description="Region of the source table, if it is another.")
    source_endpoint_url: str | None = Field(None, description="Endpoint of the source table's side, if it is another.")
    source_profile: str = Field(
        "", pattern=_PROFILE, description="Profile of ~/.aws/config that reaches the source table and its stream."
    )
    source_role_arn: str = Field(
        "",
        pattern=_ROLE,
        description="Role to assume for the source table and its stream; by that profile, if any.",
    )
    target_region: str = Field("", pattern=_REGION_OR_NONE, description="Region of the target table, if it is another.")
    target_endpoint_url: str | None = Field(None, description="Endpoint of the target table's side, if it is another.")
    target_profile: str = Field(
        "", pattern=_PROFILE, description="Profile of ~/.aws/config that reaches the target table and its stream."
    )
    target_role_arn: str = Field(
        "",
        pattern=_ROLE,
        description="Role to assume for the target table and its stream; by that profile, if any.",
    )
    redis_url: str | None = Field(
        None,
        description="Marks of applied writes: redis://USER:PASSWORD@HOST:6379/0, percent-encoded; without it every "
        "copy is written.",
    )
    flag_file: Path | None = Field(None, description="The flagd file with the flags `ownership` and `dual-write`.")
    source_stream: str = Field(
        "wallet-changes", pattern=STREAM, description="Kinesis stream with the source table's change records."
    )
    target_stream: str = Field(
        "engagement-changes", pattern=STREAM, description="Kinesis stream with the target table's change records."
    )
    feed_stream: str = Field(
        "engagement-events", pattern=STREAM, description="Kinesis stream that the feed publishes to."
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Lowest level that is logged.")
    pod: str = Field(
        default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}",
        pattern=NAME,
        description="Name of this process, unique for each start.",
    )
    insecure: bool = Field(
        False,
        description="Allow kill points, and plain connections beyond loopback: for tests and fenced-off networks.",
    )
    health_host: str = Field("127.0.0.1", description="Address of the health page, which shows nothing else.")
    health_port: int | None = Field(
        None, ge=0, le=65535, description="Port of GET /healthz and /readyz, plain HTTP; 0: any free one; unset: none."
    )

    @field_validator("aws_endpoint_url", "source_endpoint_url", "target_endpoint_url", "redis_url")
    @classmethod
    def _url(cls, value: str | None, info: ValidationInfo) -> str | None:
        read = redis_url if info.field_name == "redis_url" else http_url
        return read(value) if value else None

    @model_validator(mode="after")
    def _streams_differ(self) -> Self:
        if len({self.source_stream, self.target_stream, self.feed_stream}) < 3:
            raise ValueError(
                "CROSSFADE_SOURCE_STREAM, CROSSFADE_TARGET_STREAM and CROSSFADE_FEED_STREAM must name three streams"
            )
        return self

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        ports = [name for name in ("health_port", "port", "http_port") if getattr(self, name, 0)]
        if len({getattr(self, name) for name in ports}) < len(ports):
            raise ValueError(f"{' and '.join(PREFIX + name.upper() for name in ports)} are one port: give each its own")
        return self

    def checks(self) -> Iterator[Callable[[], object]]:
        """Yield what to try before anything starts, of what the values alone can't tell; each raises `ConfigError`."""
        from crossfade.runtime.telemetry.config import read_config  # its package is slow to import

        yield self.mapping
        yield lambda: read_config(os.environ)
        if self.health_port is not None:
            yield lambda: check_address("health_host", self.health_host)

    def problems(self) -> list[str]:
        """Say what stands in the way of a start with these settings, a sentence each, by the setting's name."""
        found = []
        for check in self.checks():
            try:
                check()
            except ConfigError as error:
                found.append(str(error))
        return found

    @property
    def health_address(self) -> Address | None:
        """Where the health page is served; None for nowhere."""
        return (
            None if self.health_port is None else Address(self.health_host, self.health_port, "CROSSFADE_HEALTH_PORT")
        )

    def mapping(self) -> Mapping:
        """Load the migration's mapping.

        Raises:
            ConfigError: there is no such module or attribute.
        """
        return load_mapping(self.migration_mapping)


class ListeningSettings(ServiceSettings):
    """Settings of a service that others call. Beyond loopback it needs TLS, or to be told that it needs none."""

    tls_cert_file: Path | None = Field(None, description="Certificate chain, PEM. With it all connections are mTLS.")
    tls_key_file: Path | None = Field(None, description="Private key of it, PEM.")
    tls_client_ca_file: Path | None = Field(
        None, validate_default=True, description="Authorities that must have signed the peers' certificates, PEM."
    )
    host: str = Field("127.0.0.1", description="Address to listen on; beyond loopback only with TLS.")

    @field_validator("tls_client_ca_file")
    @classmethod
    def _all_or_none(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        given = (value, info.data.get("tls_cert_file"), info.data.get("tls_key_file"))
        if any(given) and not all(given):
            raise ValueError(
                "CROSSFADE_TLS_CERT_FILE, CROSSFADE_TLS_KEY_FILE and CROSSFADE_TLS_CLIENT_CA_FILE go together"
            )
        return value

    @field_validator("host")
    @classmethod
    def _safe(cls, value: str, info: ValidationInfo) -> str:
        if value in LOOPBACK or info.data.get("tls_cert_file") or info.data.get("insecure"):
            return value
        raise ValueError(
            "only loopback addresses are allowed without TLS; set CROSSFADE_TLS_CERT_FILE, CROSSFADE_TLS_KEY_FILE and "
            "CROSSFADE_TLS_CLIENT_CA_FILE, or CROSSFADE_INSECURE=1 where nobody else reaches the network"
        )

    def checks(self) -> Iterator[Callable[[], object]]:
        """See `ServiceSettings.checks`."""
        yield from super().checks()
        yield lambda: check_address("host", self.host)
        files = self.tls
        if files is not None:
            yield lambda: (server_context(files), client_context(files))

    @property
    def tls(self) -> TlsFiles | None:
        """The files of mutual TLS; None for plain connections."""
        if not (self.tls_cert_file and self.tls_key_file and self.tls_client_ca_file):
            return None
        return TlsFiles(self.tls_cert_file, self.tls_key_file, self.tls_client_ca_file)


def load_mapping(reference: str) -> Mapping:
    """Import a mapping by its "module:attribute" reference.

    Raises:
        ConfigError: there is no such module or attribute, or its source and target are one table.
    """
    module, colon, attribute = reference.partition(":")
    if not colon:
        raise ConfigError(f"{PREFIX}MIGRATION_MAPPING must be module:attribute, not {reference!r}")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # whoever wrote the mapping decides what its module may raise
        said = str(error) if isinstance(error, (ConfigError, ImportError, AttributeError)) else repr(error)
        raise ConfigError(f"{PREFIX}MIGRATION_MAPPING={reference}: {said}") from error
    missing = [name for name in _MAPPING_NAMES if not hasattr(found, name)]
    if missing:
        kind = type(found).__name__
        raise ConfigError(f"{PREFIX}MIGRATION_MAPPING={reference} is a {kind}, not a mapping: it has no {missing[0]}")
    mapping = cast("Mapping", found)
    source, target = (mapping.shape(side).table for side in (Side.SOURCE, Side.TARGET))
    if same_table(source, target):
        raise ConfigError(
            f"{PREFIX}MIGRATION_MAPPING={reference}: source {source} and target {target} are one table: each key would "
            "be sealed and activated in the same row. Name the target table differently; of two accounts or Regions, "
            "name both tables by their ARNs"
        )
    return mapping


def check_address(field: str, host: str) -> None:
    """Make sure that this machine can listen on an address.

    Args:
        field: the setting's name.
        host: name or address.

    Raises:
        ConfigError: it can't.
    """
    if host in {"127.0.0.1", "localhost"}:
        return  # every machine has it
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM):
            with socket.socket(family, kind, protocol) as probe:
                probe.bind(address)
    except (OSError, ValueError) as error:  # ValueError: no host name at all
        raise ConfigError(f"{PREFIX}{field.upper()}: this machine can't listen on {host!r}: {error}") from error


SettingsT = TypeVar("SettingsT", bound=ServiceSettings)


def unknown_keys(cls: type[ServiceSettings], environment: dict[str, str]) -> list[str]:
    """Return a sentence for each CROSSFADE_ variable that `cls` has no field for."""
    known = {PREFIX + name.upper() for name in cls.model_fields}
    sentences = []
    for key in sorted(environment):
        if key.startswith(PREFIX) and key not in known:
            names = [each.removeprefix(PREFIX) for each in known]
            near = difflib.get_close_matches(key.removeprefix(PREFIX), names, n=1)
            cure = f"did you mean {PREFIX}{near[0]}?" if near else "set it only for the program that knows it"
            sentences.append(f"{key}: unknown setting; {cure}")
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
        wrong += [_sentence(cls, each) for each in error.errors()]
        raise ConfigError("\n".join(wrong)) from None  # a traceback would show what was given
    except SettingsError as error:  # a list that is not JSON
        raise ConfigError("\n".join([*wrong, f"{_field_of(cls, error)}{_AS_JSON}"])) from None
    if wrong:
        raise ConfigError("\n".join(wrong))
    return settings


_AS_JSON: Final = ': is not JSON; write a list as ["one","two"]'


def _field_of(cls: type[ServiceSettings], error: SettingsError) -> str:
    """Name the variable that an error is about; pydantic-settings says the field in quotes, and not the value."""
    named = [name for name in cls.model_fields if f'"{name}"' in str(error)]
    return PREFIX + named[0].upper() if named else str(error)


def _sentence(cls: type[ServiceSettings], error: ErrorDetails) -> str:
    """Say which variable is wrong, why, and what it is for; never the value, which may be a secret."""
    why = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:
        return why  # about several variables; it names them itself
    field = str(error["loc"][0])
    why = "is not set" if error["type"] == "missing" else why
    meaning = cls.model_fields[field].description if field in cls.model_fields else None
    return f"{PREFIX}{field.upper()}: {why}" + (f"  ({meaning})" if meaning else "")


def load_settings(cls: type[SettingsT], **overrides: Any) -> SettingsT:
    """Read the settings, or say on stderr what is wrong with them and end the process with exit code 2."""
    try:
        return read_settings(cls, **overrides)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from error


def load_checked(cls: type[SettingsT]) -> SettingsT:
    """Read the settings and try them, as a service does before it starts and as `--check` does; see `load_settings`."""
    settings = load_settings(cls)
    if found := settings.problems():
        sys.stderr.write("\n".join(found) + "\n")
        raise SystemExit(2)
    return settings


def describe_settings(cls: type[ServiceSettings]) -> str:
    """Return the settings as text for `--help`: a line each, with default and meaning."""
    lines = []
    for name, field in cls.model_fields.items():
        value = "unset" if field.default is None or field.default == "" else field.default
        default = "" if field.default_factory or field.is_required() else f" (default: {value})"
        needed = " (required)" if field.is_required() else default
        lines.append(f"  {PREFIX}{name.upper()}{needed}\n      {field.description or ''}")
    return "\n".join(lines)
