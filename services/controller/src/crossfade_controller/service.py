"""The service: holds the lease, drives the migration, tells its status."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import structlog

from crossfade.core.migration.acts import failed
from crossfade.core.migration.state import Migration
from crossfade.core.values.errors import CrossfadeError, LeaseLost
from crossfade.runtime import telemetry
from crossfade.runtime.access import access_of
from crossfade.runtime.http import Route, anyone, operator, page, viewer
from crossfade.runtime.lifecycle import ready
from crossfade.runtime.listening import listening
from crossfade.runtime.pace import set_within
from crossfade.runtime.urls import Address
from crossfade_controller.build import Built, build
from crossfade_controller.canary import Canary, Prober
from crossfade_controller.context import Context
from crossfade_controller.diverged import DivergedKeys
from crossfade_controller.door import Door
from crossfade_controller.driver import Driver
from crossfade_controller.evidence import Observer
from crossfade_controller.history import check_tables
from crossfade_controller.measures import observed
from crossfade_controller.plain.canary import StillCanary
from crossfade_controller.settings import ControllerSettings
from crossfade_controller.spans import IntentSpans
from crossfade_controller.status import status_of
from crossfade_controller.sweeper import Sweeper
from crossfade_controller.world import World

log = structlog.get_logger()


def assemble(world: World) -> tuple[Context, Driver]:
    """Put the parts of the state machine together."""

    async def allocate(purpose: str) -> int:
        return await ctx.allocate(purpose)

    canary: Prober = Canary(world, allocate) if world.plain is None else StillCanary(world)

    diverged = DivergedKeys(
        world.tables,
        world.mapping,
        world.letters,
        lambda name: name in ctx.state.discarded,
        clock=world.clock,
    )
    sweeper = Sweeper(
        world.tables,
        world.mapping.protocol,
        world.ownership,
        diverged,
        world.settings,
        clock=world.clock,
    )
    ctx = Context(world, Observer(world, canary), sweeper, diverged)
    return ctx, Driver(ctx)


class Service:
    """One controller process. Attributes: `status`, the last one told."""

    def __init__(self, settings: ControllerSettings) -> None:
        self._settings = settings
        self._is_driving = False
        self._handed_over: Mapping[str, int] = {}
        self._spans: IntentSpans | None = None
        self._ctx: Context | None = None
        self._url = settings.controller_url
        self.status: dict[str, Any] = {"phase": None, "waiting_for": "the lease"}

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until stopped; another controller's lease is waited for."""
        settings = self._settings
        at = Address(settings.host, settings.http_port, "CROSSFADE_HTTP_PORT")
        async with (
            telemetry.running("controller", self._settings) as active,
            build(settings, who=settings.pod, under_lease=True) as built,
            listening(
                self._routes(built),
                at,
                access=access_of(settings, built.world.clock),
                tls=settings.tls,
                for_all=settings.insecure,
            ) as address,
        ):
            if active is not None:
                active.observe(lambda: observed(self.status, self._handed_over, driving=self._is_driving))
            self._url = settings.controller_url or f"{'https' if settings.tls else 'http'}://{address}"
            ready(address, migration=built.world.mapping.name)
            try:
                while not stop.is_set():
                    try:
                        await self._drive(built, stop)
                    except CrossfadeError as error:
                        if not error.retryable:
                            raise
                        log.warning("not driving", code=error.code, error=str(error))
                        self.status = {**self.status, "waiting_for": f"{error.code}: {error}"}
                        await set_within(stop, self._settings.lease_s / 5)
            finally:
                with suppress(CrossfadeError):
                    if built.world.plain is not None:
                        await built.world.plain.membership.leave()
                    await built.lease.release()

    def _routes(self, built: Built) -> dict[str, Route]:
        door = Door(self._settings, built.world.mapping.name, built.world.journal, self._driven, built.world.clock)
        return {
            "GET /status": viewer(page(self._status_page)),
            "GET /healthz": anyone(page(lambda: (HTTPStatus.OK, {"ok": True}))),
            "GET /readyz": anyone(page(self._ready_page)),
            "POST /intents": operator(door.ask),
        }

    def _driven(self) -> Migration | None:
        """Return the state of the migration that this process drives; None while it doesn't."""
        return self._ctx.state if self._is_driving and self._ctx is not None else None

    def _status_page(self) -> tuple[HTTPStatus, dict[str, Any]]:
        return HTTPStatus.OK if "lag" in self.status else HTTPStatus.SERVICE_UNAVAILABLE, self.status

    def _ready_page(self) -> tuple[HTTPStatus, dict[str, Any]]:
        status = HTTPStatus.OK if self._is_driving else HTTPStatus.SERVICE_UNAVAILABLE
        return status, {"driving": self._is_driving}

    async def _drive(self, built: Built, stop: asyncio.Event) -> None:
        await check_tables(built.world)
        if not await built.lease.acquire():
            self.status = {**self.status, "waiting_for": "the lease, which another controller holds"}
            await set_within(stop, self._settings.lease_s / 5)
            return
        log.info("driving", lease=built.lease.counter)
        beating = asyncio.create_task(self._beat(built, stop))
        try:
            await self._tick_until(built, stop, beating)
        except LeaseLost as error:
            log.warning("lease lost", error=str(error))
        finally:
            self._is_driving = False
            if self._spans is not None:
                self._spans.close()
            beating.cancel()
            with suppress(asyncio.CancelledError, CrossfadeError):
                await beating

    async def _tick_until(self, built: Built, stop: asyncio.Event, beating: asyncio.Task[None]) -> None:
        ctx, driver = assemble(built.world)
        await driver.recover()
        self._ctx = ctx
        self._is_driving = True
        self._handed_over = ctx.sweeper.handed_over
        active = telemetry.active()
        if active is not None:
            self._spans = IntentSpans(active, ctx.state.pending)
            ctx.heard = self._spans.take
        try:
            await self._tick(built, stop, beating, ctx, driver)
        finally:
            await driver.close()

    async def _tick(
        self, built: Built, stop: asyncio.Event, beating: asyncio.Task[None], ctx: Context, driver: Driver
    ) -> None:
        told_s, phase = float("-inf"), None
        while not stop.is_set():
            if beating.done():
                beating.result()
            try:
                await driver.tick()
            except LeaseLost:
                raise
            except CrossfadeError as error:
                log.warning("tick failed", code=error.code, error=str(error))
                driver.wait = failed(error)
            self.status = status_of(ctx, driver.wait)
            if ctx.state.phase is not phase:
                phase = ctx.state.phase
                log.info("phase", phase=phase.value, journal=ctx.state.number)
            now_s = built.world.clock.monotonic()
            if now_s - told_s >= self._settings.evidence_s:
                told_s = now_s
                with suppress(CrossfadeError):
                    await built.world.board.put({**self.status, "driver": self._settings.pod, "door": self._url})
            await set_within(stop, self._settings.tick_s)

    async def _beat(self, built: Built, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await built.world.clock.sleep(self._settings.lease_s / 3)
            try:
                await built.lease.renew()
            except LeaseLost:
                raise
            except CrossfadeError as error:
                log.warning("lease not renewed", error=str(error))
                if not built.lease.held:
                    raise LeaseLost("the lease could not be renewed in time") from error
