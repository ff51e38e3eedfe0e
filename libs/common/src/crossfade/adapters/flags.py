"""Flags from a flagd file, read through OpenFeature (the FILE resolver: no server).

What was learned of the provider: it polls the file at `deadline_ms`, ignores a file whose mtime is not newer, and keeps
its last value without a word when the file is broken or gone. So the publisher always makes a newer file, and the
reader measures the age of what it knows by reading the file itself.
"""

from __future__ import annotations

import asyncio
import glob
import json
import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from openfeature import api
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType

from crossfade.core.ownership.ramp import FlagDocument, check_generations
from crossfade.core.values.errors import ConfigError, StoreUnavailable
from crossfade.ports.flags import Flags, refuse_older

OWNERSHIP: Final = "ownership"
DUAL_WRITE: Final = "dual-write"

_TEMPORARY: Final = ".tmp"
_MODE: Final = 0o644
"""Of the file: pods run as other users than the controller."""

_LEFT_S: Final = 60.0


def flagd_file(document: FlagDocument, *, dual_write: bool) -> str:
    """Return the contents of a flagd file with both flags."""
    flags = {
        OWNERSHIP: {"state": "ENABLED", "variants": {"current": document._asdict()}, "defaultVariant": "current"},
        DUAL_WRITE: {
            "state": "ENABLED",
            "variants": {"on": True, "off": False},
            "defaultVariant": "on" if dual_write else "off",
        },
    }
    return json.dumps({"$schema": "https://flagd.dev/schema/v0/flags.json", "flags": flags}, indent=2)


def parse_flagd_file(text: str) -> tuple[FlagDocument, bool]:
    """Read both flags of a file that `flagd_file` wrote.

    Raises:
        ConfigError: it is no such file.
    """
    try:
        flags = json.loads(text)["flags"]
        document = FlagDocument(**flags[OWNERSHIP]["variants"][flags[OWNERSHIP]["defaultVariant"]])
        return document, bool(flags[DUAL_WRITE]["variants"][flags[DUAL_WRITE]["defaultVariant"]])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"no flag file of Crossfade: {type(error).__name__}: {error}") from error


def read_flagd_file(path: Path) -> tuple[FlagDocument, bool]:
    """Read both flags of the file at `path`.

    Raises:
        ConfigError: it is missing or broken; the message names it.
    """
    try:
        return parse_flagd_file(path.read_text())
    except OSError as error:
        cure = "; the controller writes it when it starts" if isinstance(error, FileNotFoundError) else ""
        raise ConfigError(f"CROSSFADE_FLAG_FILE={path}: {error.strerror}{cure}") from error
    except (ConfigError, ValueError) as error:
        raise ConfigError(f"CROSSFADE_FLAG_FILE={path}: {error}") from error


def check_writable(path: Path) -> None:
    """Make sure that flags can be published to a file, as `FlagFile` does it; leaves nothing behind.

    Raises:
        ConfigError: they can't be; the message names the setting and what is in the way.
    """
    if path.is_dir():
        raise ConfigError(f"CROSSFADE_FLAG_FILE={path}: is a directory; name a file in it")
    made: list[Path] = []
    try:
        for folder in reversed([path.parent, *path.parent.parents]):
            if not folder.exists():
                folder.mkdir()
                made.append(folder)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_TEMPORARY)
        os.close(handle)
        os.unlink(temporary)
    except OSError as error:
        raise ConfigError(
            f"CROSSFADE_FLAG_FILE={path}: the controller can't write there: {error.strerror}; give it a directory that "
            "it may write, and that the pods see"
        ) from error
    finally:
        for folder in reversed(made):
            folder.rmdir()


