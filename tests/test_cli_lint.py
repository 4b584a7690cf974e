"""The lint on the command line, and the agreement of a gateway file with its policies and ports."""

import json

import pytest
from click.testing import CliRunner

from ratelimitd.cli import main
from testkit.redis_server import free_port

FAULTY = "domain: d\ndescriptors:\n  - key: user\n    rate_limit: {unit: second}\n"
WARNING = "a limit without 'requests_per_unit' is 0, which denies every request"
REMEDY = "write requests_per_unit: and the number of requests; to deny all of them, write 0"
GATEWAY = """\
listen: 127.0.0.1:{port}
upstreams: {{app: {{url: "http://localhost:{upstream}"}}}}
routes:
  - rate_limits:
      - actions: [{{remote_address: {{}}}}]
policies:
  domain: d
  descriptors:
    - {{key: remote_address, rate_limit: {{unit: second, requests_per_unit: 5}}}}
{more}
"""


def cli(*words, **env):
    return CliRunner(env=env).invoke(main, words)


@pytest.fixture
def faulty(tmp_path):
    file = tmp_path / "shop.yaml"
    file.write_text(FAULTY)
    return str(file)


@pytest.fixture
def gateway(tmp_path):
    """Write a gateway file; returns its path."""

    def write(port=0, upstream=1, more=""):
        file = tmp_path / "gateway.yaml"
        file.write_text(GATEWAY.format(port=port, upstream=upstream, more=more))
        return str(file)

    return write


def test_a_warning_is_no_error_unless_strict(faulty):
    """It is one line with file, line, remedy and rule; the verdict is that of envoyproxy/ratelimit."""
    result = cli("validate", faulty)
    line = f"warning: {faulty}: {WARNING} (line 4); {REMEDY} [denies-all]"
    assert (result.output.splitlines(), result.exit_code) == ([line, "ok: 1 domain, 1 descriptor, 1 limit"], 0)
    assert cli("validate", faulty, "--strict").exit_code == 1


def test_a_file_without_a_warning_is_well_when_strict(gateway):
    """So that it can be a step of a build."""
    assert cli("validate", gateway(), "--strict").exit_code == 0


def test_a_warning_as_json(faulty):
    """The same parts, for other programs."""
    told = json.loads(cli("validate", faulty, "--json").output)
    warning = {"file": faulty, "line": 4, "message": WARNING, "rule": "denies-all", "remedy": REMEDY}
    assert (told["ok"], told["errors"], told["warnings"]) == (True, [], [warning])
    assert json.loads(cli("validate", faulty, "--json", "--strict").output)["ok"] is False


def test_simulate_warns_on_stderr(faulty):
    """Its output stays what other programs read."""
    words = ("--config", faulty, "-d", "d", "user=a", "--rate", "1/s", "--for", "2s", "--json")
    result = cli("simulate", *words)
    assert json.loads(result.stdout)
    assert result.stderr == f"warning: {faulty}: {WARNING} (line 4); {REMEDY} [denies-all]\n"


@pytest.mark.process
def test_doctor_warns_with_the_change(faulty):
    """As of everything else that it finds."""
    told = json.loads(cli("doctor", "--config", faulty, "--json", PORT="0", GRPC_PORT="0", DEBUG_PORT="0").output)
    (found,) = (each for each in told["findings"] if "denies-all" in each["found"])
    assert (found["level"], found["subject"], found["change"]) == ("warn", "policy", REMEDY)
    assert found["found"] == f"{faulty}: {WARNING} (line 4) [denies-all]"


@pytest.mark.process
def test_a_domain_that_no_policy_has_is_an_error(gateway):
    """As it is for the proxy and for doctor."""
    result = cli("validate", gateway(more="domain: shop"))
    assert result.exit_code == 1
    assert "'domain' is not defined by the policies (d)" in result.output
    assert (
        "'domain' is not defined by the policies (d)" in cli("doctor", "--config", gateway(more="domain: shop")).output
    )


