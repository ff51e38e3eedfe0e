"""What promtool tests of each alert."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tools.observability.cases_api import OF_API
from tools.observability.cases_others import OF_CONTROLLER, OF_VERIFIER, OF_WATCH
from tools.observability.cases_replicator import OF_REPLICATOR
from tools.observability.cases_words import Case, Fires

__all__ = ["CASES", "Case", "Fires"]

CASES: Final[Mapping[str, tuple[Case, ...]]] = {**OF_WATCH, **OF_API, **OF_REPLICATOR, **OF_VERIFIER, **OF_CONTROLLER}
"""By the alert's name without its prefix."""
