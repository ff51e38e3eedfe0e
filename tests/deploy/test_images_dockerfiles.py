"""The Dockerfiles: by hadolint, and by rules of our own that each can be seen to fail."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tools import lambda_zip, requirements_of

ROOT = Path(__file__).resolve().parents[2]

SERVICES = ("engagement-api", "replicator", "verifier", "controller")
FILES = {each: ROOT / "services" / each / "Dockerfile" for each in SERVICES}
LAMBDA = ROOT / "services/replicator/Dockerfile.lambda"
ALL = [*FILES.values(), LAMBDA]


class Step(NamedTuple):
    """One instruction of a Dockerfile, and the number of its stage, from 0; -1 before the first."""

    stage: int
    word: str
    rest: str


def steps(text: str) -> Iterator[Step]:
    """Read a Dockerfile."""
    joined = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE))
    stage = -1
    for line in joined.splitlines():
        word, _, rest = line.strip().partition(" ")
        if word:
            stage += word == "FROM"
            yield Step(stage, word, " ".join(rest.split()))


def faults(text: str) -> list[str]:
    """Say what a Dockerfile of ours must not have, or lacks."""
    found = []
    read = list(steps(text))
    last = [each for each in read if each.stage == max(each.stage for each in read)]
    bases = {each.rest.split()[0] for each in read if each.word == "FROM"}
    if bases != {"${BASE}"}:
        found.append(f"stages on other bases: {sorted(bases)}")
    defaults = [each.rest for each in read if each.word == "ARG" and each.rest.startswith("BASE=")]
    if len(defaults) != 1 or not re.fullmatch(
        r"BASE=python:\d+\.\d+\.\d+-slim-\w+(@sha256:[0-9a-f]{64})?", defaults[0]
    ):
        found.append(f"the base is not one exact version, without a host: {defaults}")
    users = [each.rest for each in last if each.word == "USER"]
    if not users or not re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1]):
        found.append(f"not a numeric user other than root: {users}")
    if any(each.word in ("RUN", "ADD") for each in last):
        found.append("the last stage runs something: what only building needs may stay")
    if any(each.word == "COPY" and not each.rest.startswith("--from=build ") for each in last):
        found.append("the last stage copies from outside")
    if not any(each.word == "HEALTHCHECK" for each in last):
        found.append("no health command")
    installs = [each.rest for each in read if each.word == "RUN" and " install " in each.rest]
    if not installs or any("--require-hashes" not in each and "--no-index" not in each for each in installs):
        found.append("installs something without its hash")
    if re.search(r"https?://|--index-url|--extra-index-url", text.replace("http://127.0.0.1:8081/healthz", "")):
        found.append("names a host")
    return found


@pytest.mark.parametrize("file", ALL, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_hadolint_has_nothing_to_say(file: Path) -> None:
    said = subprocess.run([ROOT / ".venv/bin/hadolint", file], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout + said.stderr


def test_hadolint_would_say_something(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM debian:latest\nRUN cd /tmp && apt-get install gcc\n")
    said = subprocess.run([ROOT / ".venv/bin/hadolint", tmp_path / "Dockerfile"], capture_output=True, check=False)
    assert said.returncode != 0


@pytest.mark.parametrize("file", ALL, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_our_own_rules_hold(file: Path) -> None:
    assert faults(file.read_text()) == []


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("USER 10001:10001", "USER root", "numeric user"),
        ("USER 10001:10001", "USER 0:0", "numeric user"),
        ("-slim-bookworm", "-slim", "exact version"),
        ("BASE=python", "BASE=registry.example/python", "exact version"),
        ("FROM ${BASE}\nCOPY", "FROM debian:12\nCOPY", "other bases"),
        ("WORKDIR /tmp", "RUN apt-get install -y gcc", "runs something"),
        ("COPY --from=build /opt/crossfade /opt/crossfade", "COPY . /opt", "from outside"),
        ("HEALTHCHECK", "LABEL", "health"),
        ("--require-hashes", "", "without its hash"),
        ("--no-cache-dir", "--index-url https://registry.example/simple", "names a host"),
    ],
)
def test_each_rule_can_fail(before: str, after: str, said: str) -> None:
    text = FILES["replicator"].read_text()
    assert before in text
    assert any(said in fault for fault in faults(text.replace(before, after)))


def test_all_stand_on_one_base() -> None:
    bases = {re.search(r"^ARG BASE=(.*)$", file.read_text(), re.MULTILINE) for file in ALL}
    assert len({found[1] for found in bases if found}) == 1


@pytest.mark.parametrize("service", SERVICES)
def test_the_entry_point_is_the_services_own_command(service: str) -> None:
    project = tomllib.loads((ROOT / "services" / service / "pyproject.toml").read_text())["project"]
    (entry,) = [each.rest for each in steps(FILES[service].read_text()) if each.word == "ENTRYPOINT"]
    assert entry == f'["{service}"]'
    assert service in project["scripts"]


def test_the_lambda_image_runs_the_handler_of_the_zip() -> None:
    (command,) = [each.rest for each in steps(LAMBDA.read_text()) if each.word == "CMD"]
    module, _, name = command.strip('[]"').rpartition(".")
    assert (module, name) == (lambda_zip.ENTRY, "lambda_handler")
    file = requirements_of.module_file(module)
    assert file is not None
    assert f"def {name}(" in file.read_text()


# ---- what is in them -----------------------------------------------------------------------------


def command(file: Path) -> tuple[list[str], list[str]]:
    """Return the entries and what is left out, as the Dockerfile asks requirements_of.py for them."""
    (run,) = [each.rest for each in steps(file.read_text()) if each.word == "RUN" and "/requirements.txt" in each.rest][
        :1
    ]
    mine = run.partition("> /requirements.txt")[0]
    return re.findall(r"--entry (\S+)", mine), re.findall(r"--without (\S+)", mine)


def packages(file: Path) -> set[str]:
    """Return the names of the packages that an image carries."""
    return {each.name for each in requirements_of.needed(*command(file))}


@pytest.mark.parametrize(
    ("service", "has", "has_not"),
    [
        (
            "engagement-api",
            {"grpcio", "openfeature-sdk", "botocore", "redis"},
            {"faust-streaming", "aiobotocore"},
        ),
        (
            "replicator",
            {"faust-streaming", "redis", "botocore"},
            {"openfeature-sdk", "aiobotocore"},
        ),
        ("verifier", {"h11", "aiobotocore", "isal"}, {"faust-streaming", "redis", "duckdb"}),
        ("controller", {"h11", "aiobotocore", "isal"}, {"openfeature-sdk", "faust-streaming", "redis"}),
    ],
)
def test_an_image_carries_what_its_service_needs_and_not_the_others(
    service: str, has: set[str], has_not: set[str]
) -> None:
    carried = packages(FILES[service])
    assert has <= carried
    assert not carried & (has_not | {"ministack", "pytest", "moto", "boto3", "hatchling", "ruff"})


def test_the_lambda_image_leaves_out_what_the_zip_leaves_out() -> None:
    entries, without = command(LAMBDA)
    assert (set(entries), set(without)) == ({lambda_zip.ENTRY, "engagement_migration"}, set(lambda_zip.WITHOUT))
    assert not packages(LAMBDA) & {"faust-streaming", "grpcio", "opentelemetry-sdk", "openfeature-sdk"}


@pytest.mark.parametrize("file", ALL, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_a_package_comes_with_all_that_it_asks_for(file: Path) -> None:
    _, without = command(file)
    carried, lock = packages(file), requirements_of.read_lock(requirements_of.LOCK.read_text())
    missing = {
        (each.name, asking) for each in lock.values() for asking in each.via & carried if each.name not in carried
    }
    assert {name for name, _ in missing} <= set(without)


@pytest.mark.parametrize("file", ALL, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_all_that_is_imported_of_ours_is_installed(file: Path) -> None:
    """By the Dockerfile's own COPY lines, and none of them is of another service."""
    members = set(requirements_of.own_packages(command(file)[0]))
    (wheels,) = [each.rest for each in steps(file.read_text()) if each.word == "RUN" and "pip wheel" in each.rest]
    installed = set(re.findall(r" \./(\S+)", wheels))
    assert members <= installed
    assert len([each for each in installed if each.startswith("services/")]) == 1


