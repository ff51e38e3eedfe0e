"""The embedded AWS as processes: they start on free ports of loopback, and none is left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import pytest
import redis

from localaws import Stack, StartFailed
from localaws.redis import find_binary

pytestmark = pytest.mark.embedded

COMMAND = [sys.executable, "-m", "localaws.cli"]


def is_running(pid: int) -> bool:
    """Say whether a process exists and is no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def eventually(holds: Callable[[], bool], within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()


def children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid:
                found.append(int(entry.name))
    return found


def listening(pids: list[int]) -> set[str]:
    """Return the addresses that processes listen on, as the kernel writes them."""
    inodes = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            target = os.readlink(descriptor)
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                found.add(fields[1].partition(":")[0])
    return found


@contextmanager
def up(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """Run `localaws up` and read its line."""
    process = subprocess.Popen([*COMMAND, "up", *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.communicate(timeout=10)


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_up_prints_its_endpoints_and_leaves_no_process_when_told_to_end(sent: signal.Signals) -> None:
    with up("--port", "0", "--redis-port", "0") as (process, shown):
        credentials = {"access_key_id", "secret_access_key", "account_id"}
        assert set(shown) == {"aws_endpoint", "redis_url", "region"} | credentials
        client = boto3.client(
            "dynamodb",
            endpoint_url=shown["aws_endpoint"],
            region_name=shown["region"],
            aws_access_key_id=shown["access_key_id"],
            aws_secret_access_key=shown["secret_access_key"],
        )
        assert client.list_tables()["TableNames"] == []
        assert redis.Redis.from_url(shown["redis_url"]).ping()
        servers = children(process.pid)
        assert len(servers) == 2
        process.send_signal(sent)
        assert process.wait(10) == 0
        assert not any(map(is_running, servers))


def test_servers_end_when_their_parent_is_killed() -> None:
    with up() as (process, _):
        servers = children(process.pid)
        process.kill()
        assert eventually(lambda: not any(map(is_running, servers)))


def test_up_ends_when_a_server_does() -> None:
    with up() as (process, _):
        for server in children(process.pid):
            if (
                "valkey" in Path(f"/proc/{server}/cmdline").read_text()
                or "redis" in Path(f"/proc/{server}/cmdline").read_text()
            ):
                os.kill(server, signal.SIGKILL)
        assert process.wait(10) == 1
        assert eventually(lambda: not children(process.pid))


def test_everything_listens_on_loopback_only() -> None:
    with Stack() as stack:
        assert listening(stack.pids) == {"0100007F"}


def test_a_port_that_is_taken_is_named_and_nothing_is_left_running() -> None:
    before = set(children(os.getpid()))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = subprocess.run([*COMMAND, "up", "--port", str(port)], capture_output=True, text=True, timeout=30)
        assert result.returncode == 1
        assert str(port) in result.stderr
        stack = Stack(redis_port=port)
        with pytest.raises(StartFailed, match=str(port)):
            stack.start()
        assert stack.pids == []
    assert set(children(os.getpid())) <= before


def test_a_redis_that_is_there_already_is_not_taken_for_our_own() -> None:
    with Stack() as theirs:
        port = urlsplit(str(theirs.endpoints.redis_url)).port
        command = [*COMMAND, "up", "--redis-port", str(port)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert (result.returncode, result.stdout) == (1, "")
        assert f"did not start on port {port}" in result.stderr


@pytest.mark.parametrize("wrong", ["65536", "-1", "http"])
def test_what_is_no_port_is_wrong_usage(wrong: str) -> None:
    result = subprocess.run([*COMMAND, "up", "--port", wrong], capture_output=True, text=True, timeout=30)
    assert result.returncode == 2
    assert "is no port" in result.stderr or "expected one argument" in result.stderr


def test_two_stacks_run_side_by_side() -> None:
    with Stack() as one, Stack() as two:
        assert one.endpoints.aws_endpoint != two.endpoints.aws_endpoint
        redis.Redis.from_url(str(one.endpoints.redis_url)).set("key", "of one")
        assert redis.Redis.from_url(str(two.endpoints.redis_url)).get("key") is None


def test_a_stack_that_does_not_run_says_so() -> None:
    with pytest.raises(StartFailed, match="start"):
        _ = Stack().endpoints


def test_a_patch_can_be_left_out_from_the_start() -> None:
    with Stack(redis=False, without=["sequence_numbers"]) as stack:
        kinesis = boto3.client("kinesis", **stack.endpoints.client_arguments())
        kinesis.create_stream(StreamName="bare", ShardCount=1)
        answer = kinesis.put_record(StreamName="bare", PartitionKey="a", Data=b"")
        assert answer["SequenceNumber"].startswith("0")


def test_an_unknown_patch_stops_the_emulator_with_the_names_there_are() -> None:
    command = [sys.executable, "-m", "localaws.server", "--without", "no_such_patch"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert result.returncode != 0
    assert "no_such_patch" in result.stderr
    assert "partiql_or" in result.stderr


def test_help_teaches_how_to_use_it() -> None:
    shown = subprocess.run([*COMMAND, "up", "--help"], capture_output=True, text=True, timeout=30).stdout
    for word in ("--endpoint-url", "SIGTERM", "/_localaws/faults", "redis_url"):
        assert word in shown


def test_a_redis_server_on_the_path_serves_where_no_binary_is_packaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StartFailed, match=r"riscv64.*Install"):
        find_binary()
    server = tmp_path / "redis-server"
    server.write_text("#!/bin/sh\n")
    server.chmod(0o755)
    assert find_binary() == server
