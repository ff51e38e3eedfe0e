"""Who has to run, who is heard of, and what follows when somebody isn't: recording rules that the alerts stand on.

An alert must not fall silent because one more service died. So nothing here asks a service about another one:

    expected   written down in the rule file: a constant, there for as long as Prometheus evaluates anything
    phase      the last one that a controller told; kept after the controller's death
    needed     expected, unless the phase is known to be one in which the service has nothing to do
    heard      whom the last scrape brought something from: `target_info`, which every process serves about itself
    down       needed and not heard

Where something is unknown, more is needed and so more fires, never less.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from crossfade.core.migration.keyed import KEYED_PHASES
from crossfade.core.migration.phases import Phase
from crossfade.runtime.telemetry import contract as c
from crossfade.runtime.telemetry.schema import Attribute, Service
from tools.observability.alerting import PREFIX
from tools.observability.promql import MIGRATION, SERVICE, WATCHED, one_of

EXPECTED: Final = "crossfade:expected"
PHASE: Final = "crossfade:phase"
NEEDED: Final = "crossfade:needed"
HEARD: Final = "crossfade:heard"
DOWN: Final = "crossfade:down"
CONSUMER_DOWN: Final = "crossfade:consumer_down"
INFO: Final = "target_info"
"""What OpenTelemetry has every process say about itself; a scrape that fails takes it away at once."""

RECORDED: Final[Mapping[str, frozenset[str]]] = {
    EXPECTED: frozenset({MIGRATION, SERVICE}),
    PHASE: frozenset({MIGRATION, c.PHASE.prometheus}),
    NEEDED: frozenset({MIGRATION, SERVICE}),
    HEARD: frozenset({MIGRATION, SERVICE}),
    DOWN: frozenset({MIGRATION, SERVICE}),
    CONSUMER_DOWN: frozenset({MIGRATION, c.GROUP.prometheus}),
}
"""The labels of each recorded series."""

EVERYBODY: Final = c.ALL
CONSUMERS_OF: Final[Mapping[Service, tuple[str, ...]]] = {
    Service.FORWARD: ("forward",),
    Service.REVERSE: ("reverse",),
    Service.FEED: ("feed-source", "feed-target"),
}
"""The consumer groups of each replicator."""

_WORK: Final[Mapping[Service, frozenset[Phase]]] = {
    Service.API: frozenset(Phase),
    Service.CONTROLLER: frozenset(Phase) - {Phase.ABORTED},
    Service.FORWARD: KEYED_PHASES.replicating | {Phase.CATCHING_UP},
    Service.REVERSE: KEYED_PHASES.replicating,
    Service.FEED: KEYED_PHASES.replicating | {Phase.COMPLETE},
    Service.VERIFIER: KEYED_PHASES.replicating,
}

READS_IN: Final[Mapping[str, frozenset[Phase]]] = {
    "forward": _WORK[Service.FORWARD],
    "reverse": _WORK[Service.REVERSE],
    "feed-source": KEYED_PHASES.replicating,
    "feed-target": _WORK[Service.FEED],
}
"""By consumer group, the phases in which it must read every shard."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording rule.

    Attributes:
        record: name of the series.
        expr: PromQL.
        labels: added to each sample.
    """

    record: str
    expr: str
    labels: tuple[tuple[str, str], ...] = ()


def works_in(service: Service) -> frozenset[Phase]:
    """Return the phases in which a service must run."""
    return _WORK[service]


def expectations(running: Mapping[str, Iterable[Service]]) -> list[Recording]:
    """Return the rules that say who has to run.

    Args:
        running: by migration, its services.
    """
    return [
        Recording(EXPECTED, "vector(1)", ((MIGRATION, migration), (SERVICE, each.value)))
        for migration, services in running.items()
        for each in services
    ]


def recordings() -> list[Recording]:
    """Return the rules after that, in the order in which they have to be evaluated."""
    now = f"{WATCHED.worst(c.MIGRATION_PHASE, by=(c.PHASE,))} == 1"
    told = WATCHED.worst(c.MIGRATION_PHASE)
    others = "|".join(each.value for each in EVERYBODY if each is not Service.CONTROLLER)
    return [
        Recording(PHASE, f"({now}) or ({PHASE} unless on ({MIGRATION}) ({now}))"),
        *(Recording(NEEDED, needed(each, EXPECTED), ((SERVICE, each.value),)) for each in EVERYBODY),
        Recording(HEARD, f'max by ({MIGRATION}, {SERVICE}) ({INFO}{{{SERVICE}=~"{others}"}})'),
        # a controller without the lease knows nothing: only the one that drives tells the phase
        Recording(HEARD, told, ((SERVICE, Service.CONTROLLER.value),)),
        Recording(DOWN, f"{NEEDED} unless on ({MIGRATION}, {SERVICE}) {HEARD}"),
        *(
            Recording(CONSUMER_DOWN, f"max by ({MIGRATION}) ({_of(DOWN, service)})", ((c.GROUP.prometheus, group),))
            for service, groups in CONSUMERS_OF.items()
            for group in groups
        ),
    ]


def needed(service: Service, whole: str = NEEDED, phases: frozenset[Phase] | None = None) -> str:
    """Return one sample per migration in which a service must run, as far as anybody knows.

    Args:
        service: which.
        whole: series to choose from.
        phases: in which it must; None for its own.
    """
    idle = frozenset(Phase) - (_WORK[service] if phases is None else phases)
    chosen = _of(whole, service)
    if not idle or (whole == NEEDED and phases is None):
        return chosen
    resting = "|".join(sorted(each.value for each in idle))
    return f'{chosen} unless on ({MIGRATION}) {PHASE}{{{c.PHASE.prometheus}=~"{resting}"}}'


def down(*services: Service) -> str:
    """Return one sample for each of these services that isn't heard of and must be."""
    return _of(DOWN, *services)


