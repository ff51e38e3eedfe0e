"""Settings of the controller and the CLI."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, Literal

import msgspec
from pydantic import Field, field_validator

from crossfade.adapters.flagd import check_writable
from crossfade.core.mapping.interface import Mapping
from crossfade.core.migration.evidence import Bounds
from crossfade.core.migration.keyed import phases_of
from crossfade.core.migration.seen import FlipSetup, Setup
from crossfade.core.values.errors import ConfigError, PoisonRecord
from crossfade.core.values.keys import Key, key_of_values
from crossfade.core.values.shape import Side
from crossfade.runtime.access_settings import AskingSettings, GuardedSettings
from crossfade.runtime.settings import PREFIX
from crossfade.runtime.urls import http_url

_PREFIX: Final = r"^[\w!.*'()-]+(/[\w!.*'()-]+)*$"
"""A prefix of S3 keys, of the characters that S3 calls safe."""


class ControllerSettings(GuardedSettings, AskingSettings):
    """Settings of the controller and of the CLI `crossfade`."""

    flag_config_map: str = Field(
        "",
        pattern=r"^([a-z0-9-]+/)?[a-z0-9.-]+$|^$",
        description="Kubernetes ConfigMap that the flags are published to, as NAME or NAMESPACE/NAME; "
        "the pods mount it. It must exist. Unset: they are published to the flag file.",
    )
    http_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="Port of GET /status, /healthz and /readyz; 0 picks a free one, printed in the ready line.",
    )
    controller_url: str = Field(
        "",
        pattern=r"^(https?://.+)?$",
        description="Base URL of the controller that drives, for commands. Unset: the address that it listens on.",
    )
    door_s: float = Field(
        5.0, ge=0, description="How long a command of the CLI looks for a controller that drives before it is refused."
    )
    intent_s: float = Field(
        14_400.0, gt=0, description="How long a command may wait before anything is done for it; then it expires."
    )
    verifier_url: str = Field(
        "",
        pattern=r"^(https?://.+)?$",
        description="Base URL of the verifier, for GET /parity; unset, its gates stay shut.",
    )
    bucket: str = Field(
        "",
        pattern=r"^([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])?$",
        description="Name of the S3 bucket for export and import; it must exist.",
    )
    bucket_owner: str = Field(
        "",
        pattern=r"^([0-9]{12})?$",
        description="Account that owns the bucket, if a table is in another one: export and import need it then.",
    )
    bucket_prefix: str = Field(
        "crossfade", pattern=_PREFIX, max_length=512, description="Prefix of all keys in it, such as crossfade or a/b."
    )
    shards: int = Field(1, ge=1, description="Shards of a stream that the controller creates.")
    retention_h: int = Field(168, ge=48, le=8760, description="Retention of the streams during the migration.")
    canary_key: str = Field(
        '[{"S":"USER#cf-canary"},{"S":"POINTS#cf-canary"}]',
        description="Encoded key of the canary; it must belong to the mapping, and no client may use it.",
    )
    marker_s: float = Field(10.0, gt=0, description="How long to wait for a marker's change record at a time.")
    marker_poll_s: float = Field(0.5, gt=0, description="How often the stream is read for it.")
    settling_s: float = Field(120.0, ge=0, description="Wait after the stream is ACTIVE, before the snapshot's moment.")
    map_at_once: int = Field(
        2,
        ge=1,
        description="Export files mapped at the same time, each by a process of its own if there are more than 200,000 "
        "rows; one takes some 100 MB.",
    )
    load: Literal["import", "write"] = Field(
        "import",
        description="How the target table is filled: import creates it (ImportTable); write fills one that you "
        "created, by an insert of each row: for local indexes, and for a table that exists or is shared.",
    )
    load_rows_per_s: int = Field(1000, ge=1, description="Rows per second that load=write inserts.")
    tick_s: float = Field(0.25, gt=0, description="How often the controller looks for something to do.")
    evidence_s: float = Field(1.0, gt=0, description="How often it collects evidence.")
    facts_s: float = Field(10.0, gt=0, description="How often it queries AWS's control plane.")
    metric_period_s: int = Field(
        60, ge=1, description="Period of CloudWatch's metrics; AWS publishes them once a minute."
    )
    probe_s: float = Field(5.0, gt=0, description="How often the canary writes.")
    probe_window: int = Field(
        60, ge=1, description="Number of canary writes that error rate and latency are computed over."
    )
    lease_s: float = Field(15.0, gt=0, description="How long a dead controller keeps the lease.")
    report_s: float = Field(
        10.0, gt=0, description="If a consumer's report hasn't changed for this long, its lag is unknown."
    )
    helped_after_s: float = Field(5.0, ge=0, description="A key that is standby on both sides for longer is helped.")
    sweep_rows_per_s: int = Field(2000, ge=1, description="Rows of either table that the sweeper reads per second.")
    sweep_moves_per_s: int = Field(500, ge=1, description="Keys that the sweeper hands over per second.")
    sweep_page: int = Field(200, ge=1, le=1000, description="Rows per scan page.")
    sweep_rest_s: float = Field(10.0, ge=0, description="Pause between two passes of the sweeper.")
    stream_margin_s: float = Field(2.0, ge=0, description="Clock difference that reading the stream's end allows for.")
    revoke_command: list[str] = Field(
        [],
        description="Program and arguments (a JSON list) that take away the API's right to write the source table.",
    )
    stop_command: list[str] = Field(
        [], description="Program and arguments (a JSON list) that stop the replicators when a migration is complete."
    )
    hold_command: list[str] = Field(
        [],
        description="Plain protocol: program and arguments (a JSON list) that stop the application's writes. It gets "
        "OWNER, OWNER_TABLE and EPOCH in its environment; its exit with 0 says that no request is under way or will "
        "be retried. It must refuse an epoch that is lower than one it has seen.",
    )
    release_command: list[str] = Field(
        [],
        description="Plain protocol: program and arguments (a JSON list) that let the application write again, to "
        "OWNER_TABLE. Environment and epochs as for the hold command. It may be run more than once.",
    )
    guard: bool = Field(
        False,
        description="Plain protocol: a resource policy denies all writers but Crossfade's roles on the standby, and on "
        "both tables during a hold, which it proves.",
    )
    guard_roles: list[str] = Field(
        [],
        description="Plain protocol, required with a guard: ARNs (a JSON list) of the roles that may write: those of "
        "the controller, the replicators and the verifier.",
    )
    probe_profile: str = Field(
        "",
        pattern=r"^[^\s\[\]]*$",
        description="Plain protocol, this or the role required with a guard: profile of a writer like the application, "
        "with no right but to dynamodb:PutItem on both tables; its refusal proves a hold.",
    )
    probe_role_arn: str = Field(
        "", pattern=r"^(arn:[\w-]+:iam::\d{12}:role/.+)?$", description="Role to assume for it, likewise."
    )
    settle_s: float | None = Field(
        None,
        ge=0,
        description="Plain protocol, required without a guard: how long after the hold command's exit a request may "
        "still be under way: the application's longest attempt plus its back-off.",
    )
    hold_at_most_s: float = Field(
        120.0, gt=0, description="Plain protocol: an attempt to flip is given up when writes were held for so long."
    )
    signature_s: float = Field(
        900.0,
        ge=0,
        description="Plain protocol: how old a signed request may be when DynamoDB still takes it. A member that died "
        "is waited out for so long before a flip.",
    )
    changed_at_most: int = Field(
        10_000, ge=0, description="Plain protocol: keys that may be left to compare when writes are held."
    )
    hook_timeout_s: float = Field(60.0, gt=0, description="How long such a program may run.")
    gate_lag_s: float = Field(5.0, gt=0, description="Gate: highest lag of either hop.")
    gate_quiet_s: float = Field(60.0, ge=0, description="Gate: quiet window.")
    gate_clean_pass_s: float = Field(600.0, gt=0, description="Gate: oldest clean verifier pass.")
    gate_expiry_margin_s: float = Field(
        86_400.0, ge=0, description="Gate: least time until the oldest unapplied record expires."
    )
    gate_min_pods: int = Field(1, ge=0, description="Gate: API pods that must report.")
    gate_probe_errors: float = Field(0.01, ge=0, le=1, description="Gate: share of failed canary writes.")
    gate_probe_p99_ms: float = Field(500.0, gt=0, description="Gate: p99 of canary writes.")
    gate_probe_age_s: float = Field(60.0, gt=0, description="Gate: age of the reverse path's proof.")
    gate_feed: bool = Field(
        True, description="Gate: the feed keeps up. Turn it off only if nobody consumes domain events and no feed runs."
    )
    gate_api_errors: float = Field(0.01, ge=0, le=1, description="Gate: share of failed API calls.")
    gate_api_p99_ms: float = Field(250.0, gt=0, description="Gate: p99 of API calls.")
    gate_skew_s: float = Field(
        2.0, gt=0, description="Gate: how far the controller's clock may be off AWS's, beyond whole seconds."
    )
    plan_sample: int = Field(
        2000,
        ge=1,
        description="Rows of the mapping that `plan` looks for across the whole table, to prove the round trip.",
    )
    plan_units: int = Field(2000, ge=1, description="Most read units that `plan` spends on a table; 2,000 read 16 MB.")

    @field_validator("verifier_url", "controller_url")
    @classmethod
    def _web_url(cls, value: str) -> str:
        return http_url(value) if value else value

    @field_validator("metric_period_s")
    @classmethod
    def _period(cls, value: int) -> int:
        if value not in (1, 5, 10, 30) and value % 60:
            raise ValueError("must be 1, 5, 10, 30 or a multiple of 60: CloudWatch knows no other periods")
        return value

    @field_validator("revoke_command", "stop_command", "hold_command", "release_command")
    @classmethod
    def _command(cls, value: list[str]) -> list[str]:
        if value and not value[0]:
            raise ValueError("the first entry must name a program")
        return value

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams of a migration."""
        return (self.source_stream, self.target_stream, self.feed_stream)

    def setup(self, mapping: Mapping) -> Setup:
        """Return what the state machine needs to know about the migration."""
        return Setup(
            migration=mapping.name,
            tables={side: mapping.shape(side).table for side in Side},
            streams=self.streams,
            retention_h=self.retention_h,
            settling_s=self.settling_s,
            bucket=self.bucket,
            bucket_prefix=self.bucket_prefix,
            revoke=tuple(self.revoke_command),
            stop=tuple(self.stop_command),
            load=self.load,
            flip=FlipSetup(
                hold=tuple(self.hold_command),
                release=tuple(self.release_command),
                guard=self.guard,
                settle_s=self.settle_s,
                at_most_s=self.hold_at_most_s,
                signature_s=self.signature_s,
                changed_at_most=self.changed_at_most,
            ),
        )

    @property
    def has_canary(self) -> bool:
        """Whether a canary key is named: the default is for the keyed protocol, and the plain one can do without."""
        return "canary_key" in self.model_fields_set and bool(self.canary_key)

    def canary(self, mapping: Mapping) -> Key:
        """Return the canary's key.

        Raises:
            ConfigError: it is not a key, or doesn't belong to the mapping.
        """
        names = mapping.shape(Side.SOURCE).key
        form = "as in " + ",".join(f'{{"S":"{name}"}}' for name in names).join("[]")
        try:
            values = msgspec.json.decode(self.canary_key, type=list[dict[str, str]])
            if len(values) != len(names):
                raise PoisonRecord(f"it has {len(values)} values, keys of {mapping.name} have {len(names)}")
            if any(len(each) != 1 or each.keys() - {"S", "N", "B"} or not all(each.values()) for each in values):
                raise PoisonRecord("a value is one of S, N and B, and not empty")
            key = key_of_values(dict(zip(names, values, strict=True)), names)
        except (msgspec.MsgspecError, PoisonRecord) as error:
            raise ConfigError(
                f"CROSSFADE_CANARY_KEY={self.canary_key} is not an encoded key, {form}: {error}"
            ) from error
        if not mapping.belongs(key):
            raise ConfigError(
                f"CROSSFADE_CANARY_KEY={self.canary_key} doesn't belong to the mapping {mapping.name}: name a key that "
                "does, and that no client uses"
            )
        return key

    def checks(self) -> Iterator[Callable[[], object]]:
        """See `ServiceSettings.checks`."""
        yield from super().checks()
        yield self._check_canary
        yield self._check_flags
        yield self._check_operators
        yield self._check_guard
        yield lambda: _check_program("revoke_command", self.revoke_command)
        for field in ("stop_command", "hold_command", "release_command"):
            yield partial(_check_program, field, getattr(self, field))

    def _check_canary(self) -> None:
        try:
            mapping = self.mapping()
        except ConfigError:
            return  # said already
        if phases_of(mapping.protocol).flags or self.has_canary:
            self.canary(mapping)

    def _check_flags(self) -> None:
        with suppress(ConfigError):  # said already
            if not phases_of(self.mapping().protocol).flags:
                return
        if self.flag_config_map:
            from crossfade.adapters.config_map import in_cluster

            in_cluster()
        elif self.flag_file is None:
            raise ConfigError(
                "CROSSFADE_FLAG_FILE: neither this nor CROSSFADE_FLAG_CONFIG_MAP is set; flags are published to one "
                "of them"
            )
        else:
            check_writable(self.flag_file)

    def _check_guard(self) -> None:
        if self.guard and not (self.guard_roles and (self.probe_profile or self.probe_role_arn)):
            raise ConfigError(
                "CROSSFADE_GUARD: a guard denies everybody but CROSSFADE_GUARD_ROLES, and is proven by the refusal of "
                "CROSSFADE_PROBE_ROLE_ARN or CROSSFADE_PROBE_PROFILE: set both"
            )

    def _check_operators(self) -> None:
        if self.tls and not self.operators and not self.jwks:
            raise ConfigError(
                "CROSSFADE_OPERATORS: not set, so nobody may give commands by TLS: name the certificates that may, as "
                'in ["ann"], with the one that the CLI uses in the controller\'s pods; or ["*"] for every one; or set '
                "CROSSFADE_JWKS, so that operators show tokens"
            )

    def bounds(self) -> Bounds:
        """Return the gates' bounds."""
        told = {name: getattr(self, f"gate_{name}") for name in Bounds._fields if name != "signature_s"}
        return Bounds(**told, signature_s=self.signature_s)


def _check_program(field: str, command: Sequence[str]) -> None:
    if command and shutil.which(command[0]) is None:
        raise ConfigError(f"{PREFIX}{field.upper()}: there is no program {command[0]} here that can be run")
