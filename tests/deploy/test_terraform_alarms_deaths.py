"""Who dies, and which CloudWatch alarms go off: every pair of services, in each stage, on Terraform's own alarms."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import combinations, permutations
from typing import Any

import pytest
from cloudwatch_alarms import ALARM, OK, Points, judged, state_of
from terraform_runs import MODULES, Terraform

from crossfade.runtime.telemetry.schema import Service

API, CONTROLLER, VERIFIER = Service.API, Service.CONTROLLER, Service.VERIFIER
FORWARD, REVERSE, FEED = Service.FORWARD, Service.REVERSE, Service.FEED
EVERYBODY = (API, FORWARD, REVERSE, FEED, VERIFIER, CONTROLLER)

STAGES = {
    "before the start": ["engagement-api", "controller"],
    "replicating": ["engagement-api", "controller", "verifier", "forward", "reverse", "feed-source", "feed-target"],
    "complete": ["engagement-api", "controller", "feed-target"],
}
"""`running` of each stage, as examples/engagement has it."""

FOLLOWS: Mapping[Service, Mapping[str, set[str]]] = {
    API: {stage: {"api-silent"} for stage in STAGES},
    CONTROLLER: {stage: {"no-controller", "no-pods"} for stage in STAGES},
    FORWARD: {"replicating": {"no-leases-forward"}},
    REVERSE: {"replicating": {"no-leases-reverse"}},
    FEED: {"replicating": {"no-leases-feed-source", "no-leases-feed-target"}, "complete": {"no-leases-feed-target"}},
    VERIFIER: {"replicating": {"verifier-silent", "verifier-lag", "clean-pass"}},
}
"""The alarms that a death sets off, by stage. Of several deaths it is the union."""

MINUTES, FIRST, SECOND = 150, 20, 80

WELL = {
    "OwnerWritesAllowed": 1.0,
    "Pods": 2.0,
    "Driving": 1.0,
    "GateOpen": 1.0,
    "Leases": 2.0,
    "Shards": 2.0,
    "SafeToCutOver": 1.0,
    "MarksUsable": 1.0,
    "Calls": 600.0,
    "Checkpoints": 60.0,
    "Throughput": 600.0,
    "DualWrites": 0.0,
}
"""What a living service says where 0 would be bad news, or no news; of everything else 0 is good news."""


@pytest.fixture(scope="module")
def planned(terraform: Terraform, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, dict[str, Any]]]:
    """By stage and name, each alarm on Crossfade's own metrics as Terraform makes it."""
    alarms = next(each for each in MODULES if each.name == "alarms")
    module = terraform.copy(tmp_path_factory.mktemp("deaths")) / "modules" / alarms.name
    tests = module / "tests/alarms.tftest.hcl"
    before = tests.read_text().split("\nrun ")[0]
    runs = [
        f'run "{_run(stage)}" {{\n  command = apply\n  variables {{\n    running = {json.dumps(running)}\n  }}\n}}\n'
        for stage, running in STAGES.items()
    ]
    tests.write_text("\n".join([before, *runs]))
    ran, states = terraform.tested(module)
    assert ran.code == 0, ran.said
    return {stage: _alarms_in(states[_run(stage)]) for stage in STAGES}


def _run(stage: str) -> str:
    return stage.replace(" ", "_")


