"""The manifests, read; and what the tests ask of them."""

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


def objects(*names):
    """The objects in these files, in order."""
    return [found for name in names for found in yaml.safe_load_all((FOLDER / name).read_text())]


def one(kind, *names):
    """The only object of a kind in these files."""
    (found,) = (each for each in objects(*names) if each["kind"] == kind)
    return found


def named(kind, name, *names):
    """The only object of a kind and a name in these files."""
    (found,) = (each for each in objects(*names) if (each["kind"], each["metadata"]["name"]) == (kind, name))
    return found


def pod(deployment):
    return deployment["spec"]["template"]["spec"]


def containers(spec):
    """All containers of a pod, sidecars too."""
    return [*spec.get("initContainers", []), *spec["containers"]]


def ratelimitd(deployment):
    (found,) = (each for each in containers(pod(deployment)) if each["name"] == "ratelimitd")
    return found


def environment(container):
    return {each["name"]: each["value"] for each in container["env"]}


def ports(container):
    return {each["name"]: each["containerPort"] for each in container.get("ports", [])}


def probes(container):
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        if name in container:
            yield name, container[name]


DEPLOYMENTS = {name: one("Deployment", name) for name in ("deployment.yaml", "sidecar.yaml")}
