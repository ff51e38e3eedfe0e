"""What `make loc` counts: lines that say something, each in one area."""

from __future__ import annotations

from collections import Counter

import pytest

from tools import loc

PYTHON = '''"""What it is for.

In two paragraphs."""

# why
CALLED = f(  # as asked
    1,

    2,
)
'''


@pytest.mark.parametrize(
    ("name", "text", "lines"),
    [
        ("libs/common/src/crossfade/core/a.py", PYTHON, 6),
        ("tools/a.sh", "#!/bin/sh\n\n# why\nls # here\n", 1),
        ("proto/crossfade/a.proto", "// what\nmessage A {\n}\n", 2),
    ],
)
def test_blank_lines_and_comments_are_not_counted(name: str, text: str, lines: int) -> None:
    assert loc.lines_of(name, text) == lines


def test_generated_files_and_prose_have_no_area() -> None:
    for name in (
        "libs/common/src/crossfade/gen/engagement/v1/errors_pb2.py",
        "README.md",
        "deploy/dashboards/api.json",
    ):
        assert loc.area_of(name) is None


def test_what_people_write_as_data_counts_as_written_and_what_was_generated_once_does_not() -> None:
    for name in ("deploy/dashboards/api.yaml", "deploy/alerts/a.yaml", "deploy/terraform/modules/alarms/alarms.yaml"):
        assert loc.area_of(name) == "dashboards and alerts"
    assert loc.area_of("deploy/terraform/modules/alarms/main.tf") == "deploy"
    assert loc.count(iter([("deploy/alerts/a.yaml", "# Made by `make dashboards`\ngroups:\n")])) == {}


def test_a_fake_is_not_production() -> None:
    assert loc.area_of("libs/common/src/crossfade/adapters/memory/tables.py") == "memory fakes"
    assert loc.area_of("libs/common/src/crossfade/adapters/tables.py") == "adapters"


def test_a_test_is_a_test_wherever_it_stands() -> None:
    assert loc.area_of("services/controller/tests/test_controller_cli.py") == "tests"
    assert loc.area_of("libs/common/tests/test_fit.py") == "tests"
    assert loc.area_of("deploy/terraform/modules/alarms/tests/alarms.tftest.hcl") is None
    assert loc.area_of("deploy/helm/controller/templates/tests/check.yaml") == "deploy"


def test_each_area_is_in_one_group() -> None:
    grouped = [area for areas in loc.GROUPS.values() for area in areas]
    assert sorted(grouped) == sorted({area for area, _ in loc.AREAS})


def test_the_table_sums_each_group() -> None:
    told = loc.table({"then": Counter(core=10, runtime=5, tests=7), "now": Counter(core=8, runtime=5, tests=9)})
    assert "| **production** | **15** | **13** |" in told
    assert told.endswith("| **all** | **22** | **22** |")
