"""The command line: what each command prints, and its exit code."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import grpc
import pytest
from click.testing import CliRunner

from ratelimitd import __version__
from ratelimitd.cli import main
from ratelimitd.client import METHOD, WITH_REASON
from ratelimitd.proto import message
from ratelimitd.settings import ROWS, RowStatus, Settings

GOOD = "domain: shop\ndescriptors:\n  - key: user\n    rate_limit: {unit: second, requests_per_unit: 5}\n"
BAD = "domain: shop\ndescriptors:\n  - key: user\n    rate_limit: {unit: foo, requests_per_unit: 5}\n  - value: x\n"

Response = message("envoy.service.ratelimit.v3.RateLimitResponse")
Request = message("envoy.service.ratelimit.v3.RateLimitRequest")
OK, OVER = 1, 2


def cli(*words, env=None):
    return CliRunner(env=env).invoke(main, words)


@pytest.fixture
def policy(tmp_path):
    file = tmp_path / "shop.yaml"
    file.write_text(GOOD)
    return str(file)


def process(*words):
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, timeout=30)


def imported(code, heavy):
    """Exit code and errors of a process that runs this; it fails with the names of those that it imported."""
    done = process(
        "-c", f"import sys\n{code}\nsys.exit(','.join(name for name in {heavy} if name in sys.modules) or 0)"
    )
    return done.returncode, done.stderr


@pytest.mark.process
def test_version_of_the_module():
    """python -m ratelimitd is the same program as the console script."""
    shown = process("-m", "ratelimitd", "--version").stdout
    assert shown.startswith(f"ratelimitd, version {__version__} (")


@pytest.mark.process
def test_the_version_is_quick():
    """It names libraries and their versions without importing them."""
    heavy = "grpc", "google", "structlog", "rich", "matplotlib", "uvloop", "yaml", "opentelemetry.sdk"
    code = "from ratelimitd.cli import main\nmain(['--version'], standalone_mode=False)"
    assert imported(code, heavy) == (0, "")


@pytest.mark.process
def test_a_service_needs_neither_yaml_nor_the_proxy():
    """A sidecar is small: its child process parses, and it has no gateway file."""
    heavy = "yaml", "ratelimitd.gateway", "ratelimitd.lint", "ratelimitd.policy_file", "grpc", "rich"
    assert imported("import ratelimitd.app.serve", heavy) == (0, "")


@pytest.mark.process
def test_help_is_quick():
    """The help imports none of the heavy libraries."""
    heavy = "grpc", "google", "structlog", "rich", "matplotlib", "uvloop", "yaml"
    code = "from ratelimitd.cli import main\nmain(['serve', '--help'], standalone_mode=False)"
    assert imported(code, heavy) == (0, "")


@pytest.mark.parametrize("command", ["serve", "proxy", "envoy", "validate", "diff", "check", "simulate", "doctor"])
def test_help_has_examples(command):
    """Every command shows lines to copy, each on a line of its own."""
    assert f"\n    ratelimitd {command} " in cli(command, "--help").output


def test_serve_has_a_flag_for_every_setting():
    """What works as a variable works as a flag, and nothing else does."""
    shown = {word for word in cli("serve", "--help").output.split() if word.startswith("--")}

    assert shown >= {row.flag for row in ROWS if row.status is RowStatus.WORKS}
    assert not shown & {row.flag for row in ROWS if row.status is not RowStatus.WORKS}


@pytest.fixture
def served(monkeypatch):
    calls: list[tuple[Settings, tuple[str, ...]]] = []
    app = ModuleType("ratelimitd.app")

    def run(settings, config):
        calls.append((settings, config))
        return 7

    app.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ratelimitd.app", app)
    return calls


def test_serve(served, tmp_path, monkeypatch):
    """Flags win over variables, a bool needs no value, --config repeats, and the service's exit code is ours."""
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        (tmp_path / name).touch()
    words = ("--config", "a", "--config", "b", "--grpc-port", "0", "--shadow-mode", "--use-prometheus", "false")
    result = cli("serve", *words, env={"GRPC_PORT": "1", "PORT": "2", "USE_PROMETHEUS": "true"})

    ((settings, config),) = served
    assert result.exit_code == 7
    assert (settings.grpc_port, settings.port, settings.shadow_mode, settings.use_prometheus) == (0, 2, True, False)
    assert config == ("a", "b")


