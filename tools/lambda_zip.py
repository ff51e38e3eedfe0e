"""Makes the zip of the replicator as an AWS Lambda function: build/lambda/replicator-<arch>.zip. The same twice.

make lambda ARGS="--arch arm64 --migration migrations/engagement"

Wheels for the runtime's platform only, from requirements.lock, by hash; of them, and of our own code, what the handler
reaches. Lambda's Python runtime runs as another user on a read-only disk, so bytecode is put in beside the sources, of
the kind that is valid whatever the file's time says: it saves two thirds of the cold start.
"""

from __future__ import annotations

import argparse
import compileall
import hashlib
import json
import os
import py_compile
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from tools import requirements_of

ROOT: Final = requirements_of.ROOT
ENTRY: Final = "crossfade_replicator.lambda_handler"
WITHOUT: Final = (
    # Imported lazily by what the handler reaches, on ways that it never takes:
    "aiobotocore",  # the control plane's client
    "botocore",  # finds keys where the environment has none; Lambda's always has, and its runtime brings botocore
    "googleapis-common-protos",  # all below: OpenTelemetry's exporters; the function speaks CloudWatch's metric format
    "grpcio",
    "opentelemetry-api",
    "opentelemetry-exporter-otlp-proto-grpc",
    "opentelemetry-proto",
    "opentelemetry-sdk",
    "protobuf",
)
PLATFORMS: Final = {"x86_64": "x86_64-manylinux_2_17", "arm64": "aarch64-manylinux_2_17"}
"""Runtime to platform: Amazon Linux 2, on which the runtime of Python 3.11 stands, has glibc 2.26."""

MOMENT: Final = (1980, 1, 1, 0, 0, 0)
DROPPED_SUFFIXES: Final = (".pyi", ".pyx", ".pxd", ".c", ".h", ".typed", ".exe")
DROPPED_FOLDERS: Final = ("tests", "test", "bin", "__pycache__")
KEPT_OF_METADATA: Final = ("METADATA", "entry_points.txt")
LIMIT_BYTES: Final = 250 * 1024 * 1024
"""Unzipped, AWS's limit."""


def install(folder: Path, platform: str, python: str, entries: Sequence[str]) -> None:
    """Unpack the wheels into a folder."""
    wanted = requirements_of.needed(entries, WITHOUT)
    with tempfile.TemporaryDirectory() as work:
        requirements = Path(work) / "requirements.txt"
        requirements.write_text("\n".join(each.text for each in wanted) + "\n")
        command = [str(ROOT / ".venv/bin/uv"), "pip", "install", "--quiet", "--target", str(folder), "--no-deps"]
        command += ["--require-hashes", "--only-binary", ":all:", "--link-mode", "copy"]
        command += ["--python-platform", platform, "--python-version", python, "-r", str(requirements)]
        subprocess.run(command, check=True)


def copy_own(folder: Path, entries: Sequence[str]) -> None:
    """Copy the modules of ours that are reached, and what tells their version."""
    for module in sorted(requirements_of.reached(entries)[0]):
        file = requirements_of.module_file(module)
        if file is None:
            continue
        source = next(each for each in file.parents if each.name == "src")
        target = folder / file.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    for member in requirements_of.own_packages(entries):
        fields = dict(
            line.split(" = ", 1)
            for line in (ROOT / member / "pyproject.toml").read_text().split("\n\n")[0].splitlines()
            if line.startswith(("name = ", "version = "))
        )
        name, version = (fields[each].strip('"') for each in ("name", "version"))
        metadata = folder / f"{name.replace('-', '_')}-{version}.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def prune(folder: Path) -> None:
    """Remove what a function never reads."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            if path.name in DROPPED_FOLDERS:
                shutil.rmtree(path)
            continue
        metadata = path.parent.name.endswith(".dist-info") or ".dist-info/" in str(path)
        if path.suffix in DROPPED_SUFFIXES or path.name == ".lock" or (metadata and path.name not in KEPT_OF_METADATA):
            path.unlink()


def compile_all(folder: Path, python: str) -> bool:
    """Put bytecode beside the sources, if this interpreter makes the runtime's; say whether it did."""
    if python != f"{sys.version_info.major}.{sys.version_info.minor}":
        return False
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    if not compileall.compile_dir(str(folder), quiet=1, stripdir=str(folder), invalidation_mode=mode):
        raise SystemExit("lambda_zip: a module does not compile")
    return True


def files_of(folder: Path) -> Iterator[Path]:
    """Yield all files, in an order that is the same everywhere."""
    yield from sorted((each for each in folder.rglob("*") if each.is_file()), key=lambda each: each.as_posix())


def pack(folder: Path, target: Path) -> int:
    """Write the zip, with nothing in it that differs from one run to the next; return its size unzipped, in bytes."""
    unzipped = 0
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in files_of(folder):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), MOMENT)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix: the permissions count
            entry.external_attr = (0o755 if ".so" in path.suffixes else 0o644) << 16
            content = path.read_bytes()
            unzipped += len(content)
            archive.writestr(entry, content)
    return unzipped


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line."""
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of constant sets in bytecode depends on it
        command = [sys.executable, "-m", "tools.lambda_zip", *sys.argv[1:]]
        os.execve(sys.executable, command, os.environ | {"PYTHONHASHSEED": "0"})  # noqa: S606  # ourselves, once
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", choices=PLATFORMS, default="x86_64")
    parser.add_argument("--python", default="3.11", help="version of Lambda's runtime")
    parser.add_argument(
        "--migration", default="engagement_migration", help="module of the mapping, CROSSFADE_MIGRATION_MAPPING"
    )
    parser.add_argument("--out", type=Path, help="the zip; default build/lambda/replicator-<arch>.zip")
    options = parser.parse_args(arguments)
    out = options.out or ROOT / "build" / "lambda" / f"replicator-{options.arch}.zip"
    out.parent.mkdir(parents=True, exist_ok=True)
    entries = (ENTRY, options.migration)
    with tempfile.TemporaryDirectory(prefix="lambda-", dir=out.parent) as work:
        folder = Path(work) / "code"
        install(folder, PLATFORMS[options.arch], options.python, entries)
        prune(folder)
        copy_own(folder, entries)
        compiled = compile_all(folder, options.python)
        part = Path(work) / "part.zip"
        unzipped = pack(folder, part)
        part.replace(out)
    if unzipped > LIMIT_BYTES:
        raise SystemExit(f"lambda_zip: {unzipped} bytes unzipped, Lambda takes {LIMIT_BYTES}")
    told = {
        "zip": str(out.relative_to(ROOT)) if out.is_relative_to(ROOT) else str(out),
        "handler": f"{ENTRY}.lambda_handler",
        "size_bytes": out.stat().st_size,
        "unzipped_bytes": unzipped,
        "bytecode": compiled,
        "sha256": hashlib.sha256(out.read_bytes()).hexdigest(),
    }
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
