"""scripts/install: what it runs, and that it says so first."""

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "install"

pytestmark = pytest.mark.process


@pytest.fixture
def run(tmp_path):
    """Run the script where id, sudo and apt-get only write down how they are called."""
    calls = tmp_path / "calls"
    bins = tmp_path / "bin"
    bins.mkdir()

    def program(name, text):
        (bins / name).write_text(f"#!/bin/sh\n{text}\n")
        (bins / name).chmod(0o755)

    def install(user, **env):
        calls.write_text("")
        program("id", f"echo {user}")
        program("apt-get", f'echo "apt-get $*" >> {calls}')
        program("sudo", f'[ "$2" = true ] || echo "sudo $*" >> {calls}')
        done = subprocess.run(
            ["/bin/sh", str(SCRIPT), "redis-server"],
            env={"PATH": f"{bins}:/usr/bin:/bin", **env},
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        return done.returncode, done.stderr, calls.read_text().splitlines()

    return install


def test_it_says_what_sudo_will_run_and_how_to_prevent_it(run):
    """Before it runs: the line names the command with sudo, and the variable."""
    code, said, calls = run(1000)
    assert (code, calls[-1]) == (0, "sudo -n apt-get install -y -qq redis-server")
    assert said == "installing system packages: sudo -n apt-get install -y redis-server   (NO_SUDO=1: no sudo)\n"


def test_no_sudo_installs_nothing(run):
    """The missing packages are printed instead, and the run ends."""
    code, said, calls = run(1000, NO_SUDO="1")
    assert (code, calls) == (1, [])
    assert said == "please install: redis-server   (apt-get install redis-server)\n"


def test_root_needs_no_sudo(run):
    """The line has the command as it is run."""
    code, said, calls = run(0)
    assert (code, calls[-1]) == (0, "apt-get install -y -qq redis-server")
    assert said.startswith("installing system packages: apt-get install -y redis-server")