def kept(name: str, expr: str, *reporters: Service, by: tuple[Attribute, ...] = ()) -> str:
    """Return an alert's expression that goes on firing while nobody is left to say that it is over.

    Args:
        name: of the alert, without the prefix.
        expr: fires on it; its labels are the migration and `by`.
        reporters: whose metrics it reads. Of replicators, with the consumer group in `by`, only that group's counts.
        by: labels beside the migration.

    What is kept has the value NaN: how many there are isn't known.
    """
    labels = ", ".join([MIGRATION, *(each.prometheus for each in by)])
    fired = f'NaN * max by ({labels}) (ALERTS{{alertname="{PREFIX}{name}",alertstate="firing"}})'
    if c.GROUP in by and set(reporters) <= CONSUMERS_OF.keys():
        gone = f"and on ({MIGRATION}, {c.GROUP.prometheus}) {CONSUMER_DOWN}"
    else:
        gone = f"and on ({MIGRATION}) {_of(DOWN, *reporters)}"
    return f"({expr}) or ({fired} {gone})"


def unread(group: str) -> str:
    """Return one sample per migration in which a consumer must read and doesn't hold every shard.

    What its processes say is compared, theirs alone; when none is left to say anything, that is less than every shard.
    """
    service = next(each for each, groups in CONSUMERS_OF.items() if group in groups)
    where = one_of(c.GROUP, [group])
    held = f"({WATCHED.total(c.LEASES, where)} > 0) >= on ({MIGRATION}) {WATCHED.worst(c.SHARDS, where)}"
    silent = f"{needed(service, EXPECTED, READS_IN[group])} unless on ({MIGRATION}) ({held})"
    return f'label_replace(max by ({MIGRATION}) ({silent}), "{c.GROUP.prometheus}", "{group}", "", "")'


def _of(series: str, *services: Service) -> str:
    return f'{series}{{{SERVICE}=~"{"|".join(each.value for each in services)}"}}'
