"""Flags from a flagd file, read through OpenFeature (the FILE resolver: no server).

What was learned of the provider: it polls the file at `deadline_ms`, ignores a file whose mtime is not newer, and keeps
its last value without a word when the file is broken or gone. So the publisher always makes a newer file, and the
reader measures the age of what it knows by reading the file itself. It also answers with the caller's default when a
flag is disabled or missing, and by a rule's choice when there is one: what isn't the one value of `adapters.flagd` is
not taken, and the last that was stays.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog
from openfeature import api
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType
from openfeature.flag_evaluation import FlagEvaluationDetails, Reason

from crossfade.adapters.flagd import DUAL_WRITE, OWNERSHIP, dual_write_of, read_flagd_file
from crossfade.core.ownership.ramp import FlagDocument, check_generations, document_of_flag
from crossfade.core.values.errors import ConfigError
from crossfade.ports.flags import Flags

log = structlog.get_logger()


class FlagdFile:
    """Reads flags; `start` it before use."""

    def __init__(self, path: Path, poll_s: float = 0.5) -> None:
        self._path = path
        self._poll_s = poll_s
        self._domain = f"crossfade:{path}:{id(self)}"
        self._read_s = float("-inf")
        self._refused = ""
        self._taken: tuple[FlagDocument, bool] = FlagDocument(), False
        self._watcher: asyncio.Task[None] | None = None
        self._provider: Any = None
        self._client: Any = None

    async def start(self) -> None:
        """Read the file for the first time.

        Raises:
            ConfigError: the file is missing or broken, or of version 0.1.
        """
        self._taken = await asyncio.to_thread(self._look)
        self._read_s = time.monotonic()
        self._provider = FlagdProvider(
            resolver_type=ResolverType.FILE,
            offline_flag_source_path=str(self._path),
            deadline_ms=int(self._poll_s * 1000),
        )
        await asyncio.to_thread(api.set_provider_and_wait, self._provider, domain=self._domain)
        self._client = api.get_client(domain=self._domain)
        self._watcher = asyncio.create_task(self._watch())

    async def close(self) -> None:
        """Stop polling."""
        if self._watcher:
            self._watcher.cancel()
            with suppress(asyncio.CancelledError):
                await self._watcher
        if self._provider:
            self._provider.shutdown()

    def current(self) -> Flags:
        """Return the flags as last read and taken; some 30 µs, so evaluate once a request.

        Raises:
            ConfigError: they are of version 0.1.
        """
        with suppress(ConfigError):  # the age tells, and `_watch` says what is wrong
            ownership = _static(self._client.get_object_details(OWNERSHIP, {}))
            dual_write = _static(self._client.get_boolean_details(DUAL_WRITE, False))
            self._taken = document_of_flag(ownership), dual_write_of(dual_write)
        document, copied = self._taken
        return Flags(check_generations(document), copied, age_s=time.monotonic() - self._read_s)

    async def refresh(self) -> Flags:
        """Wait until the provider knows what the file says now, and return it.

        Raises:
            ConfigError: the file is missing or broken.
        """
        wanted = await asyncio.to_thread(self._look)
        for _ in range(20):  # four polls of the provider
            if self.current()[:2] == wanted:
                self._read_s = time.monotonic()
                break
            await asyncio.sleep(self._poll_s / 5)
        return self.current()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            try:
                found = await asyncio.to_thread(self._look)
                if self.current()[:2] == found:
                    self._read_s = time.monotonic()
                self._refused = ""
            except ConfigError as error:
                if str(error) != self._refused:
                    log.error("flags refused: the last ones stay in force", error=str(error))
                self._refused = str(error)

    def _look(self) -> tuple[FlagDocument, bool]:
        document, dual_write = read_flagd_file(self._path)
        return check_generations(document), dual_write


def _static(details: FlagEvaluationDetails[Any]) -> Any:
    """Return a flag's one value, as `crossfade.adapters.flagd` reads it.

    Raises:
        ConfigError: the provider has none, and answered by a default or by a rule.
    """
    if details.reason != Reason.STATIC:
        raise ConfigError(f"the flag `{details.flag_key}` has no value: {details.error_message or details.reason}")
    return details.value
