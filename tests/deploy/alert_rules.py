"""The shipped alert rules, as the tests read them: deploy/alerts/crossfade.rules.yaml."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from crossfade.runtime.telemetry import contract as c
from crossfade.runtime.telemetry.openmetrics import RESOURCE_LABELS

DEPLOY: Final = Path(__file__).resolve().parents[2] / "deploy"
RULES: Final = DEPLOY / "alerts" / "crossfade.rules.yaml"
PREFIX: Final = "Crossfade"
EVERYBODY: Final = c.ALL

MIGRATION: Final = RESOURCE_LABELS["crossfade.migration"]
SERVICE: Final = RESOURCE_LABELS["service.name"]
GROUP: Final = c.GROUP.prometheus
INFO: Final = "target_info"
"""What OpenTelemetry has every process say about itself; a scrape that fails takes it away at once."""

RECORDED: Final[Mapping[str, frozenset[str]]] = {
    "crossfade:expected": frozenset({MIGRATION, SERVICE}),
    "crossfade:phase": frozenset({MIGRATION, c.PHASE.prometheus}),
    "crossfade:needed": frozenset({MIGRATION, SERVICE}),
    "crossfade:heard": frozenset({MIGRATION, SERVICE}),
    "crossfade:down": frozenset({MIGRATION, SERVICE}),
    "crossfade:consumer_down": frozenset({MIGRATION, GROUP}),
}
"""The labels of each recorded series."""


@functools.cache
def groups() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the group that says who must run, and the one that stands on it."""
    expected, rest = yaml.safe_load(RULES.read_text())["groups"]
    return expected, rest


@functools.cache
def rules() -> dict[str, dict[str, Any]]:
    """Return the alerts, by name."""
    return {rule["alert"]: rule for group in groups() for rule in group["rules"] if "alert" in rule}


@functools.cache
def recorded() -> list[dict[str, Any]]:
    """Return the recording rules."""
    return [rule for group in groups() for rule in group["rules"] if "record" in rule]


def expecting(migrations: Iterable[str]) -> str:
    """Return the rule file for other migrations, all of whose services must run."""
    expected, rest = groups()
    listed = [
        rule | {"labels": rule["labels"] | {MIGRATION: each}} for each in migrations for rule in expected["rules"]
    ]
    return as_yaml({"groups": [expected | {"rules": listed}, rest]})


def as_yaml(found: Mapping[str, Any]) -> str:
    """Return a document as YAML, in the order given."""
    return yaml.safe_dump(dict(found), sort_keys=False, width=100_000, allow_unicode=True)
