"""Asks a service for its health, for images, `helm test` and people: the images have no curl.

python -m crossfade.runtime.probe http://replicator:8081/readyz
python -m crossfade.runtime.probe grpc://engagement-api:50051

https:// and grpcs:// use the files of CROSSFADE_TLS_CERT_FILE, CROSSFADE_TLS_KEY_FILE and CROSSFADE_TLS_CLIENT_CA_FILE.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from crossfade.core.values.errors import ConfigError, CrossfadeError, StoreUnavailable
from crossfade.runtime.tls import TlsFiles, client_context

SCHEMES = ("http", "https", "grpc", "grpcs")
PAUSE_S = 1.0


def probe(url: str, timeout_s: float, tls: TlsFiles | None = None) -> str:
    """Ask once.

    Args:
        url: http, https, grpc or grpcs.
        timeout_s: for the whole question.
        tls: for https and grpcs.

    Returns:
        What the service said.

    Raises:
        ConfigError: the address is none of these, or the files of TLS are missing.
        StoreUnavailable: no answer, or not a good one.
    """
    scheme = urlsplit(url).scheme
    if scheme not in SCHEMES:
        raise ConfigError(f"{url}: must begin with one of {', '.join(SCHEMES)}")
    if scheme.endswith("s") and tls is None:
        raise ConfigError(f"{url}: {scheme} needs CROSSFADE_TLS_CERT_FILE and the files that go with it")
    return _ask_grpc(url, timeout_s, tls) if scheme.startswith("grpc") else _ask_http(url, timeout_s, tls)


def _ask_http(url: str, timeout_s: float, tls: TlsFiles | None) -> str:
    context = client_context(tls) if tls and url.startswith("https") else None
    try:
        # `probe` has checked the scheme
        with urllib.request.urlopen(url, timeout=timeout_s, context=context) as answer:  # noqa: S310
            return str(answer.read(2000).decode("utf-8", "replace"))
    except urllib.error.HTTPError as error:
        said = error.read(2000).decode("utf-8", "replace")
        raise StoreUnavailable(f"{url} answered {error.code}: {said}") from error
    except OSError as error:
        raise StoreUnavailable(f"{url}: {error}") from error


def _ask_grpc(url: str, timeout_s: float, tls: TlsFiles | None) -> str:
    import grpc  # slow to import, and not needed for HTTP
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    target = urlsplit(url).netloc
    if tls and url.startswith("grpcs"):
        credentials = grpc.ssl_channel_credentials(
            tls.client_ca.read_bytes(), tls.key.read_bytes(), tls.cert.read_bytes()
        )
        channel = grpc.secure_channel(target, credentials)
    else:
        channel = grpc.insecure_channel(target)
    try:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
    except grpc.RpcError as error:
        raise StoreUnavailable(f"{url}: {error.code().name}") from error
    finally:
        channel.close()
    said = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise StoreUnavailable(f"{url} says {said}")
    return str(said)


def _files() -> TlsFiles | None:
    named = [os.environ.get(f"CROSSFADE_TLS_{name.upper()}_FILE") for name in TlsFiles._fields]
    return TlsFiles(*(Path(each) for each in named if each)) if all(named) else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask each address until it answers well or the time is up; return 0 when all do."""
    parser = argparse.ArgumentParser(
        "crossfade.runtime.probe", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url", nargs="+")
    parser.add_argument("--timeout", type=float, default=3.0, metavar="S", help="timeout of one request; default 3")
    parser.add_argument(
        "--wait", type=float, default=0.0, metavar="S", help="keep asking for this long; default: ask once"
    )
    asked = parser.parse_args(arguments)
    until_s = time.monotonic() + asked.wait
    for url in asked.url:
        while True:
            try:
                sys.stdout.write(f"{url}: {probe(url, asked.timeout, _files())}\n")
                break
            except CrossfadeError as error:
                if not isinstance(error, StoreUnavailable) or time.monotonic() >= until_s:
                    sys.stderr.write(f"{error}\n")
                    return 1
                time.sleep(PAUSE_S)
    return 0


if __name__ == "__main__":
    sys.exit(main())
