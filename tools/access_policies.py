"""Writes plain.json of Terraform's module `access`: the rights of `crossfade policy`, by the module's roles.

tools/access_policies.py          write it
tools/access_policies.py --check  say whether it is out of date, and end with 1 if it is
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final

from crossfade_controller.policies import POLICIES, Statement

PLAIN: Final = Path(__file__).resolve().parent.parent / "deploy/terraform/modules/access/plain.json"

STEPS: Final = {
    "controller": ("controller",),
    "forward": ("replicator",),
    "reverse": ("replicator",),
    "verifier": ("verifier",),
    "operator": ("init", "plan", "control", "ask", "clean", "retire", "replicator"),
}
"""What each role of the module does. The operator redrives letters, as a replicator does."""

ON_DEMAND: Final = ("CreateControlTables", "CreateStreams")
"""Statements that the module leaves out, unless its variables ask for them: they stay alone."""


def statements(steps: tuple[str, ...]) -> list[Statement]:
    """Return what all of the steps need, one statement for each kind of resources: a role's policies have room for
    10,240 characters."""
    found: dict[str, Statement] = {}
    sids: dict[str, int] = {}
    for step in steps:
        for each in POLICIES[step]:
            alone = each.sid if each.sid in ON_DEMAND else ""
            same = json.dumps([alone, each.on, each.condition])
            if same in found:
                actions = tuple(sorted({*found[same].actions, *each.actions}))
                found[same] = found[same]._replace(actions=actions)
                continue
            sids[each.sid] = sids.get(each.sid, 0) + 1
            number = sids[each.sid]
            sid = each.sid if number == 1 else f"{each.sid}{number}"
            found[same] = each._replace(sid=sid, actions=tuple(sorted(each.actions)))
    return list(found.values())


def text() -> str:
    """Return what the file should say."""
    roles = []
    for role, steps in STEPS.items():
        lines = ",\n".join(f"    {_line(each)}" for each in statements(steps))
        roles.append(f'  "{role}": [\n{lines}\n  ]')
    return "{\n" + ",\n".join(roles) + "\n}\n"


def _line(each: Statement) -> str:
    return json.dumps({name: value for name, value in each._asdict().items() if value is not None})


def main(arguments: list[str]) -> int:
    """Write or check; return the exit code."""
    outdated = not PLAIN.exists() or PLAIN.read_text() != text()
    if outdated and "--check" not in arguments:
        PLAIN.write_text(text())
    if outdated:
        print(f"{PLAIN}: " + ("out of date; run tools/access_policies.py" if "--check" in arguments else "written"))
    return 1 if outdated and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
