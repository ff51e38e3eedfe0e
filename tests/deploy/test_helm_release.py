"""The charts' life on an API server: install, upgrade, rollback, test, uninstall, by the real Helm."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from helm_charts import CASES, HELM_DIR, Case, Helm
from kubernetes_server import Cluster, KubernetesServer, place_of

from crossfade.adapters.flagd import flagd_file
from crossfade.core.ownership.ramp import FlagDocument

RAMPING = FlagDocument(share=1000, target_gen=4, source_gen=2)
UMBRELLA = HELM_DIR / "crossfade"
PLAIN = ("--values", UMBRELLA / "ci/insecure-values.yaml")


class Release:
    """Helm, pointed at a server of its own."""

    def __init__(self, helm: Helm, cluster: Cluster, port: int, home: Path) -> None:
        self.cluster = cluster
        self._helm, self._port = helm, port
        folders = ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME", "HOME")
        self._folders = {name: str(home) for name in folders}

    def run(self, *arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        server = ("--kube-apiserver", f"http://127.0.0.1:{self._port}")
        return self._helm.run(*arguments, *server, check=check, **self._folders)

    def spec(self, name: str) -> dict[str, object]:
        found: dict[str, object] = self.cluster.get("Deployment", name)["spec"]
        return found

    def publish(self, document: FlagDocument) -> str:
        """Do as the controller does."""
        text = flagd_file(document, dual_write=True)
        place = place_of("/api/v1/namespaces/default/configmaps/crossfade-flags")
        self.cluster.patch(place, {"data": {"flags.json": text}}, dry_run=False)
        return text

    def flags(self) -> object:
        return self.cluster.get("ConfigMap", "crossfade-flags").get("data")


@pytest.fixture
def release(helm: Helm, tmp_path: Path) -> Iterator[Release]:
    cluster = Cluster()
    with KubernetesServer(cluster) as server:
        yield Release(helm, cluster, server.port, tmp_path)


def test_a_migration_is_installed_upgraded_rolled_back_and_taken_away(release: Release) -> None:
    release.run("install", "demo", UMBRELLA, *PLAIN)
    names = ["controller", "engagement-api", "feed", "forward", "reverse", "verifier"]
    assert release.cluster.all("Deployment") == [f"demo-{name}" for name in names]
    assert release.spec("demo-forward")["replicas"] == 1

    release.run("upgrade", "demo", UMBRELLA, *PLAIN, "--set", "forward.replicas=7,reverse.enabled=false")
    assert release.spec("demo-forward")["replicas"] == 7
    assert "demo-reverse" not in release.cluster.all("Deployment")
    assert "demo-reverse" not in release.cluster.all("ServiceAccount")

    release.run("rollback", "demo", "1")
    assert release.spec("demo-forward")["replicas"] == 1
    assert release.cluster.all("Deployment") == [f"demo-{name}" for name in names]
    history = json.loads(release.run("history", "demo", "--output", "json").stdout)
    assert [each["status"] for each in history] == ["superseded", "superseded", "deployed"]

    release.run("uninstall", "demo")
    left = {kind: release.cluster.all(kind) for kind in ("Deployment", "Service", "Secret", "Role", "ConfigMap")}
    assert left == {"Deployment": [], "Service": [], "Secret": [], "Role": [], "ConfigMap": ["crossfade-flags"]}


def test_no_upgrade_and_no_rollback_touches_the_flags(release: Release) -> None:
    """The controller owns what is in the ConfigMap; a release that put old flags back would turn generations round."""
    release.run("install", "controller", HELM_DIR / "controller", "--set", "shared.insecure=true")
    assert release.flags() is None
    text = release.publish(RAMPING)
    release.run("upgrade", "controller", HELM_DIR / "controller", "--set", "shared.insecure=true,replicas=2")
    assert release.flags() == {"flags.json": text}
    release.run("rollback", "controller", "1")
    assert release.flags() == {"flags.json": text}
    release.run("uninstall", "controller")
    release.run("install", "controller", HELM_DIR / "controller", "--set", "shared.insecure=true")
    assert release.flags() == {"flags.json": text}


def test_the_server_would_reset_flags_that_a_chart_names(release: Release, tmp_path: Path) -> None:
    """What the test above would see if the chart held a first document."""
    chart = tmp_path / "naming"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("{apiVersion: v2, name: naming, version: 0.1.0}")
    first = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "crossfade-flags"}}
    first |= {"data": {"flags.json": "first", "color": "{{ .Values.color }}"}}
    (chart / "templates/flags.yaml").write_text(json.dumps(first))
    release.run("install", "naming", chart, "--set", "color=red")
    release.publish(RAMPING)
    release.run("upgrade", "naming", chart, "--set", "color=blue")
    assert release.flags() == {"flags.json": "first", "color": "blue"}


def test_helm_test_runs_the_service_and_asks_for_it_and_can_fail(release: Release) -> None:
    release.run("install", "forward", HELM_DIR / "replicator", "--set", "consumer=forward")
    said = release.run("test", "forward").stdout
    suites = re.findall(r"TEST SUITE: +(\S+)", said)
    assert suites == ["forward-replicator-check", "forward-replicator-reach"]
    assert release.cluster.all("Pod") == [], "a test that went well leaves nothing behind"
    release.cluster.pod_phase = "Failed"
    failed = release.run("test", "forward", check=False)
    assert failed.returncode != 0
    assert "forward-replicator-check" in failed.stderr + failed.stdout


def test_a_manifest_that_kubernetes_would_not_take_fails_the_installation(release: Release) -> None:
    quantity = ("--set", "consumer=feed", "--set-json", 'tolerations=[{"key":"a","operater":"Exists"}]')
    refused = release.run("install", "feed", HELM_DIR / "replicator", *quantity, check=False)
    assert refused.returncode != 0
    assert "operater" in refused.stderr
    assert not release.cluster.all("Deployment")


@pytest.mark.parametrize("case", [case for case in CASES if case.values.stem == "production-values"], ids=str)
def test_the_notes_name_the_next_command_and_it_names_what_is_there(release: Release, case: Case) -> None:
    said = release.run("install", "demo", HELM_DIR / case.chart, "--values", case.values).stdout
    assert "Next" in said
    assert "helm -n default test demo" in said
    for kind, name in re.findall(r"(deployment|service)/([a-z0-9-]+)", said):
        assert name in release.cluster.all(kind.capitalize())
