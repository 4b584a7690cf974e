"""Paths on the command line: how each command takes them, and what it says of one that is not there."""

import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from ratelimitd.cli import main

POLICY = "domain: shop\ndescriptors:\n  - {key: user, rate_limit: {unit: second, requests_per_unit: 5}}\n"

GATEWAY = """\
upstreams: {app: {url: 'http://127.0.0.1:1'}}
routes: [{upstream: app}]
policies:
  domain: shop
  descriptors:
    - {key: user, rate_limit: {unit: second, requests_per_unit: 5}}
"""
LOAD = ("-d", "shop", "user=alice", "--rate", "1/s", "--for", "2s")


def cli(*words, env=None):
    return CliRunner(env=env).invoke(main, [str(word) for word in words])


@pytest.fixture
def policy(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return path


@pytest.fixture
def gateway(tmp_path):
    path = tmp_path / "gateway.yaml"
    path.write_text(GATEWAY)
    return path


@pytest.fixture
def started(monkeypatch):
    """The paths that serve and proxy would start with."""
    paths = []
    app = ModuleType("ratelimitd.app")
    app.run = lambda _, config: paths.append(config) or 0  # type: ignore[attr-defined]
    app.proxy = ModuleType("ratelimitd.app.proxy")  # type: ignore[attr-defined]
    app.proxy.run = lambda _, config, *_more, **_options: paths.append(config) or 0  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ratelimitd.app", app)
    return paths


def test_serve_takes_paths_either_way(started, policy, tmp_path):
    """As arguments, with --config, or both."""
    results = [
        cli("serve", policy),
        cli("serve", "--config", policy),
        cli("serve", policy, "--config", tmp_path, "--port", "1"),
        cli("serve"),
    ]
    assert [result.exit_code for result in results] == [0] * 4
    assert started == [(str(policy),), (str(policy),), (str(policy), str(tmp_path)), ()]


def test_proxy_takes_a_file_either_way(started, gateway):
    """As an argument or with --config, but one; without, it has a built-in file."""
    results = [cli("proxy", gateway), cli("proxy", "--config", gateway), cli("proxy")]
    assert [result.exit_code for result in results] == [0] * 3
    assert started == [str(gateway), str(gateway), None]
    again = cli("proxy", gateway, "--config", gateway)
    assert (again.exit_code, "one file is enough, and 2 are given" in again.output) == (2, True)


@pytest.mark.process
@pytest.mark.parametrize("option", [(), ("--config",)])
def test_the_other_commands_take_paths_either_way(policy, gateway, option):
    """Each does with --config what it does with the argument."""
    assert cli("validate", *option, policy).output == "ok: 1 domain, 1 descriptor, 1 limit\n"
    assert json.loads(cli("simulate", *option, policy, *LOAD, "--json").output)["runs"][0]["allowed"] == 2
    assert "static_resources:" in cli("envoy", *option, gateway).output
    findings = json.loads(cli("doctor", *option, policy, "--json").output)["findings"]
    assert "files: 1, domains: 1, limits: 1" in [finding["found"] for finding in findings]


@pytest.mark.parametrize(
    "words",
    [
        ("serve", "{}"),
        ("serve", "--config", "{}"),
        ("proxy", "{}"),
        ("proxy", "--config", "{}"),
        ("envoy", "{}"),
        ("envoy", "--config", "{}"),
        ("simulate", "{}", *LOAD),
        ("simulate", "--config", "{}", *LOAD),
        ("diff", "{}", "{}"),
    ],
)
def test_a_path_that_does_not_exist_is_a_usage_error(started, tmp_path, words):
    """Nothing starts, the exit code is 2, and the path is named: a typed path is meant."""
    missing = tmp_path / "nofile.yaml"
    result = cli(*(word.format(missing) for word in words))
    assert (result.exit_code, started) == (2, [])
    assert str(missing) in result.output


@pytest.mark.process
@pytest.mark.parametrize("command", ["validate", "doctor"])
def test_checks_report_a_path_that_does_not_exist(tmp_path, command):
    """As a finding, in JSON too, and fail."""
    result = cli(command, tmp_path / "nofile.yaml", "--json")
    assert (result.exit_code, json.loads(result.output)["ok"]) == (1, False)
    assert "cannot be read: No such file or directory" in result.output
    assert "nofile.yaml" in result.output


@pytest.mark.parametrize("words", [("validate",), ("envoy",), ("simulate", *LOAD)])
def test_commands_that_need_a_path_ask_for_one(words):
    """The sentence says what to write."""
    result = cli(*words)
    assert (result.exit_code, "is given: write a" in result.output) == (2, True)


def test_a_folder_is_no_gateway_file(started, tmp_path):
    """It is refused at once, by name."""
    assert [cli(command, tmp_path).exit_code for command in ("proxy", "envoy")] == [2, 2]
    assert started == []


def test_diff_says_what_differs(policy, tmp_path):
    """A line for each change with its kind first, a sum, and exit code 1, as diff(1)."""
    new = tmp_path / "new.yaml"
    new.write_text(POLICY.replace(": 5", ": 3") + "  - {key: path, rate_limit: {unit: day, requests_per_unit: 1}}\n")
    result = cli("diff", policy, new)
    assert (result.exit_code, result.output.splitlines()) == (
        1,
        [
            "lowered  shop.user: 5 per second -> 3 per second",
            "added    shop.path: 1 per day, algorithm fixed_window",
            "2 changes: 1 lowered, 1 added",
        ],
    )


def test_the_example_of_the_page_is_what_diff_prints(tmp_path):
    """docs/policies.md shows two policies and the words for their difference."""
    page = (Path(__file__).parents[1] / "docs" / "policies.md").read_text()
    section = page.partition("## What a change does")[2]
    texts = [re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)[0] for text in (page, section)]
    for name, text in zip(("old.yaml", "new.yaml"), texts, strict=True):
        (tmp_path / name).write_text(text)
    (printed,) = re.findall(r"```\n(raised.*?)```", section, re.DOTALL)
    assert cli("diff", tmp_path / "old.yaml", tmp_path / "new.yaml").output == printed


