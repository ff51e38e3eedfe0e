"""`--check` reads every setting as the service will: what is wrong is named, with its cure and without its secret."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives import serialization

from certificates import Authority
from crossfade.adapters.flagd import FlagFile
from crossfade.core.ownership.ramp import FlagDocument
from crossfade.core.values.errors import ConfigError, StoreUnavailable
from crossfade.runtime.settings import PREFIX, ServiceSettings, read_settings
from crossfade_controller.main import main as controller_main
from crossfade_controller.settings import ControllerSettings
from crossfade_replicator.function_settings import FunctionSettings
from crossfade_replicator.lambda_handler import _container
from crossfade_replicator.main import main as replicator_main
from crossfade_replicator.settings import Settings as ReplicatorSettings
from crossfade_verifier.main import main as verifier_main
from crossfade_verifier.settings import Settings as VerifierSettings
from engagement_api.main import main as api_main
from engagement_api.settings import Settings as ApiSettings
from wrong_settings import NUMBERS, REDIS_OPTIONS, SECRET, WRONG


def function_main(_arguments: list[str]) -> int:
    """Start the function's container as Lambda does: it has no --check, it dies of what is wrong."""
    _container.cache_clear()
    try:
        _container()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


class Program(NamedTuple):
    """A program, what it is told, and what it must be told."""

    settings: type[ServiceSettings]
    main: Callable[[list[str]], int]
    needs: Mapping[str, str]


PROGRAMS = {
    "engagement-api": Program(ApiSettings, api_main, {}),
    "controller": Program(ControllerSettings, controller_main, {}),
    "verifier": Program(VerifierSettings, verifier_main, {}),
    "replicator": Program(ReplicatorSettings, replicator_main, {"CONSUMER": "forward"}),
    "function": Program(FunctionSettings, function_main, {"CONSUMER": "forward"}),
}

HARMLESS: dict[tuple[str, str], tuple[str, ...]] = {
    ("verifier", "flag_file"): WRONG["flag_file"],  # before COMPLETE it makes no difference there
    ("replicator", "flag_file"): WRONG["flag_file"],  # not read
    ("function", "flag_file"): WRONG["flag_file"],
    ("controller", "redis_url"): REDIS_OPTIONS,  # only a client knows its options, and these two carry none
    ("verifier", "redis_url"): REDIS_OPTIONS,
}
"""What some programs may be told anyway."""


def wrong(settings: type[ServiceSettings], name: str) -> tuple[str, ...]:
    """Return what a setting may not be; of a number that the table doesn't list, what no number may be."""
    is_number = settings.model_fields[name].annotation in (int, float)
    return WRONG.get(name, NUMBERS if is_number else ())


CASES = [
    (program, name, value)
    for program, each in PROGRAMS.items()
    for name in each.settings.model_fields
    for value in wrong(each.settings, name)
    if value not in HARMLESS.get((program, name), ())
]

OTEL_WRONG = {
    "OTEL_TRACES_EXPORTER": "jaeger",
    "OTEL_METRICS_EXPORTER": "statsd",
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://me:{SECRET}@127.0.0.1:4317",
    "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer {SECRET}",
    "OTEL_EXPORTER_PROMETHEUS_PORT": "99999",
    "OTEL_METRIC_EXPORT_INTERVAL": "0",
    "OTEL_TRACES_SAMPLER": "sometimes",
}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Files by name: a certificate, its key, the key again under another name and locked, and the authority."""
    folder = tmp_path_factory.mktemp("certificates")
    files = Authority().files(folder)
    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(SECRET.encode()),
    )
    found = {each.name: each.read_bytes() for each in files}
    return found | {"key.pem": files.key.read_bytes(), "locked.key": locked}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, certificates: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment with nothing but what every program needs, in a folder with certificates."""
    for name in list(os.environ):
        if name.startswith((PREFIX, "OTEL_", "KUBERNETES_")):
            monkeypatch.delenv(name)
    FlagFile(tmp_path / "flags.json").write(FlagDocument(), dual_write=False)
    monkeypatch.setenv(f"{PREFIX}FLAG_FILE", str(tmp_path / "flags.json"))
    monkeypatch.setenv(f"{PREFIX}HEALTH_PORT", "8081")
    monkeypatch.chdir(tmp_path)
    for name, contents in certificates.items():
        (tmp_path / name).write_bytes(contents)
    return tmp_path


