"""Serving an ASGI application on a port of our own choice, inside a loop of our own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.types import ASGIApp

from crossfade.core.values.errors import ConfigError
from crossfade.runtime.tls import TlsFiles, keep_fresh, server_context


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # the process has its own way to stop


@asynccontextmanager
async def served(app: ASGIApp, host: str, port: int, tls: TlsFiles | None = None) -> AsyncIterator[str]:
    """Serve until the context is left; yields the address, "127.0.0.1:8080".

    Args:
        app: the application.
        host: address to listen on.
        port: port; 0 for any free one.
        tls: makes it HTTPS, for clients with a certificate of ours.

    Raises:
        ConfigError: the port is taken, or the certificates can't be read.
    """
    context = server_context(tls) if tls else None
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigError(f"CROSSFADE_HTTP_PORT={port}: can't listen on {host}: {error.strerror}") from error
    config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=2)
    config.load()
    config.ssl = context  # uvicorn would make its own, which it can't renew
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    renewing = asyncio.create_task(keep_fresh(tls, context)) if tls and context else None
    try:
        yield f"{host}:{listener.getsockname()[1]}"
    finally:
        if renewing is not None:
            renewing.cancel()
        server.should_exit = True
        await task
