"""Mutual TLS from three files, as a Kubernetes Secret of type kubernetes.io/tls with ca.crt mounts them.

Every service that listens beyond loopback shows a certificate and demands one of the same authority. Certificates are
renewed while processes run: the files are looked at again, and new connections get the new ones.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from crossfade.core.values.errors import ConfigError

log = structlog.get_logger()

LOOK_S: Final = 30.0
"""How often the files are looked at."""


class TlsFiles(NamedTuple):
    """Names of the files.

    Attributes:
        cert: certificate chain of this process, PEM; it serves as server and as client.
        key: its private key, PEM.
        client_ca: authorities whose certificates are accepted, PEM; of clients, and of the servers that are called.
    """

    cert: Path
    key: Path
    client_ca: Path

    def stamps(self) -> tuple[int, ...]:
        """Return when each file changed last, ns; a mounted Secret changes them all at once."""
        return tuple(path.stat().st_mtime_ns for path in self)


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """Return a context for servers that demand a client's certificate.

    Raises:
        ConfigError: a file is missing or is not what it should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    _load(context, files)
    return context


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """Return a context for clients that show their certificate and check the server's name.

    Raises:
        ConfigError: a file is missing or is not what it should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    _load(context, files)
    return context


async def keep_fresh(files: TlsFiles, *contexts: ssl.SSLContext) -> None:
    """Load renewed files into contexts that are in use; runs until cancelled."""
    known = files.stamps()
    while True:
        await asyncio.sleep(LOOK_S)
        with suppress(OSError):  # between two versions of a mount; the next look finds them
            stamps = files.stamps()
            if stamps == known:
                continue
            try:
                for context in contexts:
                    _load(context, files)
            except ConfigError as error:
                log.warning("renewed certificates can't be used yet", error=str(error))
            else:
                known = stamps
                log.info("certificates renewed")


def _load(context: ssl.SSLContext, files: TlsFiles) -> None:
    try:
        context.load_verify_locations(files.client_ca)
        context.load_cert_chain(files.cert, files.key, password="")  # else OpenSSL asks at the terminal
    except (OSError, ssl.SSLError) as error:
        named = ", ".join(f"CROSSFADE_TLS_{name.upper()}_FILE={path}" for name, path in files._asdict().items())
        raise ConfigError(f"{named}: {error}") from error
