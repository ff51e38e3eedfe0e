"""The control endpoints, under /_localaws/ on the port of the AWS endpoint.

GET  /_localaws/faults     what goes wrong between tables and streams, and what was written so far
POST /_localaws/faults     change it: {"duplicate": 0.1, "shuffle_window": 20, "delay_ms": 500, "seed": 7}
GET  /_localaws/throttles  which statements are sent back: {"throttles": [{"table", "key", "statements", "sent_back"}]}
POST /_localaws/throttles  send some back: {"table": name, "key": partition key or "*", "statements": 3, -1 or 0}
POST /_localaws/expire     remove now what TTL would remove within days: {"expired": N, "every_s": 0.0}
                           with {"every_s": 0.5}: and from now on twice a second; 0: only each minute
GET  /_localaws/calls      IAM actions so far: {access key id: {action: {resource: times}}}; POST resets them
GET  /_localaws/date       the clock that answers are dated by: {"offset_s": 0.0, "is_told": true}
POST /_localaws/date       set it: {"offset_s": -600} for a client that is 600 s ahead, {"is_told": false} for no dates
GET  /_localaws/late       which requests are held on their way: {"waiting": 1, "late": [...]}
POST /_localaws/late       hold some: {"access_key_id": "a", "operation": "PutItem", "requests": 1, "delay_s": 3, or -1}
                           {"release": true}: let them arrive now
GET  /_localaws/access     who is who, what holds how long: signature_age_s, policy_delay_s, policy_pause_s, principals
POST /_localaws/access     change it: {"signature_age_s": 2, "principals": {key: "arn:aws:iam::000000000000:role/feed"}}
POST /_localaws/patches    {"without": [names]}: leave patches out, to show the fault that each mends
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from localaws.access import access
from localaws.calls import calls
from localaws.dates import clock
from localaws.http_server import Request, response
from localaws.lateness import lateness
from localaws.patches import registry
from localaws.patches.change_records import capture, reap, sweep
from localaws.patches.throttling import throttles

CONTROL_PREFIX = b"/_localaws/"

Json = dict[str, Any]


def _faults(request: Request, settings: Json) -> Json:
    if request.method == "POST":
        stream = settings.pop("stream", None)
        capture.delivery.set_faults(settings, stream)
    return capture.delivery.report()


def _throttles(request: Request, settings: Json) -> Json:
    if request.method == "POST":
        throttles.set(settings)
    return throttles.report()


def _expire(_request: Request, settings: Json) -> Json:
    if unknown := settings.keys() - {"every_s"}:
        raise ValueError(f"no such setting of the sweep: {', '.join(sorted(unknown))}")
    if "every_s" in settings:
        sweep.set(settings["every_s"])
    return {"expired": reap(), "every_s": sweep.every_s}


def _patches(request: Request, settings: Json) -> Json:
    if request.method == "POST":
        registry.install(settings.get("without", ()))
    return {"patches": registry.faults()}


def _calls(request: Request, _settings: Json) -> Json:
    shown: Json = calls.report()
    if request.method == "POST":
        calls.forget()
    return shown


def _access(request: Request, settings: Json) -> Json:
    if request.method == "POST":
        access.set(settings)
    return access.report()


def _late(request: Request, settings: Json) -> Json:
    if request.method == "POST":
        lateness.set(settings)
    return lateness.report()


def _date(request: Request, settings: Json) -> Json:
    if request.method == "POST":
        unknown = settings.keys() - {"offset_s", "is_told"}
        if unknown:
            raise ValueError(f"no such setting of the clock: {', '.join(sorted(unknown))}")
        clock.set(**settings)
    return {"offset_s": clock.offset_s, "is_told": clock.is_told}


ENDPOINTS: dict[bytes, Callable[[Request, Json], Json]] = {
    b"faults": _faults,
    b"throttles": _throttles,
    b"expire": _expire,
    b"patches": _patches,
    b"calls": _calls,
    b"access": _access,
    b"date": _date,
    b"late": _late,
}


def control(request: Request) -> bytes:
    """Answer a control request."""
    endpoint = ENDPOINTS.get(request.target.removeprefix(CONTROL_PREFIX))
    if endpoint is None:
        known = ", ".join(name.decode() for name in ENDPOINTS)
        return _answer(404, {"error": f"no such endpoint; there are {known}"})
    try:
        settings = json.loads(request.body or b"{}")
        if not isinstance(settings, dict):
            raise ValueError("the body must be a JSON object")
        return _answer(200, endpoint(request, settings))
    except (ValueError, registry.UnknownPatch) as error:
        return _answer(400, {"error": str(error)})


def _answer(status: int, shown: Json) -> bytes:
    return response(status, [(b"content-type", b"application/json")], json.dumps(shown).encode() + b"\n")