class FlagFile:
    """Publishes flags: each time a whole new file, put in place by one rename, that every user may read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def publish(self, document: FlagDocument, *, dual_write: bool) -> None:
        """Replace the file, unless it is ahead; readers see the old one or the new one, never a part."""
        found = await self.in_place()
        if found is not None:
            refuse_older(document, found.document, str(self._path))
        await asyncio.to_thread(self.write, document, dual_write=dual_write)

    async def in_place(self) -> Flags | None:
        """Return what the file says; None when there is no such file, or a broken one."""
        try:
            document, dual_write = await asyncio.to_thread(read_flagd_file, self._path)
        except ConfigError:
            return None
        return Flags(document, dual_write, age_s=0.0)

    def write(self, document: FlagDocument, *, dual_write: bool) -> None:
        """Replace the file, whatever it says, from synchronous code.

        Raises:
            StoreUnavailable: it can't be written now; the one in place is untouched.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._clear_away()
            before_ns = self._path.stat().st_mtime_ns if self._path.exists() else 0
            handle, temporary = tempfile.mkstemp(
                dir=self._path.parent, prefix=f".{self._path.name}.", suffix=_TEMPORARY
            )
            try:
                with os.fdopen(handle, "w") as file:
                    os.fchmod(handle, _MODE)
                    file.write(flagd_file(document, dual_write=dual_write))
                    file.flush()
                    os.fsync(handle)
                now_ns = max(time.time_ns(), before_ns + 1_000_000)  # the provider ignores a file that is not newer
                os.utime(temporary, ns=(now_ns, now_ns))
                os.replace(temporary, self._path)
            except BaseException:
                os.unlink(temporary)
                raise
        except OSError as error:
            raise StoreUnavailable(
                f"CROSSFADE_FLAG_FILE={self._path}: the flags can't be published: {error.strerror}"
            ) from error

    def _clear_away(self) -> None:
        """Remove what publishers left that were killed; a living one needs its file for less than `_LEFT_S`."""
        for left in self._path.parent.glob(f".{glob.escape(self._path.name)}.*{_TEMPORARY}"):
            with suppress(FileNotFoundError):
                if time.time() - left.stat().st_mtime > _LEFT_S:
                    left.unlink()


class FlagdFile:
    """Reads flags; `start` it before use."""

    def __init__(self, path: Path, poll_s: float = 0.5) -> None:
        self._path = path
        self._poll_s = poll_s
        self._domain = f"crossfade:{path}:{id(self)}"
        self._read_s = float("-inf")
        self._watcher: asyncio.Task[None] | None = None
        self._provider: Any = None
        self._client: Any = None

    async def start(self) -> None:
        """Read the file for the first time.

        Raises:
            ConfigError: the file is missing or broken, or of version 0.1.
        """
        await asyncio.to_thread(self._look)
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
        """Return the flags as last read; some 30 µs, so evaluate once a request.

        Raises:
            ConfigError: they are of version 0.1.
        """
        values = self._client.get_object_value(OWNERSHIP, {})
        document = FlagDocument(
            share=int(values.get("share", 0)),
            new_gen=int(values.get("new_gen", 0)),
            legacy_gen=int(values.get("legacy_gen", 0)),
            complete=bool(values.get("complete", False)),
        )
        dual_write = bool(self._client.get_boolean_value(DUAL_WRITE, False))
        return Flags(check_generations(document), dual_write, age_s=time.monotonic() - self._read_s)

    async def refresh(self) -> Flags:
        """Wait until the provider knows what the file says now, and return it.

        Raises:
            ConfigError: the file is missing or broken.
        """
        wanted = await asyncio.to_thread(self._look)
        for _ in range(20):  # four polls of the provider
            if self.current()[:2] == wanted:
                break
            await asyncio.sleep(self._poll_s / 5)
        return self.current()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            with suppress(ConfigError):  # the age tells
                await asyncio.to_thread(self._look)

    def _look(self) -> tuple[FlagDocument, bool]:
        document, dual_write = read_flagd_file(self._path)
        check_generations(document)
        self._read_s = time.monotonic()
        return document, dual_write
