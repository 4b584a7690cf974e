"""The manifests, read; and what the tests ask of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "k8s"

KUSTOMIZATION = "kustomization.yaml"
FILES = sorted(path.name for path in FOLDER.glob("*.yaml") if path.name != KUSTOMIZATION)
OWN = [name for name in FILES if name != "sidecar.yaml"]
"""What makes up ratelimitd as a service of its own."""


def objects(*names: str) -> list[Object]:
    """The objects in these files, in order."""
    return [found for name in names for found in yaml.safe_load_all((FOLDER / name).read_text())]


def one(kind: str, *names: str) -> Object:
    """The only object of a kind in these files."""
    (found,) = (each for each in objects(*names) if each["kind"] == kind)
    return found


def pod(deployment: Object) -> Object:
    return deployment["spec"]["template"]["spec"]


def containers(spec: Object) -> list[Object]:
    """All containers of a pod, sidecars too."""
    return [*spec.get("initContainers", []), *spec["containers"]]


def ratelimitd(deployment: Object) -> Object:
    (found,) = (each for each in containers(pod(deployment)) if each["name"] == "ratelimitd")
    return found


def environment(container: Object) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container["env"]}


def ports(container: Object) -> dict[str, int]:
    return {each["name"]: each["containerPort"] for each in container.get("ports", [])}


def probes(container: Object) -> Iterator[tuple[str, Object]]:
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        if name in container:
            yield name, container[name]


DEPLOYMENTS = {name: one("Deployment", name) for name in ("deployment.yaml", "sidecar.yaml")}
