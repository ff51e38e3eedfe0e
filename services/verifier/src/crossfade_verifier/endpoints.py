"""The verifier's HTTP: plain on loopback, mutual TLS beyond (`crossfade.runtime.tls`)."""

from __future__ import annotations

from http import HTTPStatus

from crossfade.core.mapping.interface import Mapping
from crossfade.runtime.http import Answer, HttpRefused, Request, Route, anyone, operator, told, viewer
from crossfade_verifier.passes import Passes
from crossfade_verifier.repairs import Repairs
from crossfade_verifier.repairs_door import repair_routes
from crossfade_verifier.report import Reporter
from crossfade_verifier.settings import Settings


def routes(
    passes: Passes, report: Reporter, repairs: Repairs, mapping: Mapping, settings: Settings
) -> dict[str, Route]:
    """Return what the verifier's door opens to."""
    endpoints = _Endpoints(passes, report)
    return {
        "GET /parity": viewer(endpoints.parity),
        "POST /passes": operator(endpoints.ask),
        "GET /passes/{id}": viewer(endpoints.pass_by_id),
        **repair_routes(
            repairs,
            passes.keys_of,
            lambda found: report.parity().differences[found.value].count,
            mapping,
            most=settings.repairs_at_once,
        ),
        "GET /healthz": anyone(endpoints.alive),
        "GET /readyz": anyone(endpoints.ready),
    }


class _Endpoints:
    def __init__(self, passes: Passes, report: Reporter) -> None:
        self._passes, self._report = passes, report

    async def parity(self, _request: Request) -> Answer:
        return told(self._report.parity().to_dict())

    async def ask(self, _request: Request) -> Answer:
        asked = self._passes.ask()
        return told({"id": asked.id, "state": asked.state}, HTTPStatus.ACCEPTED)

    async def pass_by_id(self, request: Request) -> Answer:
        found = self._passes.get(request.named["id"])
        if found is None:
            raise HttpRefused(HTTPStatus.NOT_FOUND, "not_found", "no such pass")
        return told(self._report.described(found))

    async def alive(self, _request: Request) -> Answer:
        return told({"status": "ok"})

    async def ready(self, _request: Request) -> Answer:
        """Ready to answer /parity, if only with the table it is waiting for."""
        return told({"status": "ready", "waiting": self._passes.waiting or None})
