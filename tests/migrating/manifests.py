"""What manifests for envoyproxy/ratelimit say of its container: those of controllers, samples and Compose files."""

from typing import NamedTuple

RATELIMIT = ("/bin/ratelimit",)


class Probe(NamedTuple):
    """An HTTP probe of the kubelet, which may fail ``failures`` times in a row."""

    path: str
    port: int
    failures: int


class Manifest(NamedTuple):
    """A container.

    Attributes:
        env: exactly these variables.
        command: what replaces the entry point of the image; empty: what follows it is ``args``.
        ports: where callers, probes and scrapers come.
        mounts: paths of volumes.
        probes: startup, readiness and liveness.
        user: whose process it is; None: that of the image.
        read_only: whether its root file system is.
    """

    env: dict[str, str]
    ports: tuple[int, ...]
    mounts: tuple[str, ...] = ()
    command: tuple[str, ...] = RATELIMIT
    args: tuple[str, ...] = ()
    probes: tuple[Probe, ...] = ()
    user: int | None = None
    read_only: bool = False


def _env(text):
    return dict(line.split("=", 1) for line in text.split())


IMAGE_USER = 65534
"""USER of our image."""

ENVOY_GATEWAY_REDIS = "redis.redis-system.svc.cluster.local:6379"
"""``rateLimit.backend.redis.url`` of its documentation."""

_ENVOY_GATEWAY = f"""
    RUNTIME_ROOT=/data
    RUNTIME_SUBDIRECTORY=ratelimit
    RUNTIME_IGNOREDOTFILES=true
    RUNTIME_WATCH_ROOT=false
    LOG_LEVEL=info
    CONFIG_TYPE=GRPC_XDS_SOTW
    CONFIG_GRPC_XDS_SERVER_URL=envoy-gateway:18001
    CONFIG_GRPC_XDS_NODE_ID=envoy-ratelimit
    GRPC_SERVER_USE_TLS=true
    GRPC_SERVER_TLS_CERT=/certs/tls.crt
    GRPC_SERVER_TLS_KEY=/certs/tls.key
    GRPC_SERVER_TLS_CA_CERT=/certs/ca.crt
    CONFIG_GRPC_XDS_SERVER_USE_TLS=true
    CONFIG_GRPC_XDS_CLIENT_TLS_CERT=/certs/tls.crt
    CONFIG_GRPC_XDS_CLIENT_TLS_KEY=/certs/tls.key
    CONFIG_GRPC_XDS_SERVER_TLS_CACERT=/certs/ca.crt
    FORCE_START_WITHOUT_INITIAL_CONFIG=true
    REDIS_SOCKET_TYPE=tcp
    REDIS_URL={ENVOY_GATEWAY_REDIS}
"""

_PROMETHEUS = """
    USE_STATSD=false
    USE_PROMETHEUS=true
    PROMETHEUS_ADDR=:19001
    PROMETHEUS_MAPPER_YAML=/etc/statsd-exporter/conf.yaml
"""

ENVOY_GATEWAY = Manifest(
    _env(_ENVOY_GATEWAY + _PROMETHEUS),
    ports=(8081, 19001),
    mounts=("/certs", "/etc/statsd-exporter"),
    probes=(Probe("/healthcheck", 8080, 30), Probe("/healthcheck", 8080, 1), Probe("/healthcheck", 8080, 3)),
    user=65534,
    read_only=True,
)
"""The Deployment envoy-ratelimit of Envoy Gateway's controller, with Redis, metrics on and tracing off."""

_REDIS_TLS = """
    REDIS_TLS=true
    REDIS_TLS_CLIENT_CERT=/redis-certs/tls.crt
    REDIS_TLS_CLIENT_KEY=/redis-certs/tls.key
"""

ENVOY_GATEWAY_REDIS_TLS = ENVOY_GATEWAY._replace(
    env={**ENVOY_GATEWAY.env, **_env(_REDIS_TLS)}, mounts=(*ENVOY_GATEWAY.mounts, "/redis-certs")
)
"""The same with ``rateLimit.backend.redis.tls.certificateRef``; Redis' own certificate is of a public authority."""

