"""Writes values.schema.json of the charts: what their values may be, the services' own settings among them.

tools/helm_schemas.py          write them
tools/helm_schemas.py --check  say which are out of date, and end with 1 if any is
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from crossfade.runtime.settings import ServiceSettings
from crossfade_controller.settings import ControllerSettings
from crossfade_replicator.settings import ConsumerKind
from crossfade_replicator.settings import Settings as ReplicatorSettings
from crossfade_verifier.settings import Settings as VerifierSettings
from engagement_api.settings import Settings as ApiSettings

HELM: Final = Path(__file__).resolve().parent.parent / "deploy" / "helm"
Schema = dict[str, Any]

SETTINGS: Final[dict[str, type[ServiceSettings]]] = {
    "engagement-api": ApiSettings,
    "replicator": ReplicatorSettings,
    "verifier": VerifierSettings,
    "controller": ControllerSettings,
}
"""The settings of each chart's service."""

_EVERYWHERE: Final = {"health_host", "health_port"}
_LISTENING: Final = {"host", "insecure", "tls_cert_file", "tls_key_file", "tls_client_ca_file"}

BY_CHART: Final[dict[str, frozenset[str]]] = {
    "engagement-api": frozenset(
        _EVERYWHERE | _LISTENING | {"port", "redis_url", "flag_file", "drain_notice_s", "drain_s"}
    ),
    "replicator": frozenset(_EVERYWHERE | {"redis_url", "consumer", "worker", "grace_s"}),
    "verifier": frozenset(_EVERYWHERE | _LISTENING | {"http_port", "flag_file"}),
    "controller": frozenset(_EVERYWHERE | _LISTENING | {"http_port", "flag_config_map", "verifier_url"}),
}
"""Settings that a chart makes from other values, so that nobody sets them by name."""

_POD: Final = "its default holds the pod's name and is new for each start, which metadata.name is not"

LEFT_OUT: Final[dict[str, dict[str, str]]] = {
    "engagement-api": {"pod": _POD},
    "replicator": {
        "pod": _POD,
        "flag_file": "the replicator reads the journal, not the flags",
        "insecure": "it listens to nobody but probes, and allows nothing else but kill points",
        "kill_at": "for tests",
    },
    "verifier": {"pod": _POD, "redis_url": "it reads no marks"},
    "controller": {
        "pod": _POD,
        "redis_url": "it reads no marks",
        "flag_file": "the flags are published to the ConfigMap of flag_config_map instead",
        "token": "a secret, which whoever reads the release would read; in a pod the certificate says who asks",
        "token_file": "in a pod the certificate says who asks",
    },
}
"""Settings that no value reaches, each with the reason."""

COMMON: Final = frozenset(ServiceSettings.model_fields) - _EVERYWHERE - {"pod", "insecure", "redis_url", "flag_file"}
"""Settings that `shared.settings` may hold."""


def _text(**more: Any) -> Schema:
    return {"type": "string", **more}


def _object(properties: Schema, *required: str, **more: Any) -> Schema:
    """Return a closed object: a misspelt value is an error, not a default."""
    found: Schema = {"type": "object", "additionalProperties": False, "properties": properties, **more}
    return found | ({"required": list(required)} if required else {})


_NAME: Final = _text(pattern="^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$", maxLength=253)
_SECONDS: Final = {"type": "integer", "minimum": 0, "maximum": 600}
_COUNT: Final = {"type": "integer", "minimum": 1, "maximum": 5000}
_FREE: Final = {"type": "object"}
_PEERS: Final = {"type": "array", "items": {"type": "object", "minProperties": 1}}
_CIDRS: Final = {"type": "array", "items": _text(pattern="^[0-9a-f.:]+/[0-9]+$")}
_QUANTITY: Final = {"type": ["string", "integer", "number"]}
_HALF_OPEN: Final = {"type": ["integer", "string"], "pattern": "^[0-9]+%?$", "minimum": 1}
_STRINGS: Final = {"type": "object", "additionalProperties": {"type": "string"}}


