"""The charts, rendered by the real Helm over several value files: valid, safe, and complete."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from custom_resources import SCHEMAS
from helm_charts import CASES, CHARTS, HELM_DIR, Case, Helm, Manifest, containers, name_of, of_kind, pods
from kubernetes_server import VERSION

from crossfade.runtime.telemetry.contract import GROUP, ITERATOR_AGE

every_case = pytest.mark.parametrize("case", CASES, ids=str)
LISTENING = ("engagement-api", "verifier", "controller")


@every_case
def test_lint_finds_nothing(helm: Helm, case: Case) -> None:
    done = helm.run("lint", "--strict", HELM_DIR / case.chart, "--values", case.values)
    said = [line for line in done.stdout.splitlines() if line.startswith(("[WARNING]", "[ERROR]"))]
    assert not said
    assert not done.stderr


@every_case
def test_every_manifest_is_valid_to_the_letter(helm: Helm, case: Case) -> None:
    for manifest in helm.render(case):
        if manifest["kind"] in SCHEMAS:
            jsonschema.validate(manifest, SCHEMAS[manifest["kind"]])
        else:  # an unknown kind raises, too
            kubernetes_validate.validate(manifest, VERSION, strict=True)


def test_the_validation_knows_a_misspelt_field_and_an_unknown_kind(helm: Helm) -> None:
    deployment = of_kind(helm.render(CASES[0]), "Deployment")[0]
    misspelt = deployment | {"spec": deployment["spec"] | {"replica": 1}}
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(misspelt, VERSION, strict=True)
    with pytest.raises(kubernetes_validate.SchemaNotFoundError):
        kubernetes_validate.validate(deployment | {"kind": "Deploymint"}, VERSION, strict=True)


@every_case
def test_names_are_unique_and_fit(helm: Helm, case: Case) -> None:
    names = [name_of(manifest) for manifest in helm.render(case)]
    assert len(names) == len(set(names))
    assert all(len(manifest["metadata"]["name"]) <= 63 for manifest in helm.render(case))


def _group(spec: dict[str, Any], name: str) -> list[tuple[str, str]]:
    """Who must run, by a group of rules."""
    (found,) = [each for each in spec["groups"] if each["name"] == name]
    return sorted((each["labels"]["crossfade_migration"], each["labels"]["service_name"]) for each in found["rules"])


def test_the_alerts_watch_for_what_the_release_installs_and_for_nothing_else(helm: Helm) -> None:
    after = HELM_DIR / "crossfade/ci/after-complete-values.yaml"
    named = ("--set", "prometheusRule.enabled=true", "--set", "prometheusRule.migration=points")
    (rule,) = of_kind(helm.template("crossfade", "--values", after, *named), "PrometheusRule")
    assert _group(rule["spec"], "crossfade-expected") == [
        ("points", "controller"),
        ("points", "engagement-api"),
        ("points", "replicator-feed"),
    ]


def test_alerts_without_the_migration_s_name_are_refused(helm: Helm) -> None:
    after = HELM_DIR / "crossfade/ci/after-complete-values.yaml"
    why = helm.refusal("crossfade", "--values", after, "--set", "prometheusRule.enabled=true")
    assert "prometheusRule.migration is missing" in why


def test_alerts_and_dashboards_are_those_of_the_repository(helm: Helm) -> None:
    manifests = helm.render(next(each for each in CASES if str(each) == "crossfade/production"))
    deploy = HELM_DIR.parent
    (rule,) = of_kind(manifests, "PrometheusRule")
    shipped = yaml.safe_load((deploy / "alerts/crossfade.rules.yaml").read_text())
    assert _group(rule["spec"], "crossfade-expected") == _group(shipped, "crossfade-expected")
    assert rule["spec"]["groups"][1:] == [each for each in shipped["groups"] if each["name"] != "crossfade-expected"]
    shown = {}
    for config_map in of_kind(manifests, "ConfigMap"):
        if "grafana_dashboard" in config_map["metadata"]["labels"]:
            shown.update(config_map["data"])
    assert shown.keys() == {path.name for path in (deploy / "dashboards").glob("*.json")}
    for name, text in shown.items():
        assert json.loads(text) == json.loads((deploy / "dashboards" / name).read_text())


@pytest.mark.parametrize("chart", CHARTS)
def test_a_long_release_name_is_cut(helm: Helm, chart: str) -> None:
    values = next(case.values for case in CASES if case.chart == chart)
    manifests = helm.template(
        chart, "--values", values, release="a-release-name-as-long-as-helm-allows-it-to-be-really"
    )
    assert max(len(manifest["metadata"]["name"]) for manifest in manifests) <= 63
    names = [name_of(manifest) for manifest in manifests]
    assert len(names) == len(set(names))


# ---- security ----------------------------------------------------------------------------------------------------


@every_case
def test_no_container_runs_as_root_or_can_become_it(helm: Helm, case: Case) -> None:
    for name, pod in pods(helm.render(case)):
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] > 1000, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys(), name
        assert not any("hostPath" in volume for volume in pod["volumes"]), name
    for name, container in containers(helm.render(case)):
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True, name
        assert context["allowPrivilegeEscalation"] is False, name
        assert context["capabilities"] == {"drop": ["ALL"]}, name
        assert not any("hostPort" in port for port in container.get("ports", [])), name


@every_case
def test_images_are_named_by_version_or_digest(helm: Helm, case: Case) -> None:
    for name, container in containers(helm.render(case)):
        assert re.fullmatch(r"[a-z0-9./-]+(:[0-9]+\.[0-9]+\.[0-9]+|@sha256:[0-9a-f]{64})", container["image"]), name


def test_a_digest_wins_over_a_tag_and_latest_is_refused(helm: Helm) -> None:
    digest = "sha256:" + "ab" * 32
    arguments = ("--set", "consumer=feed", "--set", f"image.digest={digest}", "--set", "image.tag=1.2.3")
    images = {container["image"] for _, container in containers(helm.template("replicator", *arguments))}
    assert images == {f"crossfade/replicator@{digest}"}
    assert "/image/tag" in helm.refusal("replicator", "--set", "consumer=feed", "--set", "image.tag=latest")


@every_case
def test_secrets_come_by_reference_only(helm: Helm, case: Case) -> None:
    assert not of_kind(helm.render(case), "Secret")
    for name, container in containers(helm.render(case)):
        for variable in container.get("env", []):
            hidden = re.search(r"SECRET|PASSWORD|TOKEN|_KEY$|REDIS_URL|HEADERS", variable["name"])
            assert not hidden or "secretKeyRef" in variable["valueFrom"], (name, variable["name"])


@pytest.mark.parametrize(
    ("setting", "where"),
    [
        ("shared.redis.url=rediss://user:hush@cache:6379", "/shared/redis/url"),
        ("settings.redis_url=redis://cache", "redis_url"),
        ("extraEnv[0].name=AWS_SECRET_ACCESS_KEY,extraEnv[0].value=hush", "/extraEnv/0"),
        ("extraEnv[0].name=CROSSFADE_LEASE_S,extraEnv[0].value=3", "/extraEnv/0"),
        ("settings.kill_at=before-write", "kill_at"),
        ("settings.lease_z=3", "lease_z"),
        ("settings.lanes=0", "/settings/lanes"),
        ("replica=3", "replica"),
        ("consumer=sideways", "/consumer"),
    ],
)
def test_a_value_that_should_not_be_is_refused_by_its_name(helm: Helm, setting: str, where: str) -> None:
    assert where in helm.refusal("replicator", "--set", "consumer=forward", "--set", setting)


@pytest.mark.parametrize("chart", LISTENING)
def test_design_section_8_a_service_that_listens_wants_tls_or_the_word_that_it_needs_none(
    helm: Helm, chart: str
) -> None:
    assert "shared.tls.secretName" in helm.refusal(chart)
    plain = of_kind(helm.template(chart, "--set", "shared.insecure=true"), "Deployment")[0]
    told = ["--set", "shared.tls.secretName=certificates"]
    if chart == "controller":
        assert "settings.operators" in helm.refusal(chart, *told), "nobody is named who may give commands"
        assert helm.template(chart, *told, "--set", "settings.jwks=https://login.example/jwks")
        told += ["--set", "settings.operators={ann}"]
    secure = of_kind(helm.template(chart, *told), "Deployment")[0]
    assert {"name": "CROSSFADE_INSECURE", "value": "true"} in _env(plain)
    assert not any(each["name"] == "CROSSFADE_INSECURE" for each in _env(secure))
    mounted = {each["mountPath"] for each in secure["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]}
    assert "/etc/crossfade/tls" in mounted
    volumes = secure["spec"]["template"]["spec"]["volumes"]
    assert {"name": "tls", "secret": {"secretName": "certificates", "defaultMode": 0o440}} in volumes


def test_only_the_controller_has_a_token_and_it_may_read_and_patch_one_config_map(helm: Helm) -> None:
    case = next(each for each in CASES if str(each) == "crossfade/production")
    with_token = [name for name, pod in pods(helm.render(case)) if pod["automountServiceAccountToken"]]
    assert with_token == ["Deployment/demo-controller"]
    (role,) = of_kind(helm.render(case), "Role")
    assert role["rules"] == [
        {
            "apiGroups": [""],
            "resources": ["configmaps"],
            "resourceNames": ["crossfade-flags"],
            "verbs": ["get", "patch"],
        }
    ]


def test_each_service_has_its_own_account_with_its_own_role(helm: Helm) -> None:
    case = next(each for each in CASES if str(each) == "crossfade/production")
    arns = {
        account["metadata"]["name"]: account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
        for account in of_kind(helm.render(case), "ServiceAccount")
    }
    used = {pod["serviceAccountName"] for name, pod in pods(helm.render(case)) if name.startswith("Deployment/")}
    assert used == arns.keys()
    assert len(set(arns.values())) == len(arns) == 6


def test_the_accounts_are_those_that_the_roles_of_terraform_trust(helm: Helm) -> None:
    """modules/access trusts RELEASE-SERVICE by default, so the umbrella must name its accounts so."""
    module = (HELM_DIR.parent / "terraform/modules/access/main.tf").read_text()
    assert '"${var.release}-${service}"' in module
    manifests = helm.template("crossfade", "--set", "global.crossfade.insecure=true", release="wallet")
    services = ("controller", "engagement-api", "feed", "forward", "reverse", "verifier")
    named = {account["metadata"]["name"] for account in of_kind(manifests, "ServiceAccount")}
    assert named == {f"wallet-{service}" for service in services}


@every_case
def test_every_pod_is_behind_a_network_policy(helm: Helm, case: Case) -> None:
    manifests = helm.render(case)
    policies = [each["spec"] for each in of_kind(manifests, "NetworkPolicy")]
    if not policies:
        assert str(case) == "verifier/insecure"  # which switches it off
        return
    for deployment in of_kind(manifests, "Deployment"):
        labels = deployment["spec"]["template"]["metadata"]["labels"].items()
        covering = [each for each in policies if each["podSelector"]["matchLabels"].items() <= labels]
        assert len(covering) == 1, name_of(deployment)
        assert covering[0]["policyTypes"] == ["Ingress", "Egress"]
        named = {port["name"] for port in deployment["spec"]["template"]["spec"]["containers"][0]["ports"]}
        for rule in covering[0]["ingress"]:
            assert {port["port"] for port in rule["ports"]} <= named, "a rule for a port that is not there"
            assert rule["from"], "open to everybody"


# ---- life and death ----------------------------------------------------------------------------------------------


@every_case
def test_starting_ready_and_stuck_are_told_apart(helm: Helm, case: Case) -> None:
    for name, container in containers(of_kind(helm.render(case), "Deployment")):
        startup, ready, live = (container[f"{each}Probe"] for each in ("startup", "readiness", "liveness"))
        assert startup["httpGet"] == ready["httpGet"] == {"path": "/readyz", "port": "health"}, name
        assert live["httpGet"] == {"path": "/healthz", "port": "health"}, name
        assert startup["periodSeconds"] * startup["failureThreshold"] >= 120, name
        assert live["periodSeconds"] * live["failureThreshold"] >= 60, name


@every_case
def test_the_grace_period_holds_all_that_the_end_takes(helm: Helm, case: Case) -> None:
    for name, pod in pods(of_kind(helm.render(case), "Deployment")):
        container = pod["containers"][0]
        env = {each["name"]: each.get("value") for each in container["env"]}
        before_s = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        own_s = sum(float(env.get(f"CROSSFADE_{each}") or 0) for each in ("DRAIN_NOTICE_S", "DRAIN_S", "GRACE_S"))
        assert pod["terminationGracePeriodSeconds"] >= before_s + own_s + 10, name
        if container["name"] in {"engagement-api", "verifier"}:  # what others connect to by its Service
            assert before_s >= 5, name


@every_case
def test_every_deployment_has_a_budget_a_service_and_spreads(helm: Helm, case: Case) -> None:
    manifests = helm.render(case)
    for deployment in of_kind(manifests, "Deployment"):
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        spec = deployment["spec"]["template"]["spec"]
        wanted = deployment["spec"]["selector"]["matchLabels"]
        assert wanted.items() <= labels.items()
        budgets = [
            each
            for each in of_kind(manifests, "PodDisruptionBudget")
            if each["spec"]["selector"]["matchLabels"] == wanted
        ]
        assert len(budgets) == 1
        assert budgets[0]["spec"]["maxUnavailable"] not in (0, "0%"), "a node could never be drained"
        assert {each["topologyKey"] for each in spec["topologySpreadConstraints"]} == {
            "topology.kubernetes.io/zone",
            "kubernetes.io/hostname",
        }
        assert all(each["labelSelector"]["matchLabels"] == wanted for each in spec["topologySpreadConstraints"])
        (service,) = [each for each in of_kind(manifests, "Service") if each["spec"]["selector"] == wanted]
        ports = {port["name"] for port in spec["containers"][0]["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
        resources = spec["containers"][0]["resources"]
        assert resources["requests"].keys() == {"cpu", "memory"}
        assert "memory" in resources["limits"]


@every_case
def test_pods_get_no_variables_from_the_services_around_them(helm: Helm, case: Case) -> None:
    """A Service named crossfade-… would come in as CROSSFADE_…_PORT, and the settings refuse what they don't know."""
    assert all(pod["enableServiceLinks"] is False for _, pod in pods(helm.render(case)))


