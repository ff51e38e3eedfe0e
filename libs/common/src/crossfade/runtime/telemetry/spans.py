"""Spans of the contract: started only for traces that are recorded, ended by `with` or by hand.

The span that a task works under is in a context variable, so that logs, store calls and the events of a write find it
without being told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextvars import ContextVar, Token
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from crossfade.runtime.telemetry.config import Sampling
from crossfade.runtime.telemetry.contract import ERROR_TYPE
from crossfade.runtime.telemetry.schema import Attribute, Event, Service, Span

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

Value = str | int | bool | list[str]
Attributes = Mapping[Attribute, Value]

current: Final[ContextVar[Started | None]] = ContextVar("crossfade_span", default=None)
"""The span that the running task works under; None when its trace isn't recorded."""


class OutsideContract(ValueError):
    """Somebody emits what the contract doesn't name: a mistake in the code."""


class Started:
    """A span under way.

    Attributes:
        spec: what the contract says of it.
        traceparent: W3C trace context, for whoever is to join.
        trace_id: 32 hexadecimal digits.
        span_id: 16.
    """

    __slots__ = ("_span", "_token", "span_id", "spec", "trace_id", "traceparent")

    def __init__(self, spec: Span, span: Any) -> None:
        context = span.get_span_context()
        self.spec = spec
        self.trace_id = f"{context.trace_id:032x}"
        self.span_id = f"{context.span_id:016x}"
        self.traceparent = f"00-{self.trace_id}-{self.span_id}-01"
        self._span = span
        self._token: Token[Started | None] | None = None

    def set(self, attribute: Attribute, value: Value) -> None:
        """Set an attribute."""
        _check(self.spec, {attribute: value})
        self._span.set_attribute(attribute.name, value)

    def event(self, event: Event, attributes: Attributes) -> None:
        """Note that something happened.

        Raises:
            OutsideContract: no such event, or an attribute that it doesn't have.
        """
        if event not in self.spec.events or not attributes.keys() <= set(event.attributes):
            raise OutsideContract(f"{self.spec.id}: no event {event.name} with {_listed(attributes)}")
        self._span.add_event(event.name, {each.name: value for each, value in attributes.items()})

    def fail(self, code: str) -> None:
        """Mark it as failed, with the code of the error."""
        from opentelemetry.trace import Status, StatusCode

        if ERROR_TYPE in self.spec.optional:
            self._span.set_attribute(ERROR_TYPE.name, code)
        self._span.set_status(Status(StatusCode.ERROR, code))

    def end(self) -> None:
        """End it now."""
        self._span.end()

    @property
    def context(self) -> Any:
        """OpenTelemetry's context with this span in it."""
        from opentelemetry.trace import set_span_in_context

        return set_span_in_context(self._span, _nothing())

    def __enter__(self) -> Started:
        self._token = current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._token is not None:
            current.reset(self._token)
        if error is not None and isinstance(error, Exception):
            self.fail(str(getattr(error, "code", type(error).__name__)))
        self.end()


class Tracer:
    """Starts the spans of one service."""

    def __init__(self, provider: TracerProvider, service: Service, sampling: Sampling) -> None:
        """Take OpenTelemetry's provider.

        Args:
            provider: with its exporters.
            service: whose spans.
            sampling: decides before a span is made, so that one that isn't recorded costs nothing.
        """
        from opentelemetry.trace import SpanKind

        self._tracer = provider.get_tracer("crossfade")
        self._service = service
        self._sampling = sampling
        self._kinds = {
            name: SpanKind[name.upper()] for name in ("server", "client", "producer", "consumer", "internal")
        }

    def start(
        self,
        spec: Span,
        attributes: Attributes,
        *,
        parent: Started | str | None = None,
        links: Iterable[str] = (),
        start_us: int | None = None,
        root: bool = False,
    ) -> Started | None:
        """Start a span, if its trace is recorded.

        Args:
            spec: of the contract.
            attributes: known from the start.
            parent: a span, or the trace context that came from elsewhere (empty for none); None for the running
                task's span, if it has one.
            links: trace contexts of what it belongs with, besides.
            start_us: when it began, µs since the epoch; None for now.
            root: whether it begins a trace of its own, recorded if its parent's is.

        Returns:
            The span; None when its trace isn't recorded.

        Raises:
            OutsideContract: the service doesn't emit such a span, or the span has no such attribute.
        """
        if parent is None:
            parent = current.get() or ""
        traceparent = parent.traceparent if isinstance(parent, Started) else parent
        if not (spec.always or self._sampling.wants(traceparent)):
            return None
        if self._service not in spec.services:
            raise OutsideContract(f"{self._service.value} emits no span {spec.id}")
        _check(spec, attributes)
        named: dict[str, Any] = {each.name: value for each, value in attributes.items()}
        span = self._tracer.start_span(
            spec.named(named),
            context=_joined("" if root else traceparent),
            kind=self._kinds[spec.role.value],
            attributes=named,
            links=[_link(each) for each in links],
            start_time=None if start_us is None else start_us * 1000,
        )
        return Started(spec, span)


def _check(spec: Span, attributes: Attributes) -> None:
    for each in attributes:
        if each not in spec.attributes and each not in spec.optional:
            raise OutsideContract(f"{spec.id}: no attribute {each.name}")


def _listed(attributes: Attributes) -> str:
    return ", ".join(each.name for each in attributes)


def _nothing() -> Any:
    from opentelemetry.context import Context

    return Context()


def _remote(traceparent: str) -> Any:
    from opentelemetry.trace import SpanContext, TraceFlags

    return SpanContext(
        trace_id=int(traceparent[3:35], 16),
        span_id=int(traceparent[36:52], 16),
        is_remote=True,
        trace_flags=TraceFlags(int(traceparent[53:55], 16)),
    )


def _joined(traceparent: str) -> Any:
    from opentelemetry.trace import NonRecordingSpan, set_span_in_context

    context = _nothing()
    return set_span_in_context(NonRecordingSpan(_remote(traceparent)), context) if traceparent else context


def _link(traceparent: str) -> Any:
    from opentelemetry.trace import Link

    return Link(_remote(traceparent))
