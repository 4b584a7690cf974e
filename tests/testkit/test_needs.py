"""A test cannot start a program without the marker that excludes it from ``make quick``."""

import subprocess
import sys
from pathlib import Path

import pytest

from testkit.needs import marker_of, missing

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("command", "marker"),
    [
        (["/usr/bin/redis-server", "--port", "0"], "redis"),
        (["taskset", "-c", "1", "redis-server"], "redis"),
        ([Path("bin/envoy"), "-c", "file"], "envoy"),
        ([b"bin/envoy"], "envoy"),
        (["/usr/lib/playwright/driver/node", "cli.js"], "browser"),
        (["/usr/bin/node", "server.js"], "process"),
        ([sys.executable, "-m", "ratelimitd", "serve"], "process"),
        ([sys.executable, "-m", "ratelimitd", "envoy", "file"], "process"),
        ("make run", "process"),
    ],
)
def test_a_command_has_one_marker(command, marker):
    """The name of the program decides, not an argument of it."""
    assert marker_of(command) == marker


def test_each_missing_marker_is_named():
    """The error says what to write; markers beyond the needed ones are no error."""
    assert missing({"redis", "process"}, {"slow"}).endswith("add @pytest.mark.process, @pytest.mark.redis")
    assert not missing({"redis"}, {"redis", "process"})


STARTS = """
import subprocess
import pytest

def start():
    subprocess.run(["true"], check=True)

@pytest.fixture(scope="module")
def shared():
    start()

@pytest.fixture
def own():
    yield
    start()

@pytest.mark.process
def test_marked(shared):
    start()

def test_starts_nothing():
    pass

def test_starts_itself():
    start()

def test_uses_the_shared_fixture(request):
    request.getfixturevalue("shared")

def test_starts_at_its_end(own):
    pass
"""


@pytest.mark.process
def test_a_test_without_the_marker_fails(tmp_path):
    """Whether its body starts the program, its fixture does, or a shared fixture that an earlier test set up."""
    (tmp_path / "test_starts.py").write_text(STARTS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "testkit.needs", "--rootdir", str(tmp_path), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    failed = {line.split(" - ")[0].partition("::")[2] for line in lines if line.startswith("ERROR ")}
    assert failed == {"test_starts_itself", "test_uses_the_shared_fixture", "test_starts_at_its_end"}, done.stdout
    assert "5 passed" in done.stdout
