"""The embedded AWS as a pytest plugin: `pytest_plugins = ["localaws.fixture"]` in the top conftest.py."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from localaws.endpoints import Endpoints
from localaws.stack import Stack


@pytest.fixture(scope="session")
def local_aws() -> Iterator[Endpoints]:
    """One embedded AWS, with Redis, for all tests of the run: use table and stream names of your own."""
    with Stack() as stack:
        yield stack.endpoints


ANOTHER_ENGINE = "LOCALAWS_DYNAMODB_ENDPOINT"


@dataclass(frozen=True)
class Control:
    """The control endpoints of a running emulator, as `localaws.control` describes them."""

    aws_endpoint: str

    def get(self, name: str) -> dict[str, Any]:
        """Return what an endpoint shows."""
        return self._call(urllib.request.Request(f"{self.aws_endpoint}/_localaws/{name}"))  # noqa: S310  # loopback

    def post(self, name: str, **settings: Any) -> dict[str, Any]:
        """Send settings to an endpoint and return its answer."""
        address, body = f"{self.aws_endpoint}/_localaws/{name}", json.dumps(settings).encode()
        return self._call(urllib.request.Request(address, data=body))  # noqa: S310  # loopback

    @staticmethod
    def _call(request: urllib.request.Request) -> dict[str, Any]:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  # loopback
            shown: dict[str, Any] = json.load(answer)
            return shown


@dataclass(frozen=True)
class Emulator:
    """An emulator of the tests' own, with a boto3 client per service."""

    endpoints: Endpoints
    control: Control
    dynamodb: Any
    kinesis: Any
    s3: Any
    cloudwatch: Any
    without: tuple[str, ...] = ()


@pytest.fixture(scope="session")
def own_emulator() -> Iterator[Emulator]:
    """An emulator that tests may set faults in and leave patches out of; for the tests of localaws itself.

    Where the environment names another engine of DynamoDB, contracts run on that; it has no patches to leave out.
    """
    import boto3
    from botocore.config import Config

    with contextlib.ExitStack() as held:
        another = os.environ.get(ANOTHER_ENGINE)
        endpoints = Endpoints(another, None) if another else held.enter_context(Stack(redis=False)).endpoints
        config = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
        clients = {name: boto3.client(name, config=config, **endpoints.client_arguments()) for name in SERVICES}
        yield Emulator(endpoints, Control(endpoints.aws_endpoint), **clients)


SERVICES = ("dynamodb", "kinesis", "s3", "cloudwatch")


def mends(*faults: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run a test twice: as it is, and without the patches named, where it must fail."""

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def checked(*arguments: Any, emulator: Emulator, **named: Any) -> None:
            from botocore.exceptions import ClientError

            if not emulator.without:
                test(*arguments, emulator=emulator, **named)
                return
            try:
                test(*arguments, emulator=emulator, **named)
            except (AssertionError, ClientError, LookupError, pytest.fail.Exception):
                return
            pytest.fail(f"passes without {', '.join(faults)}: it shows nothing of what the patch is for")

        cases = pytest.mark.parametrize("emulator", [(), faults], ids=["mended", "without"], indirect=True)
        marked: Callable[..., None] = cases(checked)
        return marked

    return decorate


@pytest.fixture
def emulator(request: pytest.FixtureRequest, own_emulator: Emulator) -> Iterator[Emulator]:
    """The emulator, with all patches, or with those left out that the test says it needs (see `mends`)."""
    without = getattr(request, "param", ())
    if not without:
        yield own_emulator
        return
    own_emulator.control.post("patches", without=list(without))
    try:
        yield replace(own_emulator, without=without)
    finally:
        own_emulator.control.post("patches", without=[])