def test_replicas_are_left_to_the_autoscaler_where_there_is_one(helm: Helm) -> None:
    for chart, kind in (("engagement-api", "HorizontalPodAutoscaler"), ("replicator", "ScaledObject")):
        with_one = [case for case in CASES if case.chart == chart and of_kind(helm.render(case), kind)]
        assert with_one
        for case in CASES:
            if case.chart == chart:
                deployment = of_kind(helm.render(case), "Deployment")[0]
                assert ("replicas" in deployment["spec"]) == (case not in with_one), case


@pytest.mark.parametrize(("consumer", "groups"), [("forward", {"forward"}), ("feed", {"feed-source", "feed-target"})])
def test_the_replicator_scales_by_the_iterator_age_of_its_own_consumers(
    helm: Helm, consumer: str, groups: set[str]
) -> None:
    url = "autoscaling.prometheusUrl=http://prometheus:9090"
    manifests = helm.template("replicator", "--set", f"consumer={consumer},autoscaling.enabled=true,{url}")
    (scaled,) = of_kind(manifests, "ScaledObject")
    query = scaled["spec"]["triggers"][0]["metadata"]["query"]
    found = re.fullmatch(
        rf'max\({ITERATOR_AGE.prometheus}\{{{GROUP.prometheus}(=~?)"([^"]+)",namespace="migration"\}}\)', query
    )
    assert found, query
    matching = {each for each in GROUP.values if re.fullmatch(found[2], each)}
    assert matching == groups
    assert (found[1] == "=~") == (len(groups) > 1)
    assert scaled["spec"]["triggers"][0]["metadata"]["ignoreNullValues"] == "false", "no measure would scale in"
    assert scaled["spec"]["scaleTargetRef"]["name"] == of_kind(manifests, "Deployment")[0]["metadata"]["name"]


