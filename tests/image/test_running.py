"""What the image runs: its user, its root, its ports, its health check, the service, the proxy."""

import json

import pytest

POLICY = """
domain: shop
descriptors:
  - key: user
    rate_limit: {unit: day, requests_per_unit: 2}
"""

GET = """
import sys, urllib.error, urllib.request
url, *headers = sys.argv[1:]
try:
    asked = urllib.request.Request(url, headers=dict(each.split(": ") for each in headers))
    answer = urllib.request.urlopen(asked, timeout=60)
except urllib.error.HTTPError as error:
    answer = error
print(answer.status, answer.read().decode())
"""

BUILT = """
import ratelimitd, ratelimitd.transport.nghttp2, re2
from ratelimitd.tracing.otlp import Otlp
for each in ("http", "grpc"):
    Otlp(each, {}, "", {}).stop()
print(ratelimitd.__build__)
"""

SYSTEM = """
import os, ssl, zoneinfo
zoneinfo.ZoneInfo("Europe/Berlin")
try:
    open("/x", "w")
except OSError as problem:
    print(os.getuid(), os.getgid(), os.getgroups(), problem.strerror)
print(len(ssl.create_default_context().get_ca_certs()) > 100)
"""

COMMAND = "/opt/ratelimitd/bin/ratelimitd"
HEALTHY, UNHEALTHY = 0, 1


def get(container, url, *headers):
    """Ask from inside the image, and return its status and body."""
    said = container.run("/usr/bin/python3", "-I", "-c", GET, url, *headers)
    status, _, body = said.partition(" ")
    return int(status), body


def limited(container):
    """The policy admits two calls, and not the third."""
    ask = (COMMAND, "check", "-d", "shop", "user=alice")
    assert ["OVER_LIMIT" in container.run(*ask, code=code) for code in (0, 0, 1)] == [False, False, True]


@pytest.fixture
def policy(container):
    (container.mounted / "policy.yaml").write_text(POLICY)
    return "/mnt/policy.yaml"


def test_it_is_configured_as_the_docs_say(config):
    """Upstream's ports, `serve` without arguments, and labels, of which a build by hand leaves some empty."""
    settings = config["config"]
    assert {*settings["ExposedPorts"]} == {"8080/tcp", "8081/tcp", "6070/tcp"}
    assert (settings["Entrypoint"], settings["Cmd"]) == ([COMMAND], ["serve"])
    assert settings["Healthcheck"]["Test"] == ["CMD", "/bin/readyz"]
    labels = {name.removeprefix("org.opencontainers.image."): text for name, text in settings["Labels"].items()}
    assert labels["title"] == "ratelimitd"
    assert labels["licenses"] == "MIT"
    assert {"description", "version", "revision", "created", "source"} <= {*labels}


@pytest.mark.process
def test_its_version_says_the_commit_of_the_label(container, config):
    """And that the core is compiled, nghttp2 serves, and traces can be sent."""
    said = container.run(COMMAND, "--version")
    assert config["config"]["Labels"]["org.opencontainers.image.revision"][:12] in said
    assert "compiled" in said
    print(said)


@pytest.mark.process
def test_it_has_the_compiled_core_and_what_traces(container):
    """All of it is optional for the package, and nothing can be installed in the image."""
    assert container.python(BUILT) == "compiled"


@pytest.mark.process
def test_its_root_is_not_written_and_its_user_is_nobody(container):
    """With certificates and time zones."""
    assert container.python(SYSTEM) == "65534 65534 [65534] Read-only file system\nTrue"


@pytest.mark.process
def test_the_service_limits_on_upstreams_ports(container, policy):
    """`serve`, its health check, and the live view, whose files are data of the package."""
    readyz = "/bin/readyz"
    container.run(readyz, code=UNHEALTHY)
    arguments = [*container.config["Entrypoint"], *container.config["Cmd"], "--config", policy]
    with container.running(*arguments):
        container.run(*container.config["Healthcheck"]["Test"][1:], code=HEALTHY)
        container.run(readyz, "8080", "/livez", code=HEALTHY)
        container.run(readyz, "8080", "/nothing", code=UNHEALTHY)
        container.run(readyz, code=UNHEALTHY, PORT="8099")
        limited(container)
        status, page = get(container, "http://127.0.0.1:6070/", "Accept: text/html")
        assert (status, "<html" in page) == (200, True)
        assert get(container, "http://127.0.0.1:6070/rlconfig")[0] == 200


@pytest.mark.redis
@pytest.mark.process
def test_upstreams_command_limits_with_redis(container, policy):
    """/bin/ratelimit reads RUNTIME_ROOT, ignores arguments that it does not know, and its scripts run in Redis."""
    folder = container.mounted / "ratelimit" / "config"
    folder.mkdir(parents=True)
    (folder / "policy.yaml").write_text(POLICY)
    redis = ["redis-server", "--port", "6379", "--save", "", "--dir", "/tmp"]
    with container.beside("eady to accept connections", *redis):
        places = {"RUNTIME_ROOT": "/mnt", "RUNTIME_SUBDIRECTORY": "ratelimit"}
        store = {"BACKEND_TYPE": "redis", "REDIS_SOCKET_TYPE": "tcp", "REDIS_URL": "127.0.0.1:6379"}
        with container.running("/bin/ratelimit", "--unknown=1", **places, **store):
            limited(container)


@pytest.mark.process
def test_the_proxy_limits(container):
    """`proxy` before an app: the requests of a key until its limit."""
    (container.mounted / "path").write_text("of the app")
    app = ["/usr/bin/python3", "-I", "-u", "-m", "http.server", "--directory", "/mnt", "--bind", "127.0.0.1", "9000"]
    serving = [*container.chrooted, *app]
    with container.beside("Serving HTTP", *serving):
        proxy = ("proxy", "--upstream", "http://127.0.0.1:9000", "--limit", "2/day", "--by", "x-api-key")
        with container.running(COMMAND, *proxy, LISTEN_ADDR="127.0.0.1:9090") as said:
            assert json.dumps(said).count("9090") > 0
            url = "http://127.0.0.1:9090/path"
            assert get(container, url, "X-API-Key: a") == (200, "of the app\n")
            assert [get(container, url, "X-API-Key: a")[0] for _ in range(2)] == [200, 429]
            assert get(container, url, "X-API-Key: b")[0] == 200