def test_serve_with_bad_settings(served):
    """Every mistake is one line on stderr, secrets masked, and nothing starts."""
    result = cli("serve", "--port", "x", env={"REDIS_AUTH": "canary", "BACKEND_TYPE": "memcache"})

    assert result.exit_code == 2
    assert not served
    lines = result.stderr.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("ratelimitd: ") for line in lines)
    assert 'REDIS_AUTH="***"' in result.stderr
    assert "canary" not in result.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--upstream", "localhost:8000"), "'--upstream': has no scheme; write http://localhost:8000"),
        (("--limit", "10"), "'--limit': not a limit; write one like 10/s, 100/min or 1000/day"),
        (("--limit", "0/s"), "'--limit': must be from 1 to"),
        (("--limit", "1/s", "--by", "a b"), "'--by': neither address nor the name of a header"),
        (("--by", "address"), "--by needs --limit, for example --limit 10/s"),
        (("--limit", "1/s", "--by", "Masked_Remote_Address"), "'--by': neither address nor the name of a header"),
        (("--config", __file__), "--print-config prints the file that is used without a gateway file"),
        (("--limit", "1/s", "--limit", "2/second"), "--limit: write one limit per unit"),
        (("--config", __file__, "--limit", "1/s"), "--limit has no effect with a gateway file"),
        (("--config", __file__, "--upstream", "http://a"), "--upstream has no effect with a gateway file"),
    ],
)
def test_proxy_with_flags_that_do_not_stand_for_a_file(words, told):
    """The error names the flag, and what to write."""
    result = cli("proxy", *words, "--print-config")
    assert (result.exit_code, told in result.output) == (2, True), result.output


def test_proxy_prints_the_file_of_its_flags():
    """The file says the limits and the upstream of the flags; the flag wins over DOWNSTREAM_URL."""
    words = ("proxy", "--upstream", "http://app:8000", "--limit", "10/s", "--by", "X-API-Key", "--print-config")
    result = cli(*words, env={"DOWNSTREAM_URL": "http://other:1"})
    assert result.exit_code == 0
    assert 'url: "http://app:8000"' in result.output
    assert '- key: "x-api-key"\n      rate_limits:\n        - {name: per_second, unit: second' in result.output


def test_validate(policy):
    """A good configuration is summed up, exit 0."""
    result = cli("validate", policy)

    assert (result.output, result.exit_code) == ("ok: 1 domain, 1 descriptor, 1 limit\n", 0)


def test_validate_prints_every_error(tmp_path):
    """Every error of every file is one line with file and line, exit 1."""
    for name in ("a.yaml", "b.yaml"):
        tmp_path.joinpath(name).write_text(BAD.replace("shop", name))
    result = cli("validate", str(tmp_path))

    lines = result.output.splitlines()
    assert result.exit_code == 1
    assert lines[0].startswith(f"{tmp_path}/a.yaml: invalid rate limit unit 'foo': write one of second, ")
    assert f"{tmp_path}/b.yaml: descriptor has empty key (line 5)" in lines
    assert len(lines) == 4


def test_validate_as_json(tmp_path, policy):
    """The same as one JSON object, good or bad."""
    good = json.loads(cli("validate", "--json", policy).output)
    assert good == {"ok": True, "errors": [], "warnings": [], "domains": 1, "descriptors": 1, "limits": 1}

    file = tmp_path / "bad.yaml"
    file.write_text(BAD)
    bad = json.loads(cli("validate", "--json", str(file)).output)
    assert bad["ok"] is False
    words = "invalid rate limit unit 'foo': write one of second, minute, hour, day, week, month, year"
    error = {"file": str(file), "line": 4, "message": words, "rule": "", "remedy": ""}
    assert bad["errors"][0] == error


def test_validate_takes_files_together(tmp_path, policy):
    """All paths of one call are one configuration; merging domains is a flag and a variable."""
    again = tmp_path / "again.yaml"
    again.write_text(GOOD.replace("user", "tenant"))

    assert "duplicate domain 'shop' in config file" in cli("validate", policy, str(again)).output
    assert cli("validate", "--merge-domain-config", "true", policy, str(again)).exit_code == 0
    assert cli("validate", policy, str(again), env={"MERGE_DOMAIN_CONFIG": "true"}).exit_code == 0


def test_validate_a_path_that_is_not_there():
    """A path that is not there is an error of the policy like any other, in JSON too."""
    result = cli("validate", "/nowhere.yaml")
    assert (result.exit_code, result.output) == (1, "/nowhere.yaml: cannot be read: No such file or directory\n")
    assert not json.loads(cli("validate", "/nowhere.yaml", "--json").output)["ok"]


class Stub(grpc.GenericRpcHandler):
    """A service that records requests and gives one answer, or fails."""

    def __init__(self):
        self.requests: list[Any] = []
        self.response = Response(overall_code=OK)
        self.failure: tuple[grpc.StatusCode, str] | None = None
        self.forbidden = ""

    def service(self, handler_call_details):
        if handler_call_details.method == self.forbidden:
            return grpc.unary_unary_rpc_method_handler(self._forbid)
        if handler_call_details.method != METHOD:
            return None
        return grpc.unary_unary_rpc_method_handler(self._answer, Request.FromString, Response.SerializeToString)

    def _forbid(self, _, context):
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "RBAC: access denied")

    def _answer(self, request, context):
        self.requests.append(request)
        if self.failure:
            context.abort(*self.failure)
        return self.response


@pytest.fixture
def stub():
    handler = Stub()
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool, handlers=[handler])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield handler, f"127.0.0.1:{port}"
        server.stop(None).wait()


def add_status(response, code, **fields):
    status = response.statuses.add(code=code, limit_remaining=fields.pop("remaining", 0))
    if fields:
        status.duration_until_reset.seconds = fields.pop("reset")
        for name, value in fields.items():
            setattr(status.current_limit, name, value)
    return status


