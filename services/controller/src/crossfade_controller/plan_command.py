"""`crossfade plan`: makes a plan, shows it, saves it, and says what changed since one that was saved."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import structlog

from crossfade.core.plan.changes import changes
from crossfade.core.values.errors import ConfigError
from crossfade.runtime.operator import operator_name
from crossfade_controller.build import build
from crossfade_controller.failing import DONE, SHUT
from crossfade_controller.plan_text import changes_text, plan_text
from crossfade_controller.planning import check_plan
from crossfade_controller.settings import ControllerSettings


async def run_plan(settings: ControllerSettings, asked: argparse.Namespace) -> int:
    """Make a plan and print it.

    Args:
        settings: of the process.
        asked: the parsed command line.

    Returns:
        0, or 4 when something stands in the way of a start.

    Raises:
        ConfigError: the file to compare with can't be read, or the one to save can't be written.
    """
    before = _saved(asked.compare) if asked.compare else None
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # stdout is for the answer
    async with build(settings, who=operator_name(), under_lease=False) as built:
        plan = await check_plan(built.world, writes_per_s=asked.writes_per_s)
        body: dict[str, Any] = json.loads(msgspec.json.encode(plan.as_json()))
        if asked.execute:
            await built.world.journal.append("note", {"plan": body})
    if asked.save:
        _save(asked.save, body)
    said = None if before is None else changes(before, body)
    if asked.json:
        text = json.dumps(body if said is None else {**body, "changes": said})
    else:
        text = plan_text(plan) if said is None else f"{plan_text(plan)}\n{changes_text(said, asked.compare)}"
    sys.stdout.write(text + "\n")
    return SHUT if plan.blocking else DONE


def _saved(name: str) -> dict[str, Any]:
    try:
        found = json.loads(Path(name).read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"--compare {name}: can't be read as a plan: {error}") from error
    if not isinstance(found, dict) or "checks" not in found:
        raise ConfigError(f"--compare {name}: is no plan; `crossfade plan --save {name}` writes one")
    return found


def _save(name: str, body: dict[str, Any]) -> None:
    try:
        Path(name).write_text(json.dumps(body, indent=1, sort_keys=True) + "\n")
    except OSError as error:
        raise ConfigError(f"--save {name}: can't be written: {error}") from error