def setting_schema(field: Schema) -> Schema:
    """Return what a value of a setting may be, from what pydantic says of its field."""
    kinds = [each for each in field.get("anyOf", [field]) if each.get("type") != "null"]
    kept = {"type", "enum", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "items", "pattern"}
    found = {name: value for name, value in kinds[0].items() if name in kept}
    return found | {"description": field["description"]}


def settings_schema(chart: str, names: frozenset[str]) -> Schema:
    """Return the schema of `settings` of a chart: the fields with these names."""
    described = SETTINGS[chart].model_json_schema()["properties"]
    return _object({name: setting_schema(field) for name, field in described.items() if name in names})


def by_name(chart: str) -> frozenset[str]:
    """Return the settings that values name directly."""
    return frozenset(SETTINGS[chart].model_fields) - BY_CHART[chart] - LEFT_OUT[chart].keys()


def shared_schema() -> Schema:
    """Return the schema of `shared`, and of global.crossfade."""
    return _object(
        {
            "settings": settings_schema("engagement-api", COMMON),
            "image": _object({"registry": _text(pattern="^[^/ ]*(/[^ ]*[^/ ])?$"), "tag": _tag()}),
            "tls": _object({"secretName": _NAME}),
            "insecure": {"type": "boolean"},
            "redis": _object(
                {
                    "urlSecret": _object({"name": _NAME, "key": _text(minLength=1)}),
                    "url": _text(pattern="^(rediss?://[^@]*)?$", description="without a password"),
                    "port": {"type": "integer", "minimum": 1, "maximum": 65535},
                }
            ),
            "flags": _object({"configMap": _NAME | {"minLength": 1}}),
            "telemetry": _object(
                {
                    "otlpEndpoint": _text(pattern="^(https?://[^/]+/?)?$"),
                    "sampleRatio": {"type": "number", "minimum": 0, "maximum": 1},
                    "prometheus": {"type": "boolean"},
                    "emf": {"type": "boolean"},
                    "serviceMonitor": {"type": "boolean"},
                    "monitorLabels": _STRINGS,
                    "scrapeInterval": _text(pattern="^[0-9]+(ms|s|m)$"),
                }
            ),
            "networkPolicy": _object(
                {
                    "enabled": {"type": "boolean"},
                    "monitoring": _PEERS,
                    "awsCidrs": _CIDRS | {"minItems": 1},
                    "redis": _PEERS,
                    "otlp": _PEERS,
                }
            ),
        }
    )


def _tag() -> Schema:
    return _text(pattern="^([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?$", **{"not": {"enum": ["latest", "main", "master"]}})


def _environment() -> Schema:
    """Return the schema of `extraEnv`: no settings, and secrets by reference only."""
    name = _text(pattern="^(AWS|OTEL)_[A-Z0-9_]+$", **{"not": {"pattern": "(SECRET|TOKEN|KEY|PASSWORD|HEADERS)$"}})
    plain = _object({"name": name, "value": _text()}, "name", "value")
    by_reference = _object({"name": _text(pattern="^(AWS|OTEL)_[A-Z0-9_]+$"), "valueFrom": _FREE}, "name", "valueFrom")
    return {"type": "array", "items": {"oneOf": [plain, by_reference]}}


