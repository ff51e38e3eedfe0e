"""Which processes the demo runs, with which settings; bounds are about a tenth of the defaults, as the report says."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

from crossfade_demo.pace import Pace
from crossfade_demo.processes import Service, python_module
from localaws.endpoints import Endpoints

BUCKET: Final = "crossfade-demo"
SETTLING_S: Final = 2


def stretched(settings: Mapping[str, str], names: frozenset[str], stretch: float) -> dict[str, str]:
    """Return settings with the times among them that grow with the machine's slowness grown."""
    return {name: f"{float(value) * stretch:g}" if name in names else value for name, value in settings.items()}


GROWING: Final = frozenset(
    f"CROSSFADE_{name}"
    for name in (
        "REPORT_S",
        "LEASE_S",
        "GATE_LAG_S",
        "GATE_CLEAN_PASS_S",
        "GATE_PROBE_AGE_S",
        "GATE_API_P99_MS",
        "GATE_PROBE_P99_MS",
        "IN_FLIGHT_BOUND_S",
        "OPERATION_S",
    )
)
"""Bounds on how long something may take; a machine that is slow at the start gets more. Quiet windows and intervals
don't grow: longer ones would be harder to keep, not easier."""

API: Final = {"CROSSFADE_LEASE_S": "4", "CROSSFADE_OPERATION_S": "1.5"}
"""Settings of the demo's API processes, beside their ports."""

CONTROLLER: Final = {
    "CROSSFADE_BUCKET": BUCKET,
    "CROSSFADE_SETTLING_S": str(SETTLING_S),
    "CROSSFADE_EVIDENCE_S": "0.5",
    "CROSSFADE_FACTS_S": "2",
    "CROSSFADE_METRIC_PERIOD_S": "1",
    "CROSSFADE_PROBE_S": "1",
    "CROSSFADE_REPORT_S": "4",
    "CROSSFADE_LEASE_S": "5",
    "CROSSFADE_DOOR_S": "60",  # beside other work it may lose its lease for a moment
    "CROSSFADE_HELPED_AFTER_S": "2",
    "CROSSFADE_SWEEP_REST_S": "0.5",
    "CROSSFADE_SWEEP_ROWS_PER_S": "6000",
    "CROSSFADE_SWEEP_MOVES_PER_S": "800",
    "CROSSFADE_GATE_LAG_S": "4",
    "CROSSFADE_GATE_QUIET_S": "3",
    "CROSSFADE_GATE_CLEAN_PASS_S": "30",
    "CROSSFADE_GATE_PROBE_AGE_S": "15",
    "CROSSFADE_GATE_MIN_PODS": "2",
    "CROSSFADE_GATE_API_P99_MS": "2000",  # all of it shares two cores: a stall here says little
    "CROSSFADE_GATE_PROBE_P99_MS": "2000",
}
"""Settings of the demo's controller, beside its endpoints."""

VERIFIER: Final = {
    "CROSSFADE_READS_PER_S": "5000",
    "CROSSFADE_SEGMENTS": "1",
    "CROSSFADE_PAGE": "500",
    "CROSSFADE_IN_FLIGHT_BOUND_S": "5",
    "CROSSFADE_CLOUDWATCH": "1",
    "CROSSFADE_CLOUDWATCH_EVERY_S": "5",
}
"""Settings of the demo's verifier, beside its endpoints."""

OPERATOR: Final = "operator"
"""Access key id of the CLI. Every service has its own, so that the embedded AWS can tell who called what."""


PROCESSES: Final = ("api-a", "api-b", "forward", "reverse", "feed", "verifier", "controller")
"""Names of the processes, as their logs have them."""


class Fleet(NamedTuple):
    """The services of the demo."""

    apis: tuple[Service, Service]
    controller: Service
    verifier: Service
    forward: Service
    reverse: Service
    feed: Service

    async def stop(self) -> dict[str, int | None]:
        """Stop all at once; return their exit codes."""
        codes = await asyncio.gather(*(each.stop() for each in self.all()))
        return {each.name: code for each, code in zip(self.all(), codes, strict=True)}

    def all(self) -> list[Service]:
        """Return them as a list."""
        return [*self.apis, self.forward, self.reverse, self.feed, self.verifier, self.controller]


def shared_settings(endpoints: Endpoints, flag_file: Path) -> dict[str, str]:
    """Return the settings that every service and the CLI are given."""
    return {
        "AWS_ACCESS_KEY_ID": endpoints.access_key_id,
        "AWS_SECRET_ACCESS_KEY": endpoints.secret_access_key,
        "CROSSFADE_REGION": endpoints.region,
        "CROSSFADE_AWS_ENDPOINT_URL": endpoints.aws_endpoint,
        "CROSSFADE_REDIS_URL": endpoints.redis_url or "",
        "CROSSFADE_FLAG_FILE": str(flag_file),
    }


def make_fleet(
    shared: dict[str, str],
    own_flag_file: Path,
    logs: Path,
    ports: dict[str, int],
    pace: Pace,
    metrics: dict[str, int] | None = None,
) -> Fleet:
    """Build the services; none is started.

    Args:
        shared: what `shared_settings` returns.
        own_flag_file: of the second API process, so that the story can hold it back.
        logs: directory of the services' logs.
        ports: of "api-a", "api-b", "verifier" and "controller": fixed, so that a restart keeps them.
        pace: of the machine; how slow it is now stretches the services' own bounds.
        metrics: port of each process's /metrics, by the names of `PROCESSES`; None where none is served.
    """

    stretch = pace.now

    def service(name: str, module: str, **settings: str) -> Service:
        key = {"AWS_ACCESS_KEY_ID": module.partition(".")[0]}
        served = {}
        if metrics is not None:
            others = shared.get("OTEL_METRICS_EXPORTER", "none")
            served = {
                "OTEL_METRICS_EXPORTER": f"{others},prometheus",
                "OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1",
                "OTEL_EXPORTER_PROMETHEUS_PORT": str(metrics[name]),
            }
        told = shared | key | served | stretched(settings, GROWING, stretch)
        return Service(name, python_module(module), told, logs, pace)

    def api(name: str, **settings: str) -> Service:
        return service(
            name,
            "engagement_api.main",
            CROSSFADE_PORT=str(ports[name]),
            **API,
            **settings,
        )

    def replicator(consumer: str) -> Service:
        return service(
            consumer,
            "crossfade_replicator.main",
            AWS_ACCESS_KEY_ID=consumer,
            CROSSFADE_CONSUMER=consumer,
            CROSSFADE_WORKER=consumer,
        )

    controller = service(
        "controller",
        "crossfade_controller.main",
        CROSSFADE_HTTP_PORT=str(ports["controller"]),
        **controller_settings(ports),
    )
    return Fleet(
        apis=(api("api-a"), api("api-b", CROSSFADE_FLAG_FILE=str(own_flag_file))),
        controller=controller,
        verifier=service("verifier", "crossfade_verifier.main", CROSSFADE_HTTP_PORT=str(ports["verifier"]), **VERIFIER),
        forward=replicator("forward"),
        reverse=replicator("reverse"),
        feed=replicator("feed"),
    )


def controller_settings(ports: dict[str, int]) -> dict[str, str]:
    """Return the settings that the controller and the CLI share."""
    return CONTROLLER | {"CROSSFADE_VERIFIER_URL": f"http://127.0.0.1:{ports['verifier']}"}
