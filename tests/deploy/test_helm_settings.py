"""Variables and settings are one: what a manifest says, the service reads; what a service reads, a value can say."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm_charts import CASES, CHARTS, HELM_DIR, Case, Helm, Manifest, containers, environment, of_kind

from crossfade.runtime.settings import PREFIX, read_settings
from crossfade.runtime.telemetry import config as telemetry
from tools.helm_schemas import BY_CHART, LEFT_OUT, SETTINGS, by_name

SERVICES = CHARTS[:4]
FROM_ELSEWHERE = {"metadata.name": "forward-replicator-5d8f-x2x", "url": "rediss://user:hush@cache.example:6379"}
"""What the cluster would put in for a reference, by the field or key that is referred to."""

every_case = pytest.mark.parametrize("case", CASES, ids=str)


def resolved(container: Manifest) -> dict[str, str]:
    """Return a container's variables as its process gets them."""
    found: dict[str, str] = {}
    for name, variable in environment(container).items():
        if "value" in variable:
            found[name] = variable["value"]
        else:
            source = variable["valueFrom"]
            where = source["fieldRef"]["fieldPath"] if "fieldRef" in source else source["secretKeyRef"]["key"]
            found[name] = FROM_ELSEWHERE[where]
    return {name: value.replace("$(POD_NAME)", found.get("POD_NAME", "")) for name, value in found.items()}


def services(manifests: list[Manifest]) -> list[tuple[str, Manifest]]:
    """Return each service's name and container, of Deployments and of the tests that run the service itself."""
    found = [container for _, container in containers(of_kind(manifests, "Deployment", "Pod"))]
    return [(each["command"][0], each) for each in found if each["command"][0] in SETTINGS]


