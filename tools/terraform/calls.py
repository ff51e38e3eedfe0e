"""Keeps what the services called in the last demo, for tests/deploy: `make demo ARGS=--chaos`, then
`python -m tools.terraform.calls`.

The demo gives each service an access key of its own, and the embedded AWS counts by key (GET /_localaws/calls). Of that
the actions and their resources are kept, without the counts, which differ from run to run.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

SOURCE: Final = Path("build/demo/calls.json")
TARGET: Final = Path("tests/deploy/fixtures/calls.json")
SERVICES: Final = {
    "engagement_api": "engagement-api",
    "forward": "forward",
    "reverse": "reverse",
    "feed": "feed",
    "crossfade_verifier": "verifier",
    "crossfade_controller": "controller",
    "operator": "operator",
}
"""Access key to service; other keys are the demo's own."""


def kept(counted: dict[str, dict[str, dict[str, int]]]) -> dict[str, dict[str, list[str]]]:
    """Return service to action to resources.

    Raises:
        KeyError: a service made no call at all: that was no whole demo.
    """
    return {
        service: {action: sorted(resources) for action, resources in sorted(counted[key].items())}
        for key, service in SERVICES.items()
    }


def main() -> None:
    """Write the fixture from the last demo."""
    if not SOURCE.exists():
        sys.exit(f"there is no {SOURCE}: run make demo ARGS=--chaos first")
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(json.dumps(kept(json.loads(SOURCE.read_text())), indent=1) + "\n")


if __name__ == "__main__":
    main()