def test_check_ok(stub):
    """Each status is a sentence; OK exits 0."""
    handler, address = stub
    add_status(handler.response, OK, remaining=19, reset=58, requests_per_unit=20, unit=2, name="checkout")
    add_status(handler.response, OK)
    add_status(handler.response, OK, remaining=(1 << 32) - 1)
    result = cli("check", "-d", "shop", "--address", address, "user=alice,path=/a", "b=", r"c=1\,2=3")

    assert result.exit_code == 0
    assert result.output.splitlines() == [
        "OK         user=alice,path=/a: 19 left of 20 per minute (checkout), reset in 58 s",
        "OK         b=: no limit applies",
        r"OK         c=1\,2=3: unlimited",
        "overall: OK",
    ]
    (request,) = handler.requests
    assert request.domain == "shop"
    assert [(entry.key, entry.value) for each in request.descriptors for entry in each.entries] == [
        ("user", "alice"),
        ("path", "/a"),
        ("b", ""),
        ("c", "1,2=3"),
    ]
    assert not request.descriptors[0].HasField("hits_addend")


@pytest.mark.parametrize(("env", "colors"), [({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False)])
def test_no_color(stub, env, colors):
    """A set NO_COLOR turns off what a terminal would be shown in colors; an empty one does not."""
    handler, address = stub
    add_status(handler.response, OK)
    shown = CliRunner(env=env).invoke(main, ["check", "-d", "shop", "--address", address, "user=alice"], color=True)
    assert ("\x1b[" in shown.output) is colors


def test_check_over_limit(stub):
    """OVER_LIMIT exits 1; a window that is not one unit shows no unit; --hits is the cost of each descriptor."""
    handler, address = stub
    handler.response.overall_code = OVER
    add_status(handler.response, OVER, reset=3, requests_per_unit=20)
    result = cli("check", "-d", "shop", "--address", address, "--hits", "0", "user=alice")

    assert result.exit_code == 1
    assert result.output == "OVER_LIMIT user=alice: over 20, try again in 3 s\noverall: OVER_LIMIT\n"
    assert handler.requests[0].descriptors[0].HasField("hits_addend")
    assert handler.requests[0].descriptors[0].hits_addend.value == 0


def test_check_as_json(stub):
    """--json prints the response as protobuf's JSON, with the same exit code."""
    handler, address = stub
    handler.response.overall_code = OVER
    result = cli("check", "-d", "shop", "--address", address, "--json", "user=alice")

    assert json.loads(result.output) == {"overallCode": "OVER_LIMIT"}
    assert result.exit_code == 1


def test_check_where_only_envoys_method_is_admitted(stub):
    """A mesh that forbids the method with reasons is asked with Envoy's, and its answer has no reason."""
    handler, address = stub
    handler.forbidden = WITH_REASON
    handler.response.overall_code = OVER
    result = cli("check", "-d", "shop", "--address", address, "user=alice")

    assert (result.exit_code, result.output) == (1, "overall: OVER_LIMIT\n")


@pytest.mark.parametrize(
    ("code", "details"),
    [(grpc.StatusCode.UNAVAILABLE, "timeout: redis"), (grpc.StatusCode.INVALID_ARGUMENT, "no domain")],
)
def test_check_failed(stub, code, details):
    """An error of the service is shown as it came, exit 2."""
    handler, address = stub
    handler.failure = code, details
    result = cli("check", "-d", "shop", "--address", address, "user=alice")

    assert (result.exit_code, result.stderr) == (2, f"ratelimitd: {address} returned {code.name}: {details}\n")


def test_check_without_a_decision(stub):
    """An overall code of UNKNOWN is an error, not a pass."""
    handler, address = stub
    handler.response.overall_code = 0

    assert cli("check", "-d", "shop", "--address", address, "user=alice").exit_code == 2


def test_check_nobody_there():
    """A refused connection says how to start the service, exit 2; a proxy of the environment is not asked."""
    result = cli("check", "-d", "shop", "--address", "127.0.0.1:1", "a=b", env={"http_proxy": "http://127.0.0.1:2"})

    assert result.exit_code == 2
    assert (
        "cannot connect to 127.0.0.1:1 (Connection refused). Start the service with: ratelimitd serve" in result.stderr
    )


def test_check_of_a_name_that_does_not_resolve():
    """The cause is a sentence, without the brackets of grpc's nested errors."""
    result = cli("check", "-d", "shop", "--address", "ratelimitd.invalid:1", "a=b")

    assert result.exit_code == 2
    assert "])" not in result.stderr
    assert "ratelimitd.invalid:1" in result.stderr


@pytest.mark.process
def test_check_bytes(stub):
    """A value that is not UTF-8 reaches the service as it is."""
    _, address = stub
    words = ["-m", "ratelimitd", "check", "-d", "shop", "--address", address, b"a=\xff"]
    done = subprocess.run(
        [os.fsencode(word) for word in (sys.executable, *words)], capture_output=True, check=False, timeout=30
    )

    # The stub reads strings, as Envoy's message has them, and so fails: the bytes did arrive.
    assert done.returncode == 2
    assert b"deserializ" in done.stderr
