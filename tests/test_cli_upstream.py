"""``ratelimitd ratelimit``, which is /bin/ratelimit of the image: arguments of manifests for envoyproxy/ratelimit."""

import sys
from types import ModuleType

import pytest
from click.testing import CliRunner

from ratelimitd.cli import main

XDS = {"CONFIG_TYPE": "GRPC_XDS_SOTW"}
AGENT_ROUTERS = "--quotaRateLimitServiceHost=envoy-ai-gateway-ratelimit.envoy-gateway-system"
"""The argument in Agent Router's manifest of the service."""


@pytest.fixture
def started(monkeypatch):
    """Run the command; returns the settings and paths of the service that it starts."""
    calls = []
    app = ModuleType("ratelimitd.app")
    app.run = lambda settings, config: calls.append((settings, config)) or 0
    monkeypatch.setitem(sys.modules, "ratelimitd.app", app)

    def run(*words, command="ratelimit", **env):
        done = CliRunner(env=env).invoke(main, [command, *words])
        assert done.exit_code == 0, done.output
        return calls.pop()

    return run


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--no-such-flag"], "--no-such-flag"),
        ([AGENT_ROUTERS], "--quotaRateLimitServiceHost"),
        (["--token=canary"], "--token"),
        (["--token", "canary", "canary"], "--token, 2 other words"),
        (["canary"], "1 other word"),
        (["-help", "-x"], "-help, -x"),
        (["--", "--port"], "--port"),
    ],
)
def test_arguments_that_are_not_known_are_ignored(started, words, named):
    """With a warning that names the flags, and no word that may be a value."""
    settings, config = started(*words)
    (warning,) = settings.warnings
    assert warning == f"arguments that are ignored, as envoyproxy/ratelimit ignores all: {named}"
    assert (config, settings.port) == ((), 8080)


def test_arguments_of_serve_are_taken(started, tmp_path, monkeypatch):
    """Flags and paths, wherever they stand among others."""
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        (tmp_path / name).touch()
    settings, config = started("--what", "a", "--port", "1", "--config", "b", "--shadow-mode")
    assert (config, settings.port, settings.shadow_mode) == (("a", "b"), 1, True)
    assert started()[0].warnings == ()


def test_a_word_beside_a_control_plane_is_no_path(started, tmp_path, monkeypatch):
    """The start goes on, even if a file has that name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ratelimit").touch()
    settings, config = started("ratelimit", **XDS)
    assert (config, len(settings.warnings)) == ((), 1)


@pytest.mark.parametrize("command", ["serve", "ratelimit"])
def test_a_config_beside_a_control_plane_is_a_usage_error(started, tmp_path, command):
    """A service has one source."""
    assert started(command=command, **XDS)[1] == ()
    done = CliRunner(env=XDS).invoke(main, [command, "--config", str(tmp_path)])
    assert (done.exit_code, "unset CONFIG_TYPE=GRPC_XDS_SOTW" in done.stderr) == (2, True)


def test_a_bad_value_still_ends_the_start():
    """A known flag is not ignored because of its value."""
    done = CliRunner().invoke(main, ["ratelimit", "--port", "x"])
    assert (done.exit_code, "--port" in done.stderr) == (2, True)


def test_it_is_not_among_the_commands_of_users():
    """They have `serve`, which refuses what it does not know."""
    assert "  ratelimit " not in CliRunner().invoke(main, ["--help"]).output


def test_the_path_of_the_program_is_a_command():
    """A Compose file's `command: /bin/ratelimit` follows the entry point of the image."""
    assert main.commands["/bin/ratelimit"] is main.commands["ratelimit"]
    done = CliRunner().invoke(main, ["/bin/ratelimit", "--help"])
    assert (done.exit_code, "Run the service as `serve` does" in done.output) == (0, True)