def test_diff_of_the_same_policy(policy):
    """It says so, and exits 0; a comment is no difference."""
    other = policy.with_name("other.yaml")
    other.write_text("# a comment\n" + POLICY)
    result = cli("diff", policy, other)
    assert (result.exit_code, result.output) == (0, "no limit differs\n")


def test_diff_takes_folders_and_gateway_files(policy, gateway, tmp_path):
    """A gateway file's limits have its own default algorithm, unless the service's is asked for."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "policy.yaml").write_text(POLICY)
    assert cli("diff", policy, folder).exit_code == 0
    value = json.loads(cli("diff", folder, gateway, "--json").output)
    assert value == {
        "same": False,
        "changes": [
            {"kind": "changed", "place": "shop", "what": "default_algorithm fixed_window -> token_bucket"},
            {"kind": "changed", "place": "shop.user", "what": "algorithm fixed_window -> token_bucket"},
        ],
    }
    assert cli("diff", folder, gateway, env={"DEFAULT_ALGORITHM": "token_bucket"}).exit_code == 0
    assert json.loads(cli("diff", policy, folder, "--json").output) == {"same": True, "changes": []}


def test_diff_merges_domains_as_the_service_does(policy, tmp_path):
    """With MERGE_DOMAIN_CONFIG a folder may hold a domain twice."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.yaml").write_text(POLICY)
    (folder / "b.yaml").write_text(POLICY.replace("user", "path"))
    assert cli("diff", policy, folder).exit_code == 2
    assert "added    shop.path" in cli("diff", policy, folder, "--merge-domain-config").output


def test_diff_of_a_policy_with_errors(policy, tmp_path):
    """Every error is a line on stderr, and the exit code 2 is not that of a difference."""
    bad = tmp_path / "bad.yaml"
    bad.write_text(POLICY.replace("second", "fortnight"))
    result = cli("diff", policy, bad)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"ratelimitd: {bad}: invalid rate limit unit 'fortnight'" in result.stderr
