"""Flags on Kubernetes: the controller publishes to a ConfigMap, and pods take up what the kubelet mounts."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes_server import Cluster, KubernetesServer, place_of

from certificates import Authority
from crossfade.adapters import config_map
from crossfade.adapters.config_map import ConfigMapFlags, in_cluster
from crossfade.adapters.flagd import flagd_file, parse_flagd_file
from crossfade.adapters.flags import FlagdFile
from crossfade.core.ownership.ramp import FlagDocument
from crossfade.core.values.errors import ConfigError, StateMissing, StoreUnavailable

RAMPING = FlagDocument(share=1000, target_gen=4, source_gen=2)
FURTHER = FlagDocument(share=5000, target_gen=4, source_gen=2)
TOKEN = "the-account's-token"


class Pod:
    """A pod's view of the cluster: the account's files and the variables, and the flags as the kubelet mounts them."""

    def __init__(self, folder: Path, cluster: Cluster, authority: Authority) -> None:
        self.cluster = cluster
        self.account = folder / "account"
        self.account.mkdir()
        (self.account / "token").write_text(TOKEN)
        (self.account / "namespace").write_text("migration")
        (self.account / "ca.crt").write_bytes(authority.pem)
        self.flags = folder / "flags"
        self.flags.mkdir()
        self._mounted = 0

    @property
    def path(self) -> Path:
        return self.flags / "flags.json"

    def mount(self, text: str) -> None:
        """Put a file in place as the kubelet does: a directory of its own, and one link swapped over to it."""
        self._mounted += 1
        version = self.flags / f"..2026_{self._mounted}"
        version.mkdir()
        (version / "flags.json").write_text(text)
        fresh = self.flags / "..data_tmp"
        fresh.symlink_to(version.name)
        os.replace(fresh, self.flags / "..data")
        if not self.path.is_symlink():
            self.path.symlink_to("..data/flags.json")

    def published(self) -> Any:
        return self.cluster.get("ConfigMap", "flags", "migration").get("data")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def pod(tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pod]:
    cluster = Cluster()
    place = place_of("/api/v1/namespaces/migration/configmaps")
    cluster.create(place, {"metadata": {"name": "flags"}}, dry_run=False)
    tls = authority.server_context(tmp_path, "127.0.0.1")
    with KubernetesServer(cluster, tls=tls, token=TOKEN) as server:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
        yield Pod(tmp_path, cluster, authority)


async def test_flags_are_published_whole_and_nothing_else_is_touched(pod: Pod) -> None:
    publisher = ConfigMapFlags("flags", in_cluster(pod.account))
    place = place_of("/api/v1/namespaces/migration/configmaps/flags")
    pod.cluster.patch(place, {"data": {"other": "kept"}, "metadata": {"labels": {"a": "b"}}}, dry_run=False)
    for document in (RAMPING, FURTHER):
        await publisher.publish(document, dual_write=True)
        assert parse_flagd_file(pod.published()[config_map.ENTRY]) == (document, True)
    assert pod.published()["other"] == "kept"
    methods = [method for method, _ in pod.cluster.requests]
    assert set(methods) == {"GET", "PATCH"}, "the controller's role allows no other verb"


async def test_a_config_map_that_is_ahead_is_never_overwritten(pod: Pod) -> None:
    publisher = ConfigMapFlags("flags", in_cluster(pod.account))
    await publisher.publish(FURTHER, dual_write=True)
    with pytest.raises(StateMissing, match="target_gen would fall from 4 to 0"):
        await publisher.publish(FlagDocument(), dual_write=False)
    assert parse_flagd_file(pod.published()[config_map.ENTRY]) == (FURTHER, True)
    found = await publisher.in_place()
    assert found is not None
    assert found[:2] == (FURTHER, True)


async def test_flags_that_another_controller_put_in_place_meanwhile_are_not_overwritten(
    pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = (ConfigMapFlags("flags", in_cluster(pod.account)) for _ in range(2))
    await ours.publish(RAMPING, dual_write=True)
    read = ours._read()
    await theirs.publish(FURTHER, dual_write=True)
    monkeypatch.setattr(ours, "_read", lambda: read)  # the moment between its reading and its writing
    with pytest.raises(StoreUnavailable, match="409"):
        await ours.publish(RAMPING, dual_write=True)
    assert parse_flagd_file(pod.published()[config_map.ENTRY]) == (FURTHER, True)


async def test_a_pod_takes_up_what_the_kubelet_mounts(pod: Pod) -> None:
    publisher = ConfigMapFlags("migration/flags", in_cluster(pod.account))
    await publisher.publish(RAMPING, dual_write=True)
    pod.mount(pod.published()["flags.json"])
    source = FlagdFile(pod.path, poll_s=0.05)
    await source.start()
    try:
        assert source.current()[:2] == (RAMPING, True)
        await publisher.publish(FURTHER, dual_write=False)
        pod.mount(pod.published()["flags.json"])
        await asyncio.sleep(0.15)  # three polls
        assert (await source.refresh())[:2] == (FURTHER, False)
    finally:
        await source.close()


async def test_a_renewed_token_is_read_again(pod: Pod) -> None:
    publisher = ConfigMapFlags("flags", in_cluster(pod.account))
    (pod.account / "token").write_text("expired")
    with pytest.raises(ConfigError, match="401 Unauthorized"):
        await publisher.publish(RAMPING, dual_write=False)
    (pod.account / "token").write_text(TOKEN + "\n")
    await publisher.publish(RAMPING, dual_write=False)


async def test_a_config_map_that_is_not_there_is_named(pod: Pod) -> None:
    publisher = ConfigMapFlags("nowhere/flags", in_cluster(pod.account))
    with pytest.raises(ConfigError, match=r"/namespaces/nowhere/configmaps/flags: 404 .*not found"):
        await publisher.publish(RAMPING, dual_write=False)


async def test_a_server_with_a_strange_certificate_is_not_trusted(pod: Pod) -> None:
    (pod.account / "ca.crt").write_bytes(Authority().pem)
    publisher = ConfigMapFlags("flags", in_cluster(pod.account))
    with pytest.raises(StoreUnavailable, match="certificate"):
        await publisher.publish(RAMPING, dual_write=False)
    assert pod.published() is None
    assert not pod.cluster.requests


async def test_a_server_that_is_gone_may_come_back(pod: Pod) -> None:
    gone = in_cluster(pod.account)._replace(port=1)
    with pytest.raises(StoreUnavailable) as caught:
        await ConfigMapFlags("flags", gone).publish(RAMPING, dual_write=False)
    assert caught.value.retryable


def test_outside_of_a_pod_the_setting_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigError, match="CROSSFADE_FLAG_CONFIG_MAP needs a pod"):
        in_cluster(tmp_path)


def test_the_file_that_pods_see_is_the_entry_that_is_published() -> None:
    assert json.loads(flagd_file(RAMPING, dual_write=True))["flags"]
    assert config_map.ENTRY == "flags.json"  # as the charts mount it: test_helm_settings.py checks the path