def _alarms_in(state: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    own = "aws_cloudwatch_metric_alarm.own["
    resources = state["root_module"]["resources"]
    return {each["index"]: each["values"] for each in resources if each["address"].startswith(own)}


def alarming(
    alarms: Mapping[str, Mapping[str, Any]],
    dead: Mapping[Service, int],
    at: int,
    trouble: Mapping[str, float] | None = None,
) -> set[str]:
    """Return the alarms that are in ALARM.

    Args:
        alarms: by name.
        dead: the minute of each death.
        at: minute of the look.
        trouble: values that a living service says instead of good news.
    """
    said = WELL | dict(trouble or {})

    def sent(metric: str, dimensions: Mapping[str, str], statistic: str) -> Points:
        service = Service(dimensions["Service"])
        lives = dead.get(service, MINUTES)
        counted = statistic == "SampleCount"
        value = 1.0 if counted else said.get(metric, 0.0)
        return [value if minute < lives else None for minute in range(MINUTES)]

    found = set()
    for name, alarm in alarms.items():
        states = state_of(alarm, sent, at)
        if states and states[-1] == ALARM:
            found.add(name)
    return found


def follows(stage: str, dead: Iterable[Service]) -> set[str]:
    return set().union(*(FOLLOWS[each].get(stage, set()) for each in dead))


@pytest.mark.parametrize(
    ("periods", "missing", "ignore", "breaching", "not_breaching"),
    [
        ("0-X-X", "OK", "OK", "OK", "OK"),
        ("----0", "OK", "OK", "OK", "OK"),
        ("-----", "INSUFFICIENT_DATA", "as it was", "ALARM", "OK"),
        ("0XX-X", "ALARM", "ALARM", "ALARM", "ALARM"),
        ("--X--", "ALARM", "as it was", "ALARM", "OK"),
    ],
)
def test_alarms_are_judged_as_aws_s_own_table_has_it(
    periods: str, missing: str, ignore: str, breaching: str, not_breaching: str
) -> None:
    """Three of three periods, in the table of AWS's page on missing data."""
    seen = [{"0": False, "X": True, "-": None}[each] for each in periods]
    treatments = {"missing": missing, "ignore": ignore, "breaching": breaching, "notBreaching": not_breaching}
    for treatment, becomes in treatments.items():
        assert judged(seen, treatment, "as it was") == becomes, treatment


@pytest.mark.parametrize("stage", STAGES)
def test_nothing_alarms_while_all_goes_well(planned: dict[str, dict[str, dict[str, Any]]], stage: str) -> None:
    assert alarming(planned[stage], {}, MINUTES) == set()


@pytest.mark.parametrize("stage", STAGES)
def test_every_pair_of_dead_services_alarms_with_all_that_each_would(
    planned: dict[str, dict[str, dict[str, Any]]], stage: str
) -> None:
    for pair in combinations(EVERYBODY, 2):
        assert alarming(planned[stage], dict.fromkeys(pair, FIRST), MINUTES) == follows(stage, pair), pair
    for first, second in permutations(EVERYBODY, 2):
        dead = {first: FIRST, second: SECOND}
        assert alarming(planned[stage], dead, SECOND) == follows(stage, [first])
        assert alarming(planned[stage], dead, MINUTES) == follows(stage, [first, second])
    five = [each for each in EVERYBODY if each is not API]
    assert alarming(planned[stage], dict.fromkeys(five, FIRST), MINUTES) == follows(stage, five)
    assert follows(stage, five), "something must alarm"


TROUBLE = {
    "DeadLetters": "dead-letters",
    "RampHalted": "ramp-halted",
    "TableToStreamAge": "table-to-stream-age",
    "PodsBehind": "pods-behind",
    "KeysOverdueInHandover": "handover-overdue",
    "IteratorAge": "iterator-age-forward",
    "FailedCalls": "api-errors",
    "ParityNotOurs": "not-ours",
    "UnreadShards": "unread-shards-forward",
}


@pytest.mark.parametrize(("metric", "alarm"), TROUBLE.items())
def test_an_alarm_stays_when_whoever_reports_on_it_dies(
    planned: dict[str, dict[str, dict[str, Any]]], metric: str, alarm: str
) -> None:
    trouble = {metric: 100_000.0}
    for dead in EVERYBODY:
        before = alarming(planned["replicating"], {dead: SECOND}, SECOND, trouble)
        assert alarm in before
        assert before < alarming(planned["replicating"], {dead: SECOND}, MINUTES, trouble), dead


def test_whoever_need_not_run_says_nothing_and_alarms_nothing(
    planned: dict[str, dict[str, dict[str, Any]]],
) -> None:
    gone = dict.fromkeys((FORWARD, REVERSE, VERIFIER), FIRST)
    assert alarming(planned["complete"], gone, MINUTES) == set()
    assert OK in state_of(planned["complete"]["no-leases-forward"], lambda *_: [None] * MINUTES, MINUTES)