@pytest.mark.process
def test_ports_that_are_equal_are_an_error(gateway):
    """With the service beside the proxy, as the settings have it; the settings say which to change."""
    port = free_port()
    env = {"PORT": str(port), "GRPC_PORT": "0", "DEBUG_PORT": "0"}
    wrong = f"proxy and PORT are both {port}: set PORT to a different port"
    assert wrong in cli("validate", gateway(port), "--with-service", **env).output
    assert cli("validate", gateway(port), **env).exit_code == 0
    doctor = cli("doctor", "--config", gateway(port), "--with-service", **env).output
    assert f"proxy and PORT are both {port}\n" in doctor


def test_an_upstream_at_a_port_of_the_process_is_an_error(gateway):
    """The proxy would forward to itself, or to its own gRPC port."""
    port = free_port()
    own = cli("validate", gateway(port, port))
    assert (f"upstream 'app' is the proxy port of this process, {port}" in own.output, own.exit_code) == (True, 1)
    service = cli("validate", gateway(0, port), "--with-service", GRPC_PORT=str(port))
    assert f"upstream 'app' is the gRPC port of this process, {port}: set GRPC_PORT" in service.output


def test_settings_with_an_error_have_no_ports(gateway):
    """The files are validated all the same: doctor is what checks settings."""
    assert cli("validate", gateway(), PORT="x").exit_code == 0


@pytest.mark.parametrize("rls", ["localhost:8000", "127.0.0.1:8000", ":8000"])
def test_envoy_does_not_ask_an_upstream_for_limits(rls, gateway):
    """--rls at the endpoint of an upstream is refused; at another port or host it is not."""
    result = cli("envoy", gateway(upstream=8000), "--rls", rls)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "is also upstream 'app': Envoy would ask the application for limits" in result.stderr
    for other in ("localhost:8001", "ratelimitd:8000"):
        assert cli("envoy", gateway(upstream=8000), "--rls", other).exit_code == 0


SHARED = """\
domain: d
descriptors:
  - {key: a, rate_limit: {unit: second, requests_per_unit: 5}}
  - {key: a, value: x, descriptors: [{key: b, rate_limit: {unit: second, requests_per_unit: 5}}]}
"""


@pytest.mark.parametrize("given", ["flag", "variable"])
def test_validate_takes_the_keys_of_the_service(tmp_path, given):
    """By default it warns of limits that can share a counter in Redis, and exits 0; not with keys that are safe."""
    file = tmp_path / "shop.yaml"
    file.write_text(SHARED)
    told = cli("validate", str(file))
    assert (told.exit_code, told.output.count("[shared-counter]")) == (0, 2)
    assert "'d.a' can share a counter in Redis with 'd.a_x.b' of line 4 (line 3)" in told.output
    for keys in ("auto", "safe"):
        flags = ("--fixed-window-keys", keys) if given == "flag" else ()
        told = cli("validate", str(file), *flags, **({} if flags else {"FIXED_WINDOW_KEYS": keys}))
        assert (told.exit_code, "shared-counter" in told.output) == (0, False)


def test_domains_that_run_into_keys_are_told_where_the_longer_name_is(tmp_path):
    """With auto too, which decides for each domain alone."""
    limit = "rate_limit: {unit: second, requests_per_unit: 5}"
    for name, key in (("x", "y_z"), ("x_y", "z")):
        (tmp_path / f"{name}.yaml").write_text(f"domain: {name}\ndescriptors: [{{key: {key}, {limit}}}]\n")
    for keys, count in (("upstream", 1), ("auto", 1), ("safe", 0)):
        told = cli("validate", str(tmp_path), "--fixed-window-keys", keys).output
        assert told.count("'x_y' (the domain) can share a counter in Redis with domain 'x' (line 1)") == count


def test_diff_names_a_limit_that_another_one_gives_a_new_key(tmp_path):
    """With auto, without a change of the limit itself; else nothing but what was removed."""
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(SHARED)
    new.write_text(SHARED.rpartition("  -")[0])
    restarted = "restarted d.a: name of its counter: safe -> as in envoyproxy/ratelimit, so its count starts anew"
    for keys, count in (("upstream", 0), ("auto", 1), ("safe", 0)):
        assert cli("diff", str(old), str(new), FIXED_WINDOW_KEYS=keys).output.count(restarted) == count
