"""What three kinds of custom resources may hold: the parts of their CRDs' schemas that the charts use, closed.

KEDA 2.17 (keda.sh/v1alpha1) and prometheus-operator 0.80 (monitoring.coreos.com/v1). A field that is not here is an
error, as it is for a strict API server.
"""

from __future__ import annotations

from typing import Any, Final

Schema = dict[str, Any]

_TEXT: Final[Schema] = {"type": "string", "minLength": 1}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_TEXTS: Final[Schema] = {"type": "object", "additionalProperties": {"type": "string"}}
_DURATION: Final[Schema] = {"type": "string", "pattern": "^([0-9]+(ms|s|m|h|d))+$"}


def _object(required: str, **properties: Schema) -> Schema:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "required": required.split(),
    }


def _list(items: Schema) -> Schema:
    return {"type": "array", "minItems": 1, "items": items}


def _resource(version: str, kind: str, spec: Schema) -> Schema:
    metadata = _object("name labels", name=_TEXT, labels=_TEXTS, annotations=_TEXTS)
    return _object(
        "apiVersion kind metadata spec",
        apiVersion={"const": version},
        kind={"const": kind},
        metadata=metadata,
        spec=spec,
    )


_POLICY: Final = _object(
    "type value periodSeconds", type={"enum": ["Percent", "Pods"]}, value=_COUNT, periodSeconds=_COUNT
)
_SCALING: Final = _object("", stabilizationWindowSeconds=_COUNT, policies=_list(_POLICY), selectPolicy=_TEXT)

SCHEMAS: Final[dict[str, Schema]] = {
    "ScaledObject": _resource(
        "keda.sh/v1alpha1",
        "ScaledObject",
        _object(
            "scaleTargetRef minReplicaCount maxReplicaCount triggers",
            scaleTargetRef=_object("name", apiVersion=_TEXT, kind=_TEXT, name=_TEXT),
            minReplicaCount=_COUNT,
            maxReplicaCount=_COUNT,
            pollingInterval=_COUNT,
            cooldownPeriod=_COUNT,
            advanced=_object(
                "",
                horizontalPodAutoscalerConfig=_object("", behavior=_object("", scaleUp=_SCALING, scaleDown=_SCALING)),
            ),
            triggers=_list(
                _object(
                    "type metadata",
                    type={"const": "prometheus"},
                    metricType={"enum": ["Value", "AverageValue"]},
                    metadata=_object(
                        "serverAddress query threshold",
                        serverAddress=_TEXT,
                        query=_TEXT,
                        threshold=_TEXT,
                        ignoreNullValues={"enum": ["true", "false"]},
                    ),
                )
            ),
        ),
    ),
    "ServiceMonitor": _resource(
        "monitoring.coreos.com/v1",
        "ServiceMonitor",
        _object(
            "selector endpoints",
            selector=_object("matchLabels", matchLabels=_TEXTS),
            endpoints=_list(_object("port", port=_TEXT, path=_TEXT, interval=_DURATION)),
        ),
    ),
    "PrometheusRule": _resource(
        "monitoring.coreos.com/v1",
        "PrometheusRule",
        _object(
            "groups",
            groups=_list(
                _object(
                    "name rules",
                    name=_TEXT,
                    interval=_DURATION,
                    rules=_list(
                        {
                            "oneOf": [
                                {
                                    **_object(
                                        "alert expr labels annotations",
                                        alert=_TEXT,
                                        expr=_TEXT,
                                        labels=_TEXTS,
                                        annotations=_TEXTS,
                                        keep_firing_for=_DURATION,
                                        **{"for": _DURATION},
                                    )
                                },
                                _object("record expr", record=_TEXT, expr=_TEXT, labels=_TEXTS),
                            ]
                        }
                    ),
                )
            ),
        ),
    ),
}
"""By kind."""
