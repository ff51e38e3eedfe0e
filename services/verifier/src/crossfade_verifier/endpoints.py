"""The verifier's HTTP: plain on loopback, mutual TLS beyond (`crossfade.runtime.tls`)."""

from __future__ import annotations

from http import HTTPStatus
from importlib.metadata import version

from crossfade.core.mapping.interface import Mapping
from crossfade.runtime import openapi
from crossfade.runtime.http import Answer, HttpRefused, Request, Route, told
from crossfade_verifier.keytext import key_of_text
from crossfade_verifier.listing import Listing
from crossfade_verifier.masking import Reveals
from crossfade_verifier.operations import ABOUT, ASK, BUCKETS, CANCEL, DIFFERENCES, KEY, OPERATIONS, TITLE, Alive, Ready
from crossfade_verifier.pass_views import Pass
from crossfade_verifier.passes import Passes
from crossfade_verifier.repairs import Repairs
from crossfade_verifier.repairs_door import repair_handlers
from crossfade_verifier.report import Reporter
from crossfade_verifier.settings import Settings
from crossfade_verifier.spot import Spot


def routes(
    passes: Passes,
    report: Reporter,
    listing: Listing,
    spot: Spot,
    repairs: Repairs,
    reveals: Reveals,
    mapping: Mapping,
    settings: Settings,
) -> dict[str, Route]:
    """Return what the verifier's door opens to; each route is one of `OPERATIONS`."""
    endpoints = _Endpoints(passes, report, listing, spot, reveals, mapping)
    handlers = {
        "GET /parity": endpoints.parity,
        "GET /parity/buckets": endpoints.buckets,
        "GET /parity/differences": endpoints.differences,
        "GET /keys/{key}": endpoints.key,
        "GET /passes": endpoints.passes,
        "POST /passes": endpoints.ask,
        "GET /passes/{id}": endpoints.pass_by_id,
        "POST /passes/{id}/cancel": endpoints.cancel,
        **repair_handlers(
            repairs,
            passes.keys_of,
            lambda found: report.parity().differences[found.value].count,
            mapping,
            most=settings.repairs_at_once,
        ),
        "GET /openapi.json": openapi.page_of(openapi.document(TITLE, ABOUT, version("crossfade-verifier"), OPERATIONS)),
        "GET /healthz": endpoints.alive,
        "GET /readyz": endpoints.ready,
    }
    return {name: OPERATIONS[name].route(handler) for name, handler in handlers.items()}


class _Endpoints:
    def __init__(
        self, passes: Passes, report: Reporter, listing: Listing, spot: Spot, reveals: Reveals, mapping: Mapping
    ) -> None:
        self._passes, self._report, self._listing, self._spot = passes, report, listing, spot
        self._reveals, self._mapping = reveals, mapping

    async def parity(self, _request: Request) -> Answer:
        return told(self._report.parity().to_dict())

    async def buckets(self, request: Request) -> Answer:
        return told(self._listing.buckets(**BUCKETS.read(request)).to_dict())

    async def differences(self, request: Request) -> Answer:
        given = DIFFERENCES.read(request)
        return told((await self._listing.differences(found=given.pop("class"), **given)).to_dict())

    async def key(self, request: Request) -> Answer:
        given = KEY.read(request)
        key = key_of_text(request.named["key"], self._mapping)
        if given["reveal"]:
            await self._reveals.permit(request, key, given["who"] or "")
        return told((await self._spot.look(key, reveal=given["reveal"])).to_dict())

    async def ask(self, request: Request) -> Answer:
        asked = await self._passes.ask(request.name(ASK.taken(request).who))
        return told(self._report.described(asked), HTTPStatus.ACCEPTED)

    async def passes(self, _request: Request) -> Answer:
        return told(self._report.passes().to_dict())

    async def cancel(self, request: Request) -> Answer:
        found = await self._passes.cancel(request.named["id"], request.name(CANCEL.taken(request).who))
        return self._told(found, request, HTTPStatus.ACCEPTED)

    async def pass_by_id(self, request: Request) -> Answer:
        found = await self._passes.get(request.named["id"])
        return self._told(found, request) if found is None else told(self._report.one_pass(found))

    def _told(self, found: Pass | None, request: Request, status: HTTPStatus = HTTPStatus.OK) -> Answer:
        if found is None:
            name = request.named["id"][:80]
            message = f"there is no pass {name!r}: GET /passes lists the last ones"
            raise HttpRefused(HTTPStatus.NOT_FOUND, "not_found", message)
        return told(self._report.described(found), status)

    async def alive(self, _request: Request) -> Answer:
        return told(Alive())

    async def ready(self, _request: Request) -> Answer:
        """Ready to answer /parity, if only with the table it is waiting for."""
        return told(Ready(self._passes.waiting or None))
