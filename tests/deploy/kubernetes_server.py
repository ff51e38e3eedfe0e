"""A small Kubernetes API server on loopback, enough for the real Helm: discovery, CRUD, server-side apply, watch.

What it takes seriously: manifests are validated strictly against the schemas of one Kubernetes version before they are
stored, and server-side apply removes what its manager no longer names and leaves alone what others own. What it only
acts: Deployments are available at once, and Pods (of `helm test`) end at once, as `pod_phase` says. Lists are replaced
whole; strategic merge patches are refused.
"""

from __future__ import annotations

import copy
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs, urlsplit

import kubernetes_validate
import yaml
from kubernetes_protobuf import MAGIC, decode_secret

VERSION: Final = "1.35"

Object = dict[str, Any]


class Kind(NamedTuple):
    """A kind that the server knows."""

    version: str
    plural: str
    name: str
    validated: bool = True


KINDS: Final = (
    Kind("v1", "configmaps", "ConfigMap"),
    Kind("v1", "pods", "Pod"),
    Kind("v1", "secrets", "Secret"),
    Kind("v1", "services", "Service"),
    Kind("v1", "serviceaccounts", "ServiceAccount"),
    Kind("apps/v1", "deployments", "Deployment"),
    Kind("apps/v1", "replicasets", "ReplicaSet"),
    Kind("autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
    Kind("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy"),
    Kind("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget"),
    Kind("rbac.authorization.k8s.io/v1", "roles", "Role"),
    Kind("rbac.authorization.k8s.io/v1", "rolebindings", "RoleBinding"),
    Kind("keda.sh/v1alpha1", "scaledobjects", "ScaledObject", validated=False),
    Kind("monitoring.coreos.com/v1", "servicemonitors", "ServiceMonitor", validated=False),
    Kind("monitoring.coreos.com/v1", "prometheusrules", "PrometheusRule", validated=False),
)


class Refused(Exception):
    """Ends a request with a Kubernetes status."""

    def __init__(self, status: HTTPStatus, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, reason

    def body(self) -> Object:
        told = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "metadata": {}}
        return told | {"code": int(self.status), "reason": self.reason, "message": str(self)}


class Place(NamedTuple):
    """What a path names."""

    kind: Kind
    namespace: str
    name: str


def place_of(path: str) -> Place:
    """Read /api/v1/namespaces/N/configmaps/M and /apis/apps/v1/…

    Raises:
        Refused: there is no such path.
    """
    parts = [part for part in path.split("/") if part]
    version, rest = ("v1", parts[2:]) if parts[0] == "api" else ("/".join(parts[1:3]), parts[3:])
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    for kind in KINDS:
        if rest and (kind.version, kind.plural) == (version, rest[0]) and len(rest) <= 2:
            return Place(kind, namespace, rest[1] if len(rest) > 1 else "")
    raise Refused(HTTPStatus.NOT_FOUND, "NotFound", f"the server could not find the requested resource {path}")


def merge(into: Object, patch: Object) -> Object:
    """Merge as RFC 7386 does: null removes, objects go deeper, anything else replaces."""
    for name, value in patch.items():
        if value is None:
            into.pop(name, None)
        elif isinstance(value, dict):
            old = into.get(name)
            into[name] = merge(old if isinstance(old, dict) else {}, value)
        else:
            into[name] = value
    return into


def without(from_: Object, was: Object, now: Object) -> None:
    """Take away the fields that a manager applied before and doesn't name any more."""
    for name, value in was.items():
        if name not in now:
            if isinstance(value, dict) and isinstance(from_.get(name), dict):
                without(from_[name], value, {})
                if not from_[name]:
                    del from_[name]
            else:
                from_.pop(name, None)
        elif isinstance(value, dict) and isinstance(now[name], dict) and isinstance(from_.get(name), dict):
            without(from_[name], value, now[name])


class Cluster:
    """The objects, and what happened to them. Attributes: `requests` is every method and path; `pod_phase`."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        self.pod_phase = "Succeeded"
        self._objects: dict[Place, Object] = {}
        self._applied: dict[tuple[Place, str], Object] = {}
        self._events: list[tuple[Place, str, Object]] = []
        self._changed = threading.Condition()

    def get(self, kind: str, name: str, namespace: str = "default") -> Object:
        """Return an object for a test to look at; KeyError when there is none."""
        return next(
            found
            for place, found in self._objects.items()
            if (place.kind.name, place.name, place.namespace) == (kind, name, namespace)
        )

    def all(self, kind: str) -> list[str]:
        """Return the names of all objects of a kind."""
        return sorted(place.name for place in self._objects if place.kind.name == kind)

    def read(self, place: Place) -> Object:
        if place not in self._objects:
            raise Refused(HTTPStatus.NOT_FOUND, "NotFound", f'{place.kind.plural} "{place.name}" not found')
        return self._objects[place]

    def listed(self, place: Place, query: dict[str, str]) -> Object:
        found = [each for where, each in self._objects.items() if _selected(where, each, place, query)]
        version = str(len(self._events))
        return {
            "kind": f"{place.kind.name}List",
            "apiVersion": place.kind.version,
            "metadata": {"resourceVersion": version},
            "items": found,
        }

    def create(self, place: Place, body: Object, *, dry_run: bool) -> Object:
        place = place._replace(name=body["metadata"]["name"])
        if place in self._objects:
            raise Refused(HTTPStatus.CONFLICT, "AlreadyExists", f'{place.kind.plural} "{place.name}" already exists')
        return self._store(place, body, "ADDED", dry_run)

    def replace(self, place: Place, body: Object, *, dry_run: bool) -> Object:
        self.read(place)
        return self._store(place, body, "MODIFIED", dry_run)

    def patch(self, place: Place, patch: Object, *, dry_run: bool) -> Object:
        found = self.read(place)
        wanted = patch.get("metadata", {}).get("resourceVersion", found["metadata"]["resourceVersion"])
        if wanted != found["metadata"]["resourceVersion"]:
            raise Refused(HTTPStatus.CONFLICT, "Conflict", f"{place.name}: the object has been modified")
        return self._store(place, merge(copy.deepcopy(found), patch), "MODIFIED", dry_run)

    def apply(self, place: Place, applied: Object, manager: str, *, dry_run: bool) -> Object:
        """Server-side apply: the manager's former fields that it doesn't name now go; what others own stays."""
        is_new = place not in self._objects
        found = copy.deepcopy(self._objects.get(place, {}))
        without(found, self._applied.get((place, manager), {}), applied)
        stored = self._store(place, merge(found, copy.deepcopy(applied)), "ADDED" if is_new else "MODIFIED", dry_run)
        if not dry_run:
            self._applied[place, manager] = copy.deepcopy(applied)
        return stored

    def delete(self, place: Place) -> Object:
        found = self.read(place)
        with self._changed:
            del self._objects[place]
            for key in [key for key in self._applied if key[0] == place]:
                del self._applied[key]
            self._events.append((place, "DELETED", found))
            self._changed.notify_all()
        return found

    def events(self, place: Place, query: dict[str, str]) -> Iterator[Object]:
        """Yield what happens from a resource version on, for as long as the client may wait."""
        seen = int(query.get("resourceVersion") or 0)
        until_s = time.monotonic() + min(20.0, float(query.get("timeoutSeconds", 20)))
        if query.get("sendInitialEvents") == "true":
            seen = len(self._events)
            for each in self.listed(place, query)["items"]:
                yield {"type": "ADDED", "object": each}
            done = {"resourceVersion": str(seen), "annotations": {"k8s.io/initial-events-end": "true"}}
            mark = {"kind": place.kind.name, "apiVersion": place.kind.version, "metadata": done}
            yield {"type": "BOOKMARK", "object": mark}
        while time.monotonic() < until_s:
            with self._changed:
                if len(self._events) == seen:
                    self._changed.wait(0.2)
                fresh, seen = self._events[seen:], len(self._events)
            for where, what, found in fresh:
                if _selected(where, found, place, query):
                    yield {"type": what, "object": found}

    def _store(self, place: Place, body: Object, what: str, dry_run: bool) -> Object:
        body = {"apiVersion": place.kind.version, "kind": place.kind.name, **body}
        _validate(place, body)
        before = self._objects.get(place, {})
        generation = before.get("metadata", {}).get("generation", 0)
        if body.get("spec") != before.get("spec"):
            generation += 1
        body["metadata"] |= {
            "namespace": place.namespace,
            "uid": before.get("metadata", {}).get("uid", f"uid-{len(self._events)}"),
            "resourceVersion": str(len(self._events) + 1),
            "generation": max(1, generation),
            "creationTimestamp": before.get("metadata", {}).get("creationTimestamp", "2026-01-01T00:00:00Z"),
        }
        self._act(place, body)
        if not dry_run:
            with self._changed:
                self._objects[place] = body
                self._events.append((place, what, body))
                self._changed.notify_all()
        return body

    def _act(self, place: Place, body: Object) -> None:
        """Play the controllers."""
        if place.kind.name == "Pod":
            body["status"] = {"phase": self.pod_phase}
        elif place.kind.name == "Deployment":
            count = body["spec"].get("replicas", 1)
            held = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
            body["status"] = dict.fromkeys(held, count) | {
                "observedGeneration": body["metadata"]["generation"],
                "conditions": [
                    {"type": "Available", "status": "True"},
                    {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
                ],
            }


def _validate(place: Place, body: Object) -> None:
    if not place.kind.validated:
        return
    try:
        kubernetes_validate.validate({name: body[name] for name in body if name != "status"}, VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        message = f'{place.kind.name} "{place.name}" is invalid: {error.message} at {list(error.path)}'
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "Invalid", message) from error


def _selected(where: Place, found: Object, wanted: Place, query: dict[str, str]) -> bool:
    if where.kind != wanted.kind or (wanted.namespace and where.namespace != wanted.namespace):
        return False
    labels = found["metadata"].get("labels", {})
    for term in filter(None, query.get("labelSelector", "").split(",")):
        name, _, value = term.partition("=")
        if not name.endswith("!") and labels.get(name) != value.lstrip("="):
            return False
        if name.endswith("!") and labels.get(name[:-1]) == value:
            return False
    for term in filter(None, query.get("fieldSelector", "").split(",")):
        name, _, value = term.partition("=")
        if name == "metadata.name" and where.name != value:
            return False
    return True


def _root(version: str) -> str:
    """Return the path of a group and version, without its first slash."""
    return "api/v1" if version == "v1" else f"apis/{version}"


def _version() -> Object:
    major, minor = VERSION.split(".")
    return {"major": major, "minor": minor, "gitVersion": f"v{VERSION}.0"}


def _groups() -> Object:
    groups = []
    for version in sorted({kind.version for kind in KINDS} - {"v1"}):
        served = {"groupVersion": version, "version": version.split("/")[1]}
        groups.append({"name": version.split("/")[0], "versions": [served], "preferredVersion": served})
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def _resources(version: str) -> Object:
    verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
    resources = [
        {"name": each.plural, "singularName": each.name.lower(), "namespaced": True, "kind": each.name, "verbs": verbs}
        for each in KINDS
        if each.version == version
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}


def _openapi(version: str) -> Object:
    """Say that fields are validated here, so that clients need not."""
    paths = {}
    group, _, number = version.rpartition("/")
    for each in (kind for kind in KINDS if kind.version == version):
        paths[f"/{_root(version)}/namespaces/{{namespace}}/{each.plural}/{{name}}"] = {
            "patch": {
                "parameters": [{"name": "fieldValidation", "in": "query"}],
                "x-kubernetes-group-version-kind": {"group": group, "version": number, "kind": each.name},
                "responses": {},
            }
        }
    return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": VERSION}, "paths": paths}


def _described() -> dict[str, Object]:
    versions = {kind.version for kind in KINDS}
    roots = {_root(each): {"serverRelativeURL": f"/openapi/v3/{_root(each)}"} for each in versions}
    found: dict[str, Object] = {
        "/version": _version(),
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/apis": _groups(),
        "/openapi/v3": {"paths": roots},
    }
    for each in versions:
        found[f"/{_root(each)}"] = _resources(each)
        found[f"/openapi/v3/{_root(each)}"] = _openapi(each)
    return found


_DISCOVERY: Final = _described()


class _Requests(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes: Nagle would hold the second back for 40 ms
    cluster: Cluster
    token = ""

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def log_request(self, *_line: object) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.cluster.requests.append((self.command, self.path))
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            if self.token and self.headers.get("Authorization") != f"Bearer {self.token}":
                raise Refused(HTTPStatus.UNAUTHORIZED, "Unauthorized", "Unauthorized")
            found = _DISCOVERY.get(parts.path)
            if found is None and self.command == "GET" and query.get("watch") in {"true", "1"}:
                self._watch(place_of(parts.path), query)
                return
            if found is None:
                found = self._object(place_of(parts.path), query, raw)
            self._send(HTTPStatus.OK if self.command != "POST" else HTTPStatus.CREATED, found)
        except Refused as refused:
            self._send(refused.status, refused.body())

    def _object(self, place: Place, query: dict[str, str], raw: bytes) -> Object:
        cluster, dry_run = self.cluster, "dryRun" in query
        if self.command == "GET":
            return cluster.read(place) if place.name else cluster.listed(place, query)
        if self.command == "DELETE":
            return cluster.delete(place)
        body, content = self._body(raw), self.headers.get("Content-Type", "")
        if self.command == "POST":
            return cluster.create(place, body, dry_run=dry_run)
        if self.command == "PUT":
            return cluster.replace(place, body, dry_run=dry_run)
        if "apply-patch" in content:
            return cluster.apply(place, body, query["fieldManager"], dry_run=dry_run)
        if "application/merge-patch+json" in content:
            return cluster.patch(place, body, dry_run=dry_run)
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", f"{content} is not spoken here")

    def _body(self, raw: bytes) -> Object:
        if raw.startswith(MAGIC):
            return decode_secret(raw)
        found = yaml.safe_load(raw) if raw else {}
        if not isinstance(found, dict):
            raise Refused(HTTPStatus.BAD_REQUEST, "BadRequest", "the body is no object")
        return found

    def _watch(self, place: Place, query: dict[str, str]) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.close_connection = True
        self.end_headers()
        try:
            for event in self.cluster.events(place, query):
                self.wfile.write(json.dumps(event).encode() + b"\n")
                self.wfile.flush()
        except OSError:
            pass  # the client has seen enough

    def _send(self, status: HTTPStatus, body: Object) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


class KubernetesServer:
    """Serves a cluster on a free port of loopback, for `with`."""

    def __init__(self, cluster: Cluster, *, tls: ssl.SSLContext | None = None, token: str = "") -> None:
        """Open the port.

        Args:
            cluster: what is served.
            tls: makes it HTTPS.
            token: that each request must bear; empty for none.
        """
        bound = type("_Bound", (_Requests,), {"cluster": cluster, "token": token})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), bound)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> KubernetesServer:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
