"""The words of the telemetry contract: what a service, an attribute, a metric, a span and a trace edge are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final


class Service(Enum):
    """Who emits, as `service.name`: the names of the logs."""

    API = "engagement-api"
    FORWARD = "replicator-forward"
    REVERSE = "replicator-reverse"
    FEED = "replicator-feed"
    VERIFIER = "verifier"
    CONTROLLER = "controller"
    TRAFFIC = "demo-traffic"  # the clients of the demo, who call as any caller would


class Kind(Enum):
    """What a metric is to its reader."""

    COUNTER = "counter"  # a total that only rises
    GAUGE = "gauge"  # the value now
    HISTOGRAM = "histogram"


class Role(Enum):
    """A span's kind, as OpenTelemetry names it."""

    SERVER = "server"
    CLIENT = "client"
    PRODUCER = "producer"
    CONSUMER = "consumer"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True, eq=False)
class Attribute:
    """One attribute.

    Attributes:
        name: as it is emitted.
        type: "string", "int", "bool" or "string[]".
        meaning: for humans.
        values: all there are; empty when they are open.
        short: the dimension's name in CloudWatch, where it isn't made of the name.
    """

    name: str
    type: str
    meaning: str
    values: tuple[str, ...] = ()
    short: str = ""

    @property
    def prometheus(self) -> str:
        """The label's name in Prometheus."""
        return prometheus_label(self.name)

    @property
    def cloudwatch(self) -> str:
        """The dimension's name in CloudWatch."""
        return self.short or "".join(
            part.capitalize() for part in re.split(r"[._]", self.name.removeprefix("crossfade."))
        )


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """One metric.

    Attributes:
        name: as OpenTelemetry has it.
        kind: counter, gauge or histogram.
        unit: UCUM, "s", "%", "1", or a thing that is counted, "{record}".
        meaning: for humans.
        services: who emits it.
        attributes: of each of its points.
        buckets: upper bounds of a histogram, in its unit.
        cloudwatch: name in CloudWatch, as people look for it; empty when the metric isn't sent there.
        cloudwatch_scale: what a value is multiplied by there: CloudWatch counts times in milliseconds.
        occasional: points may be missing for long, since what it counts need not happen.
    """

    name: str
    kind: Kind
    unit: str
    meaning: str
    services: tuple[Service, ...]
    attributes: tuple[Attribute, ...] = ()
    buckets: tuple[float, ...] = ()
    cloudwatch: str = ""
    cloudwatch_scale: float = 1.0
    occasional: bool = False

    @property
    def prometheus(self) -> str:
        """The name in Prometheus. A histogram has it with `_bucket`, `_sum` and `_count` behind."""
        return prometheus_name(self.name, self.unit, total=self.kind is Kind.COUNTER)

    @property
    def cloudwatch_unit(self) -> str:
        """The unit in CloudWatch."""
        if self.unit == "s":
            return "Milliseconds" if self.cloudwatch_scale == MS else "Seconds"
        return {"%": "Percent", "1": "None"}.get(self.unit, "Count")


@dataclass(frozen=True, slots=True, eq=False)
class Event:
    """Something that happened within a span.

    Attributes:
        name: of the span event.
        meaning: for humans.
        attributes: always with the reason, where there is one.
    """

    name: str
    meaning: str
    attributes: tuple[Attribute, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """One kind of span.

    Attributes:
        id: names it in the code, in the edges and in the docs.
        name: the span's name; what stands in braces is the value of that attribute.
        role: the span's kind.
        meaning: for humans.
        services: who emits it.
        attributes: that each such span has.
        optional: those that it may have.
        events: that may happen in it.
        always: recorded whatever the sampling ratio: operators' deeds are few, and each counts.
        occasional: what it counts need not happen.
    """

    id: str
    name: str
    role: Role
    meaning: str
    services: tuple[Service, ...]
    attributes: tuple[Attribute, ...]
    optional: tuple[Attribute, ...] = ()
    events: tuple[Event, ...] = ()
    always: bool = False
    occasional: bool = False

    def named(self, attributes: dict[str, object]) -> str:
        """Return the name of such a span with these attributes."""
        return _BRACES.sub(lambda found: str(attributes.get(found[1], "")), self.name)

    def matches(self, name: str) -> bool:
        """Say whether a span of this name may be of this kind."""
        parts = _BRACES.split(self.name)
        pattern = "".join(".+" if n % 2 else re.escape(part) for n, part in enumerate(parts))
        return re.fullmatch(pattern, name) is not None


class Via(Enum):
    """How a span finds the one before it."""

    CHILD = "child"  # in the same process
    METADATA = "traceparent in the gRPC metadata"
    EVENT = "traceparent in the item's event"
    LINK = "link"


@dataclass(frozen=True, slots=True, eq=False)
class Edge:
    """That one span follows from another.

    Attributes:
        before: id of the span that was there first.
        after: id of the one that names it: as its parent, or by a link.
        via: how.
        services: who emits the later one; empty for all that emit it.
        occasional: the later span need not happen.
    """

    before: str
    after: str
    via: Via
    services: tuple[Service, ...] = ()
    occasional: bool = False


MS: Final = 1000.0
_BRACES: Final = re.compile(r"\{([^}]*)\}")
_UNITS: Final = {"s": "_seconds", "ms": "_milliseconds", "By": "_bytes", "%": "_percent", "1": "_ratio"}


def prometheus_name(name: str, unit: str, *, total: bool) -> str:
    """Return a metric's name in Prometheus, as OpenTelemetry's compatibility rules make it.

    Args:
        name: in OpenTelemetry.
        unit: of it; one in braces is left out.
        total: whether it is a counter.
    """
    suffix = "" if unit.startswith("{") else _UNITS[unit]
    return re.sub(r"[^a-zA-Z0-9_:]", "_", name) + suffix + ("_total" if total else "")


def prometheus_label(name: str) -> str:
    """Return an attribute's name as a Prometheus label."""
    return re.sub(r"[^a-zA-Z0-9_]", "_", name)