def test_every_entry_of_the_lock_has_a_hash() -> None:
    lock = requirements_of.read_lock(requirements_of.LOCK.read_text())
    assert lock
    assert all("--hash=sha256:" in each.text for each in lock.values())
    runtime = requirements_of.read_lock((ROOT / "services/replicator/lambda-runtime.lock").read_text())
    assert {"awslambdaric", "simplejson"} <= set(runtime)
    assert all("--hash=sha256:" in each.text for each in runtime.values())


def test_an_import_that_no_package_has_is_an_error() -> None:
    with pytest.raises(requirements_of.Unknown, match="DISTRIBUTIONS"):
        requirements_of.distribution("nobody_has_this", {})
    with pytest.raises(requirements_of.Unknown, match="not a module"):
        requirements_of.reached(["crossfade.nowhere"])


def test_the_build_context_has_what_is_copied_and_no_more() -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert all((ROOT / each).exists() for each in allowed)
    for file in ALL:
        for step in steps(file.read_text()):
            if step.word == "COPY" and "--from" not in step.rest:
                for source in step.rest.split()[:-1]:
                    assert any(each == source or each.startswith(f"{source}/") for each in allowed), (file, source)
    assert not any(re.search(r"\.(env|pem|key|conf)$|secret", each) for each in allowed)


def test_without_a_builder_it_says_what_is_missing() -> None:
    said = subprocess.run(
        [ROOT / "tools/images.sh", "engine"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"ENGINE": "x"},
    )
    assert (said.returncode, said.stdout) == (3, "")
    assert "install buildah" in said.stderr