def chart_schema(chart: str) -> Schema:
    """Return the whole schema of a chart's values."""
    properties: Schema = {
        "global": _object({"crossfade": shared_schema()}, additionalProperties=True),
        "enabled": {"type": "boolean"},
        "settings": settings_schema(chart, by_name(chart)),
        "shared": shared_schema(),
        "nameOverride": _NAME,
        "fullnameOverride": _NAME,
        "image": _object(
            {
                "repository": _text(minLength=1, pattern="^[^:@ ]+$"),
                "tag": _tag(),
                "digest": _text(pattern="^(sha256:[0-9a-f]{64})?$"),
                "pullPolicy": _text(enum=["Always", "IfNotPresent", "Never"]),
            }
        ),
        "imagePullSecrets": {"type": "array", "items": _object({"name": _NAME}, "name")},
        "listenAddress": _text(pattern="^[0-9a-f.:]+$"),
        "serviceAccount": _object(
            {
                "create": {"type": "boolean"},
                "name": _NAME,
                "roleArn": _text(pattern="^(arn:aws[a-z-]*:iam::[0-9]{12}:role/.+)?$"),
                "annotations": _STRINGS,
            }
        ),
        "resources": _object(
            {
                "requests": _object({"cpu": _QUANTITY, "memory": _QUANTITY}, "cpu", "memory"),
                "limits": _object({"cpu": _QUANTITY, "memory": _QUANTITY}, "memory"),
            },
            "requests",
            "limits",
        ),
        "probes": _object({"startS": _SECONDS | {"minimum": 10, "maximum": 3600}, "hangS": _SECONDS | {"minimum": 10}}),
        "disruption": _object({"maxUnavailable": _HALF_OPEN}),
        "spread": {
            "type": "object",
            "additionalProperties": _text(enum=["ScheduleAnyway", "DoNotSchedule"]),
        },
        "podLabels": _STRINGS,
        "podAnnotations": _STRINGS,
        "nodeSelector": _STRINGS,
        "tolerations": {"type": "array", "items": _FREE},
        "priorityClassName": _NAME,
        "extraEnv": _environment(),
    } | _own(chart)
    required = ("consumer",) if chart == "replicator" else ()
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": chart} | _object(properties, *required)


def _own(chart: str) -> Schema:
    """Return what only one chart has."""
    scale = {"enabled": {"type": "boolean"}, "min": _COUNT, "max": _COUNT}
    if chart == "engagement-api":
        return {
            "replicas": _COUNT,
            "autoscaling": _object(scale | {"cpuPercent": {"type": "integer", "minimum": 10, "maximum": 95}}),
            "clients": _PEERS,
            "drain": _object({"preStopS": _SECONDS, "noticeS": _SECONDS | {"maximum": 120}, "callsS": _SECONDS}),
        }
    if chart == "replicator":
        url = _text(pattern="^(https?://[^@]+)?$")
        age = {"type": "integer", "minimum": 1}
        return {
            "consumer": _text(enum=[each.value for each in ConsumerKind]),
            "replicas": _COUNT,
            "maxUnavailable": _HALF_OPEN,
            "autoscaling": _object(scale | {"iteratorAgeS": age, "prometheusUrl": url}),
            "drain": _object({"batchS": _SECONDS | {"minimum": 1}}),
        }
    if chart == "verifier":
        return {"clients": _PEERS, "drain": _object({"preStopS": _SECONDS})}
    ports = {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 1, "maximum": 65535}}
    return {
        "replicas": {"type": "integer", "minimum": 1, "maximum": 3},
        "verifier": _object({"service": _text(minLength=1)}, "service"),
        "apiServer": _object({"cidrs": _CIDRS | {"minItems": 1}, "ports": ports}),
        "clients": _PEERS,
        "drain": _object({"graceS": _SECONDS | {"minimum": 10}}),
    }


def umbrella_schema() -> Schema:
    """Return the schema of the umbrella; its charts check their own parts."""
    parts = ("engagement-api", "forward", "reverse", "feed", "verifier", "controller")
    properties: Schema = {
        "global": _object({"crossfade": shared_schema()}),
        "prometheusRule": _object(
            {"enabled": {"type": "boolean"}, "migration": {"type": "string"}, "labels": _STRINGS}
        ),
        "dashboards": _object({"enabled": {"type": "boolean"}, "labels": _STRINGS | {"minProperties": 1}}),
    } | dict.fromkeys(parts, _FREE)
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": "crossfade"} | _object(properties)


def schemas() -> dict[Path, str]:
    """Return the text of each values.schema.json, by its path."""
    found = {chart: chart_schema(chart) for chart in SETTINGS} | {"crossfade": umbrella_schema()}
    return {HELM / chart / "values.schema.json": json.dumps(schema, indent=2) + "\n" for chart, schema in found.items()}


def main(arguments: list[str]) -> int:
    """Write or check; return the exit code."""
    outdated = [path for path, text in schemas().items() if not path.exists() or path.read_text() != text]
    for path in outdated:
        if "--check" in arguments:
            print(f"{path}: out of date; run tools/helm_schemas.py")
        else:
            path.write_text(schemas()[path])
            print(f"{path}: written")
    return 1 if outdated and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
