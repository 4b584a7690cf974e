"""What /live/overview says of the process beside its traffic: replica, store, policy and health."""

import secrets
import shlex
import socket
import time
from itertools import islice
from typing import Any, Final

from ratelimitd import __build__, __version__
from ratelimitd.config.values import EVERYWHERE
from ratelimitd.descriptor_text import show
from ratelimitd.observe.logs import masked
from ratelimitd.policy import walk

from .service import RunningService

Facts = dict[str, Any]

LOOKED: Final = 100
"""Descriptors in which a limit is looked for, for an example: a twentieth of a millisecond."""


def replica() -> Facts:
    """Return what names this process among its replicas; the id is another one after a restart."""
    return {
        "id": secrets.token_hex(4),
        "name": socket.gethostname(),
        "started": round(time.time(), 3),
        "software": __version__,
        "build": __build__,
    }


def facts(service: RunningService) -> Facts:
    """Return the state of the store, of the policy and of the health."""
    return {"store": _store(service), "policy": _policy(service), "health": _health(service)}


def _store(service: RunningService) -> Facts:
    """Return where the counters are; of Redis, whether calls fail, and whether a circuit breaker is open."""
    redis, memory = service.parts.redis, service.parts.memory
    where = masked(service.store_name)
    if redis is None:
        return {
            "kind": "memory",
            "where": where,
            "state": "ok",
            "text": "",
            "breaker": None,
            "keys": len(memory),
            "bytes": memory.bytes,
            "max_bytes": service.settings.memory_max_bytes,
        }
    trouble = redis.topology.trouble
    return {
        "kind": "redis",
        "where": where,
        "state": "failing" if trouble else "ok",
        "text": masked(trouble),
        "breaker": "open" if any(node.breaker.open for node in redis.nodes) else "closed",
        "keys": None,
        "bytes": None,
        "max_bytes": None,
    }


def _policy(service: RunningService) -> Facts:
    """Return the active policy, and the errors of a newer one that was rejected, each with its file and line."""
    active, overlay, plane = service.policies.active, service.policies.overlay, service.plane
    return {
        "generation": active.generation,
        "version": active.version,
        "source": masked(active.source),
        "files": active.files,
        "domains": active.domains,
        "limits": active.limits,
        "loaded": round(time.time() - (time.monotonic() - active.loaded), 3),
        "warnings": list(active.warnings),
        "refused": list(active.refused),
        "overlay": None if overlay is None else overlay.as_json(),
        "control_plane": None if plane is None else plane.as_json(),
    }


def _health(service: RunningService) -> Facts:
    """Return what the probes are answered, and why."""
    failing = dict((*service.health.failing(), *service.serving.failing(), *service.readiness.failing()))
    return {
        "healthy": service.health.healthy,
        "ready": service.readiness.healthy,
        "failing": _named(sorted(failing.items())),
        "notes": _named(service.notes()),
    }


def _named(states: list[tuple[str, str]]) -> list[Facts]:
    return [{"component": component, "reason": masked(reason)} for component, reason in states]


def check_command(service: RunningService, listening: str) -> str:
    """Return a command that asks this service, at this address, for a limit of its policy.

    Empty if there is no limit, or clients need TLS.
    """
    policy, settings = service.policies.policy, service.settings
    if settings.grpc_server_use_tls or settings.grpc_uds:
        return ""
    host, _, port = listening.rpartition(":")
    at = f"localhost:{port}" if host in {EVERYWHERE, "[::]"} else listening
    for domain, path in () if policy is None else islice(walk(policy), LOOKED):
        if path and path[-1].limits:
            descriptor = show(tuple([(node.key, node.value.replace(b"*", b"") or b"test") for node in path]))
            name = domain.name.decode(errors="backslashreplace")
            return shlex.join(("ratelimitd", "check", "--address", at, "-d", name, descriptor))
    return ""