def test_a_service_monitor_finds_the_service_and_a_port_of_it(helm: Helm) -> None:
    for case in CASES:
        manifests = helm.render(case)
        for monitor in of_kind(manifests, "ServiceMonitor"):
            wanted = monitor["spec"]["selector"]["matchLabels"].items()
            (service,) = [
                each for each in of_kind(manifests, "Service") if wanted <= each["metadata"]["labels"].items()
            ]
            assert monitor["spec"]["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}


# ---- files -------------------------------------------------------------------------------------------------------


def test_the_schemas_are_up_to_date_with_the_services_settings() -> None:
    done = subprocess.run(
        [sys.executable, HELM_DIR.parent.parent / "tools/helm_schemas.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("chart", CHARTS)
def test_the_default_values_are_what_the_schema_knows(chart: str) -> None:
    schema = json.loads((HELM_DIR / chart / "values.schema.json").read_text())
    values = yaml.safe_load((HELM_DIR / chart / "values.yaml").read_text())
    known = schema["properties"].keys() - {"global", "enabled"}
    assert known == values.keys() - {"global", "enabled"}


@pytest.mark.parametrize("shared", ["_crossfade.tpl", "_tests.tpl"])
def test_what_charts_share_is_one_file(shared: str) -> None:
    links = [HELM_DIR / chart / "templates" / shared for chart in CHARTS if chart != "crossfade"]
    assert {link.resolve() for link in links} == {HELM_DIR / shared}
    values = [yaml.safe_load((HELM_DIR / chart / "values.yaml").read_text())["shared"] for chart in CHARTS[:4]]
    assert all(each == values[0] for each in values)


def test_a_packed_chart_needs_nothing_outside_itself(helm: Helm, tmp_path: object) -> None:
    helm.run("package", HELM_DIR / "crossfade", "--destination", tmp_path)
    done = helm.run("template", "demo", f"{tmp_path}/crossfade-0.1.0.tgz", "--set", "global.crossfade.insecure=true")
    unpacked = helm.template("crossfade", "--set", "global.crossfade.insecure=true")
    assert len([each for each in yaml.safe_load_all(done.stdout) if each]) == len(unpacked)


def _env(deployment: Manifest) -> list[Manifest]:
    found: list[Manifest] = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    return found