def check(program: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Run a program's --check; return its exit code and what it said anywhere."""
    try:
        code = PROGRAMS[program].main(["--check"])
    except SystemExit as end:
        code = int(end.code or 0)
    told = capsys.readouterr()
    return code, told.out + told.err


def tell(program: str, monkeypatch: pytest.MonkeyPatch, **more: str) -> None:
    for name, value in (dict(PROGRAMS[program].needs) | more).items():
        monkeypatch.setenv(PREFIX + name, value)


def with_tls(folder: Path) -> dict[str, str]:
    return {
        "TLS_CERT_FILE": str(folder / "tls.crt"),
        "TLS_KEY_FILE": str(folder / "tls.key"),
        "TLS_CLIENT_CA_FILE": str(folder / "ca.crt"),
    }


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_is_right_passes(
    program: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tell(program, monkeypatch, REDIS_URL=f"rediss://me:{SECRET}%23%2F@cache.example:6379/3?socket_timeout=1")
    if issubclass(PROGRAMS[program].settings, ApiSettings | ControllerSettings | VerifierSettings):
        tell(program, monkeypatch, **with_tls(folder))
    if program == "controller":
        tell(program, monkeypatch, OPERATORS='["ann"]')
    code, said = check(program, capsys)
    assert (code, said) == (0, "")


@pytest.mark.parametrize(("operators", "code"), [(None, 2), ("[]", 2), ('["ann"]', 0), ('["*"]', 0)])
def test_by_tls_the_controller_wants_to_be_told_who_may_give_commands(
    operators: str | None,
    code: int,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nobody was named, so each certificate of the authority could command: a replicator's, too."""
    tell("controller", monkeypatch, **with_tls(folder), **({} if operators is None else {"OPERATORS": operators}))
    found, said = check("controller", capsys)
    assert found == code
    assert said.startswith("CROSSFADE_OPERATORS: not set") == bool(code)


@pytest.mark.parametrize(("program", "name", "value"), CASES)
def test_each_wrong_value_is_refused_by_name_and_without_its_secret(
    program: str,
    name: str,
    value: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tell(program, monkeypatch)
    if name.startswith("tls_"):
        tell(program, monkeypatch, **with_tls(folder))
    tell(program, monkeypatch, **{name.upper(): value})
    code, said = check(program, capsys)
    assert code == 2, f"{name}={value!r} was taken"
    assert f"{PREFIX}{name.upper()}" in said
    assert SECRET not in said
    assert "Traceback" not in said


def test_no_setting_is_left_out_of_the_table() -> None:
    known = [(each.settings, name) for each in PROGRAMS.values() for name in each.settings.model_fields]
    assert [name for settings, name in known if not wrong(settings, name)] == []
    assert WRONG.keys() - {name for _, name in known} == set()


@pytest.mark.parametrize("variable", OTEL_WRONG)
@pytest.mark.parametrize("program", PROGRAMS)
def test_telemetrys_variables_are_checked_too(
    program: str, variable: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tell(program, monkeypatch)
    monkeypatch.setenv(variable, OTEL_WRONG[variable])
    code, said = check(program, capsys)
    assert code == 2
    assert variable in said
    assert SECRET not in said


def test_a_traceback_of_wrong_settings_has_no_secret_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lambda logs the traceback of what a function raises while it starts."""
    script = "from crossfade_replicator.lambda_handler import _container; _container()"
    environment = os.environ | {
        f"{PREFIX}CONSUMER": "forward",
        f"{PREFIX}REDIS_URL": f"redis://:{SECRET}#@127.0.0.1:6379",
    }
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"{PREFIX}REDIS_URL" in done.stderr
    assert "%23" in done.stderr
    assert SECRET not in done.stderr


@pytest.mark.parametrize("program", ["engagement-api", "controller", "verifier", "replicator"])
def test_a_real_start_refuses_the_same_before_it_is_ready(program: str, folder: Path) -> None:
    module = "engagement_api" if program == "engagement-api" else f"crossfade_{program}"
    environment = os.environ | {f"{PREFIX}REDIS_URL": f"redis://:{SECRET}#@127.0.0.1:6379"}
    environment |= {PREFIX + name: value for name, value in PROGRAMS[program].needs.items()}
    done = subprocess.run(
        [sys.executable, "-m", f"{module}.main"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert f"{PREFIX}REDIS_URL" in done.stderr
    assert SECRET not in done.stdout + done.stderr
    assert "ready" not in done.stdout


def test_two_ports_that_are_one_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}PORT", "8081")
    with pytest.raises(ConfigError, match="CROSSFADE_HEALTH_PORT and CROSSFADE_PORT are one port"):
        read_settings(ApiSettings)


def test_flags_are_readable_by_every_user_and_leave_nothing_beside_them(folder: Path) -> None:
    place = folder / "flags"
    old = os.umask(0o077)
    try:
        FlagFile(place / "flags.json").write(FlagDocument(), dual_write=False)
    finally:
        os.umask(old)
    assert stat.S_IMODE((place / "flags.json").stat().st_mode) == 0o644
    assert [each.name for each in place.iterdir()] == ["flags.json"]


def test_a_publication_that_fails_leaves_the_old_file_and_nothing_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory in the file's place stands for whatever refuses the last step."""
    place = folder / "flags"
    (place / "flags.json" / "in the way").mkdir(parents=True)
    with pytest.raises(StoreUnavailable, match=r"CROSSFADE_FLAG_FILE=.*can't be published"):
        FlagFile(place / "flags.json").write(FlagDocument(), dual_write=False)
    assert [each.name for each in place.iterdir()] == ["flags.json"]


def test_what_a_killed_publisher_left_is_cleared_away(folder: Path) -> None:
    left, fresh = folder / ".flags.json.abc.tmp", folder / ".flags.json.def.tmp"
    left.touch()
    os.utime(left, (0, 0))
    fresh.touch()  # of one that is writing now
    FlagFile(folder / "flags.json").write(FlagDocument(), dual_write=False)
    assert not left.exists()
    assert fresh.exists()


def test_a_check_leaves_nothing_behind(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(folder.iterdir())
    assert check("controller", capsys) == (0, "")
    assert sorted(folder.iterdir()) == before
