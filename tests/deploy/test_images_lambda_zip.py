"""The zip of `make lambda`: the same twice, small, whole, and of the runtime's platform."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

MB = 1024 * 1024


class Made(NamedTuple):
    """A zip, what was said of it, and its content unpacked."""

    file: Path
    told: dict[str, Any]
    folder: Path


def make(file: Path, *arguments: str, seed: str = "random") -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tools.lambda_zip", "--out", file, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONHASHSEED": seed},
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("lambda")
    told = make(folder / "one.zip")
    with zipfile.ZipFile(folder / "one.zip") as archive:
        archive.extractall(folder / "code")
    return Made(folder / "one.zip", told, folder / "code")


def alone(made: Made, code: str) -> subprocess.CompletedProcess[str]:
    """Run code with nothing but the standard library and the zip's content to import from."""
    begin = f"import sys; sys.path.append({str(made.folder)!r})\n"
    interpreter = Path(sys.executable).resolve()
    return subprocess.run(
        [interpreter, "-I", "-S", "-c", begin + code],
        capture_output=True,
        text=True,
        check=False,
        cwd=made.folder,
        env={},
    )


def test_the_zip_is_the_same_twice(made: Made, tmp_path: Path) -> None:
    assert make(tmp_path / "two.zip", seed="7")["sha256"] == made.told["sha256"]
    assert (tmp_path / "two.zip").read_bytes() == made.file.read_bytes()


def test_the_zip_is_small(made: Made) -> None:
    assert made.told["size_bytes"] == made.file.stat().st_size < 20 * MB
    assert made.told["unzipped_bytes"] < 60 * MB


def test_the_handler_needs_nothing_but_the_zip(made: Made) -> None:
    assert made.told["handler"] == "crossfade_replicator.lambda_handler.lambda_handler"
    done = alone(
        made,
        "import crossfade_replicator.lambda_handler as each, engagement_migration\nprint(each.lambda_handler.__name__)",
    )
    assert (done.returncode, done.stdout.strip()) == (0, "lambda_handler"), done.stderr


def test_a_wrong_setting_is_named_at_the_first_event(made: Made) -> None:
    code = (
        "import os, crossfade_replicator.lambda_handler as each\n"
        "os.environ.update(CROSSFADE_CONSUMER='forward', CROSSFADE_PARTIAL_RESPONSE='1')\n"
        "each.lambda_handler({}, None)\n"
    )
    done = alone(made, code)
    assert "did you mean CROSSFADE_PARTIAL_RESPONSES?" in done.stderr


def test_the_clients_of_redis_and_aws_are_whole(made: Made) -> None:
    """Lazy imports, too: a mark is asked for and a call is signed, up to the connection that nobody takes."""
    code = """
import asyncio, os
os.environ.update(AWS_ACCESS_KEY_ID='a', AWS_SECRET_ACCESS_KEY='b', AWS_SESSION_TOKEN='c')
from crossfade.adapters.redis_dedup import RedisMarks
from crossfade.adapters.wire import Wire, WireConfig
from crossfade.core.values.shape import Direction
async def ask():
    marks = RedisMarks('redis://127.0.0.1:1/0', 'm', table_ids={Direction.FORWARD: 't'})
    print(await marks.seen(Direction.FORWARD, [b'k']))
    try:
        await Wire('dynamodb', WireConfig('us-east-1', 'http://127.0.0.1:1', attempts=1)).call('GetItem', b'{}')
    except Exception as error:
        print(type(error).__name__)
asyncio.run(ask())
"""
    done = alone(made, code)
    lines = done.stdout.splitlines()
    assert (lines[-2:], done.returncode) == (["[None]", "StoreUnavailable"], 0), done.stderr


def test_what_the_function_never_uses_is_not_in_it(made: Made) -> None:
    names = {each.partition("/")[0] for each in zipfile.ZipFile(made.file).namelist()}
    assert not names & {"faust", "faust_kinesis", "grpc", "botocore", "aiobotocore", "opentelemetry", "openfeature"}
    assert not any(name.endswith((".pyi", ".c", ".pyx")) for name in zipfile.ZipFile(made.file).namelist())


def test_bytecode_is_valid_whatever_the_files_time_says(made: Made) -> None:
    file = made.folder / "crossfade_replicator/__pycache__/lambda_handler.cpython-311.pyc"
    flags = int.from_bytes(file.read_bytes()[4:8], "little")
    assert flags == 0b01, "hash-based, and not checked"


def test_libraries_are_of_the_runtimes_platform(made: Made) -> None:
    libraries = list(made.folder.rglob("*.so*"))
    assert libraries
    for each in libraries:
        head = each.read_bytes()[:20]
        assert (head[:4], int.from_bytes(head[18:20], "little")) == (b"\x7fELF", 62), f"{each} is not for x86-64"


def test_an_arm_zip_is_of_arm(tmp_path: Path) -> None:
    make(tmp_path / "arm.zip", "--arch", "arm64")
    with zipfile.ZipFile(tmp_path / "arm.zip") as archive:
        heads = [archive.read(each)[18:20] for each in archive.namelist() if ".so" in each]
    assert set(heads) == {(183).to_bytes(2, "little")}