_TRACING = """
    TRACING_ENABLED=true
    TRACING_SERVICE_NAME=envoy-ratelimit
    TRACING_SERVICE_NAMESPACE=envoy-gateway-system
    TRACING_SERVICE_INSTANCE_ID=envoy-ratelimit-5d9f
    TRACING_SAMPLING_RATE=1.0
    OTEL_EXPORTER_OTLP_ENDPOINT=http://trace-collector.envoy-gateway-system.svc.cluster.local:4318
"""

ENVOY_GATEWAY_TRACING = ENVOY_GATEWAY._replace(env={**ENVOY_GATEWAY.env, **_env(_TRACING)})
"""The same with ``rateLimit.telemetry.tracing``."""

ENVOY_GATEWAY_STATSD = ENVOY_GATEWAY._replace(
    env=_env(f"{_ENVOY_GATEWAY} USE_STATSD=true STATSD_PORT=9125"), ports=(8081,), mounts=("/certs",)
)
"""What an older controller wrote, which had a statsd_exporter in the pod."""

ISTIO = Manifest(
    _env(
        """
        LOG_LEVEL=debug
        REDIS_SOCKET_TYPE=tcp
        REDIS_URL=redis:6379
        USE_STATSD=false
        RUNTIME_ROOT=/data
        RUNTIME_SUBDIRECTORY=ratelimit
        RUNTIME_WATCH_ROOT=false
        RUNTIME_IGNOREDOTFILES=true
        HOST=::
        GRPC_HOST=::
        """
    ),
    ports=(8080, 8081, 6070),
    mounts=("/data/ratelimit/config",),
)
"""The Deployment ratelimit of samples/ratelimit/rate-limit-service.yaml."""

_AGENT_ROUTER = _env(
    """
    LOG_LEVEL=debug
    REDIS_SOCKET_TYPE=tcp
    REDIS_URL=redis.redis-system.svc.cluster.local:6379
    RUNTIME_ROOT=/data
    RUNTIME_SUBDIRECTORY=ratelimit
    USE_STATSD=false
    CONFIG_TYPE=GRPC_XDS_SOTW
    CONFIG_GRPC_XDS_NODE_ID=envoy-ai-gateway-ratelimit
    CONFIG_GRPC_XDS_SERVER_URL=ai-gateway-controller.envoy-ai-gateway-system.svc.cluster.local:18002
    GRPC_PORT=8081
    """
)

AGENT_ROUTER = Manifest(_AGENT_ROUTER, ports=(8081,))
"""What Agent Router's chart deploys with ``rateLimiter.enabled``."""

AI_GATEWAY = Manifest(
    _AGENT_ROUTER,
    ports=(8081,),
    args=("--quotaRateLimitServiceHost=envoy-ai-gateway-ratelimit.envoy-gateway-system",),
)
"""The manifest of Envoy AI Gateway's end-to-end test, which users took as an example; it passes an argument."""

COMPOSE = Manifest(
    _env(
        """
        USE_STATSD=true
        STATSD_HOST=statsd
        STATSD_PORT=9125
        LOG_LEVEL=debug
        REDIS_SOCKET_TYPE=tcp
        REDIS_URL=redis:6379
        RUNTIME_ROOT=/data
        RUNTIME_SUBDIRECTORY=ratelimit
        RUNTIME_WATCH_ROOT=false
        """
    ),
    ports=(8080, 8081, 6070),
    mounts=("/data/ratelimit/config",),
    command=(),
    args=RATELIMIT,
)
"""envoyproxy/ratelimit's docker-compose-example.yml. In Compose ``command`` follows the entry point of the image."""

COMPOSE_ROOT = Manifest(
    _env(
        """
        USE_STATSD=false
        LOG_LEVEL=debug
        REDIS_SOCKET_TYPE=tcp
        REDIS_URL=redis:6379
        RUNTIME_ROOT=/data
        RUNTIME_SUBDIRECTORY=ratelimit
        """
    ),
    ports=(8080,),
    mounts=("/data",),
    command=(),
    args=("serve",),
)
"""envoyproxy/ratelimit's docker-compose.yml, which mounts the root and says no command; ``args`` is our image's CMD."""
