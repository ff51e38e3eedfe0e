"""Publishes flags to a Kubernetes ConfigMap, which the pods mount as their flag file.

The kubelet puts a changed ConfigMap into a pod by swapping one symbolic link, so that a reader sees the old file or the
new one. That takes up to a minute or two; heartbeats tell the controller who has got it.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import ssl
from pathlib import Path
from typing import Final, NamedTuple

from crossfade.adapters.flagd import flagd_file, standing
from crossfade.core.ownership.ramp import FlagDocument
from crossfade.core.values.errors import ConfigError, StoreUnavailable
from crossfade.ports.flags import Flags, refuse_older

ENTRY: Final = "flags.json"
"""Key within the ConfigMap: the name of the file that the pods see."""

FIELD_MANAGER: Final = "crossfade-controller"
"""Owner of the entry, as the API server keeps it. A chart that doesn't name the entry never resets it."""

ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")

TIMEOUT_S: Final = 10.0


class Cluster(NamedTuple):
    """How to reach the API server.

    Attributes:
        host: name or address.
        port: of HTTPS.
        token: file with the bearer token; read each time, since it is renewed.
        ca: file with the authority of the server's certificate.
        namespace: of the pod.
    """

    host: str
    port: int
    token: Path
    ca: Path
    namespace: str


def in_cluster(account: Path = ACCOUNT) -> Cluster:
    """Return the cluster that this process runs in, as Kubernetes tells every pod with a service account.

    Args:
        account: directory of the account's token.

    Raises:
        ConfigError: this is not such a pod.
    """
    try:
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ["KUBERNETES_SERVICE_PORT"])
        namespace = (account / "namespace").read_text().strip()
    except (KeyError, OSError) as error:
        raise ConfigError(
            f"CROSSFADE_FLAG_CONFIG_MAP needs a pod with a service account: {error!r} is missing"
        ) from error
    return Cluster(host, port, account / "token", account / "ca.crt", namespace)


class ConfigMapFlags:
    """Publishes flags into one entry of one ConfigMap, each time the whole document."""

    def __init__(self, reference: str, cluster: Cluster) -> None:
        """Take the place; nothing is sent yet.

        Args:
            reference: NAME or NAMESPACE/NAME.
            cluster: where it is.
        """
        namespace, _, self._name = reference.rpartition("/")
        self._cluster = cluster
        self._path = f"/api/v1/namespaces/{namespace or cluster.namespace}/configmaps/{self._name}"

    async def publish(self, document: FlagDocument, *, dual_write: bool) -> None:
        """Replace the entry, unless it is ahead.

        Raises:
            StateMissing: the entry is ahead; see `FlagPublisher`.
            ConfigError: there is no such ConfigMap, or this account may not read or change it.
            StoreUnavailable: the API server doesn't answer, or not now; somebody changed the ConfigMap meanwhile.
        """
        found, version = await asyncio.to_thread(self._read)
        if found is not None:
            refuse_older(document, found.document, f"ConfigMap {self._name}")
        # A merge patch names the entry, and the version that was read: what came between makes a conflict.
        body = {"data": {ENTRY: flagd_file(document, dual_write=dual_write)}, "metadata": {"resourceVersion": version}}
        await asyncio.to_thread(self._ask, "PATCH", f"{self._path}?fieldManager={FIELD_MANAGER}", json.dumps(body))

    async def in_place(self) -> Flags | None:
        """Return what the entry holds, in force or not; None if it doesn't exist, or nothing could be taken back.

        Raises:
            ConfigError, StoreUnavailable: as `publish`.
        """
        return (await asyncio.to_thread(self._read))[0]

    def _read(self) -> tuple[Flags | None, str]:
        body = json.loads(self._ask("GET", self._path))
        version = str(body["metadata"]["resourceVersion"])
        return standing((body.get("data") or {}).get(ENTRY, "")), version

    def _ask(self, method: str, path: str, body: str | None = None) -> bytes:
        try:
            connection = http.client.HTTPSConnection(
                self._cluster.host,
                self._cluster.port,
                timeout=TIMEOUT_S,
                context=ssl.create_default_context(cafile=self._cluster.ca),
            )
            try:
                headers = {
                    "Authorization": f"Bearer {self._cluster.token.read_text().strip()}",
                    "Content-Type": "application/merge-patch+json",
                    "Accept": "application/json",
                }
                connection.request(method, path, body, headers)
                answer = connection.getresponse()
                said = answer.read()
            finally:
                connection.close()
        except (OSError, http.client.HTTPException) as error:
            raise StoreUnavailable(f"{self._path}: {error or type(error).__name__}") from error
        if answer.status >= 300:
            self._refused(answer.status, said)
        return said

    def _refused(self, status: int, said: bytes) -> None:
        try:
            why = str(json.loads(said)["message"])
        except (ValueError, KeyError, TypeError):
            why = said[:200].decode("utf-8", "replace")
        if status in {401, 403, 404}:
            raise ConfigError(f"flags can't be read from or published to {self._path}: {status} {why}")
        raise StoreUnavailable(f"{self._path} answered {status}: {why}")