@every_case
def test_the_service_reads_every_variable_of_its_manifest(
    helm: Helm, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = services(helm.render(case))
    assert found
    for service, container in found:
        for name in [name for name in os.environ if name.startswith(PREFIX)]:
            monkeypatch.delenv(name)
        given = {name: value for name, value in resolved(container).items() if name.startswith(PREFIX)}
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        settings = read_settings(SETTINGS[service])  # refuses what it doesn't know, and what is out of bounds
        said = settings.model_fields_set
        assert {PREFIX + name.upper() for name in said} >= given.keys()
        monkeypatch.undo()


@every_case
def test_what_a_value_says_arrives_as_it_was_said(helm: Helm, case: Case) -> None:
    values = yaml.safe_load(case.values.read_text())
    if case.chart == "crossfade":
        return
    wanted = values.get("shared", {}).get("settings", {}) | values.get("settings", {})
    ((_, container),) = [each for each in services(helm.render(case)) if each[1]["name"] != "test"]
    given = resolved(container)
    for name, value in wanted.items():
        text = given[PREFIX + name.upper()]
        assert (text if isinstance(value, str) else json.loads(text)) == value


@pytest.mark.parametrize(
    ("chart", "setting", "value"),
    [
        ("verifier", "reads_per_s", 10_000_000),
        ("verifier", "buckets", 4096),
        ("controller", "gate_expiry_margin_s", 86_400.5),
        ("controller", "canary_key", '[{"S":"USER#1"},{"S":"POINTS#2"}]'),
        ("controller", "stop_command", ["stop", "--all", "a b"]),
        ("verifier", "continuous", False),
        ("verifier", "cloudwatch", True),
        ("engagement-api", "aws_endpoint_url", "https://dynamodb.example"),
    ],
)
def test_no_value_is_bent_on_its_way(
    helm: Helm, chart: str, setting: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("--set", "shared.insecure=true", "--set-json", f"settings={json.dumps({setting: value})}")
    ((_, container),) = services(of_kind(helm.template(chart, *arguments), "Deployment"))
    for name, text in resolved(container).items():
        monkeypatch.setenv(name, text)
    assert getattr(read_settings(SETTINGS[chart]), setting) == value


@pytest.mark.parametrize("service", SERVICES)
def test_every_setting_is_a_value_or_made_by_the_chart_or_left_out_for_a_reason(service: str) -> None:
    fields = set(SETTINGS[service].model_fields)
    assert BY_CHART[service] <= fields
    assert LEFT_OUT[service].keys() <= fields, "a reason for what no longer exists"
    assert not BY_CHART[service] & LEFT_OUT[service].keys()
    schema = json.loads((HELM_DIR / service / "values.schema.json").read_text())
    reachable = schema["properties"]["settings"]["properties"].keys()
    assert reachable | BY_CHART[service] | LEFT_OUT[service].keys() == fields
    assert all(reason for reason in LEFT_OUT[service].values())


@pytest.mark.parametrize("service", SERVICES)
def test_what_the_chart_claims_to_make_it_makes(helm: Helm, service: str) -> None:
    """Over all value files of a chart each of its own variables comes up, and no other that isn't a named setting."""
    seen: set[str] = set()
    for case in CASES:
        if case.chart == service:
            for name, container in services(helm.render(case)):
                assert name == service
                seen |= {
                    each.removeprefix(PREFIX).lower() for each in environment(container) if each.startswith(PREFIX)
                }
    assert seen >= BY_CHART[service]
    assert seen <= BY_CHART[service] | by_name(service)
    assert not seen & LEFT_OUT[service].keys()


@pytest.mark.parametrize("service", SERVICES)
def test_defaults_are_the_services_own(service: str) -> None:
    """A value file that repeated a default would keep it when the service moves on."""
    values = yaml.safe_load((HELM_DIR / service / "values.yaml").read_text())
    assert values["settings"] == values["shared"]["settings"] == {}


@every_case
def test_ports_are_those_that_the_service_listens_on(helm: Helm, case: Case) -> None:
    for _, container in services(of_kind(helm.render(case), "Deployment")):
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        given = resolved(container)
        told = {
            "grpc": given.get("CROSSFADE_PORT"),
            "http": given.get("CROSSFADE_HTTP_PORT"),
            "health": given.get("CROSSFADE_HEALTH_PORT"),
            "metrics": given.get("OTEL_EXPORTER_PROMETHEUS_PORT"),
        }
        assert {name: str(port) for name, port in ports.items()} == {name: told[name] for name in told if told[name]}


@every_case
def test_the_paths_of_variables_are_mounted(helm: Helm, case: Case) -> None:
    for manifest in of_kind(helm.render(case), "Deployment", "Pod"):
        for _, container in containers([manifest]):
            mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
            assert not any("subPath" in mount for mount in container["volumeMounts"]), "a subPath never changes"
            for name, variable in environment(container).items():
                if name.endswith("_FILE"):
                    assert variable["value"].rpartition("/")[0] in mounts, name


@every_case
def test_telemetry_variables_are_ones_that_the_services_know(helm: Helm, case: Case) -> None:
    known = set(re.findall(r"OTEL_[A-Z_]+[A-Z]", Path(telemetry.__file__).read_text()))
    for _, container in containers(of_kind(helm.render(case), "Deployment")):
        given = {name: value for name, value in resolved(container).items() if name.startswith("OTEL_")}
        assert given.keys() <= known
        config = telemetry.read_config(given)  # refuses what it doesn't know
        assert ("prometheus" in config.metrics) == any(each["name"] == "metrics" for each in container["ports"])
        assert config.traces == (given["OTEL_TRACES_EXPORTER"] == "otlp")


def test_the_redis_password_goes_to_those_who_use_redis_only(helm: Helm) -> None:
    manifests = helm.render(next(case for case in CASES if str(case) == "crossfade/production"))
    with_it = {
        manifest["metadata"]["name"]
        for manifest in of_kind(manifests, "Deployment")
        if "CROSSFADE_REDIS_URL" in environment(manifest["spec"]["template"]["spec"]["containers"][0])
    }
    assert with_it == {"demo-engagement-api", "demo-forward", "demo-reverse"}


def test_the_umbrella_puts_its_word_over_every_chart(helm: Helm) -> None:
    manifests = helm.template(
        "crossfade",
        "--set",
        "global.crossfade.insecure=true,global.crossfade.settings.region=eu-west-3",
        "--set",
        "verifier.shared.settings.region=nowhere-1",
    )
    regions = {resolved(container)["CROSSFADE_REGION"] for _, container in services(manifests)}
    assert regions == {"eu-west-3"}


def test_the_umbrella_points_the_controller_at_its_verifier(helm: Helm) -> None:
    for release in ("demo", "a-release-name-as-long-as-helm-allows-it-to-be-really"):
        manifests = helm.template("crossfade", "--set", "global.crossfade.insecure=true", release=release)
        ((_, controller),) = [each for each in services(of_kind(manifests, "Deployment")) if each[0] == "controller"]
        host = resolved(controller)["CROSSFADE_VERIFIER_URL"].removeprefix("http://").removesuffix(":8080")
        assert host in {each["metadata"]["name"] for each in of_kind(manifests, "Service")}


def test_three_releases_of_one_chart_are_the_three_kinds_of_consumers(helm: Helm) -> None:
    names = set()
    for consumer in ("forward", "reverse", "feed"):
        manifests = helm.template("replicator", "--set", f"consumer={consumer}", release=consumer)
        ((_, container),) = services(of_kind(manifests, "Deployment"))
        assert resolved(container)["CROSSFADE_CONSUMER"] == consumer
        assert resolved(container)["CROSSFADE_WORKER"] == FROM_ELSEWHERE["metadata.name"]
        names |= {(each["kind"], each["metadata"]["name"]) for each in manifests}
    assert len(names) == 3 * len(manifests)


def test_every_service_with_settings_has_a_chart() -> None:
    found = (HELM_DIR.parent.parent / "services").glob("*/src/*/settings.py")
    assert {path.relative_to(HELM_DIR.parent.parent / "services").parts[0] for path in found} == SETTINGS.keys()
