"""What the controller is told."""

from __future__ import annotations

from pydantic import Field

from crossfade.core.gates import Bounds
from crossfade.runtime.settings import ListeningSettings


class ControllerSettings(ListeningSettings):
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
        description="Port of GET /status, /healthz and /readyz; 0 for any free one, told by the ready line.",
    )
    verifier_url: str = Field(
        "",
        pattern=r"^(https?://.+)?$",
        description="Base URL of the verifier, for GET /parity; unset, its gates stay shut.",
    )
    bucket: str = Field("", description="S3 bucket of export and import; it must exist.")
    bucket_prefix: str = Field("crossfade", description="Prefix of all keys in it.")
    shards: int = Field(1, ge=1, description="Shards of a stream that the controller creates.")
    retention_h: int = Field(168, ge=48, le=8760, description="Retention of the streams during the migration.")
    canary_key: str = Field(
        '[{"S":"USER#cf-canary"},{"S":"POINTS#cf-canary"}]',
        description="Encoded key of the canary; it must belong to the mapping, and no client may use it.",
    )
    marker_s: float = Field(10.0, gt=0, description="How long a marker's change record is waited for in one go.")
    marker_poll_s: float = Field(0.5, gt=0, description="How often the stream is read for it.")
    settling_s: float = Field(120.0, ge=0, description="Wait after the stream is ACTIVE, before the snapshot's moment.")
    map_at_once: int = Field(2, ge=1, description="Export files mapped at the same time.")
    tick_s: float = Field(0.25, gt=0, description="How often the controller looks for something to do.")
    evidence_s: float = Field(1.0, gt=0, description="How often it collects evidence.")
    facts_s: float = Field(10.0, gt=0, description="How often it asks the control plane of AWS.")
    metric_period_s: int = Field(60, ge=1, description="Period of CloudWatch's metrics; AWS publishes them a minute.")
    probe_s: float = Field(5.0, gt=0, description="How often the canary writes.")
    probe_window: int = Field(60, ge=1, description="Canary writes that error rate and latency are taken over.")
    lease_s: float = Field(15.0, gt=0, description="How long a dead controller keeps the lease.")
    report_s: float = Field(10.0, gt=0, description="A consumer's report that stood still so long means unknown lag.")
    helped_after_s: float = Field(5.0, ge=0, description="A key standby on both sides for longer is helped.")
    sweep_rows_per_s: int = Field(2000, ge=1, description="Rows of either table that the sweeper reads a second.")
    sweep_moves_per_s: int = Field(500, ge=1, description="Keys that the sweeper hands over a second.")
    sweep_page: int = Field(200, ge=1, le=1000, description="Rows of one scan page.")
    sweep_rest_s: float = Field(10.0, ge=0, description="Rest between two passes of the sweeper.")
    stream_margin_s: float = Field(2.0, ge=0, description="Clock difference that reading the stream's end allows for.")
    revoke_command: list[str] = Field(
        [],
        description="Program and arguments (a JSON list) that take away the API's right to write the legacy table.",
    )
    stop_command: list[str] = Field(
        [], description="Program and arguments (a JSON list) that stop the replicators when a migration is complete."
    )
    hook_timeout_s: float = Field(60.0, gt=0, description="How long such a program may run.")
    gate_lag_s: float = Field(5.0, gt=0, description="Gate: highest lag of either hop.")
    gate_quiet_s: float = Field(60.0, ge=0, description="Gate: quiet window.")
    gate_clean_pass_s: float = Field(600.0, gt=0, description="Gate: oldest clean verifier pass.")
    gate_expiry_margin_s: float = Field(86_400.0, ge=0, description="Gate: oldest unapplied record to its expiry.")
    gate_min_pods: int = Field(1, ge=0, description="Gate: API pods that must be heard of.")
    gate_probe_errors: float = Field(0.01, ge=0, le=1, description="Gate: share of failed canary writes.")
    gate_probe_p99_ms: float = Field(500.0, gt=0, description="Gate: p99 of canary writes.")
    gate_probe_age_s: float = Field(60.0, gt=0, description="Gate: age of the reverse path's proof.")
    gate_api_errors: float = Field(0.01, ge=0, le=1, description="Gate: share of failed API calls.")
    gate_api_p99_ms: float = Field(250.0, gt=0, description="Gate: p99 of API calls.")
    plan_sample: int = Field(2000, ge=1, description="Rows that `plan` reads to prove the mapping's round trip.")

    def bounds(self) -> Bounds:
        """Return the gates' bounds."""
        return Bounds(**{name: getattr(self, f"gate_{name}") for name in Bounds._fields})
