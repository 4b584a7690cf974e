"""Tests of an unpacked image; scripts/image runs them, and nothing else collects them.

``IMAGE`` is the folder with ``config.json`` and ``root``. Its programs run in the root as its user, in a network of
their own, on the ports that it has. The root is mounted read-only, as Kubernetes does with readOnlyRootFilesystem.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

IMAGE = Path(os.environ.get("IMAGE", "/nowhere"))
collect_ignore_glob = [] if "IMAGE" in os.environ else ["test_*.py"]

CHROOT = shutil.which("chroot", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")

PATIENCE = 120
"""Seconds for one command, and for a service to start: also on a busy machine."""

MOUNTS = """
set -e
mkdir -p "$1/mnt"
mount --bind "$1" "$1" && mount -o remount,bind,ro "$1"
mount --rbind /dev "$1/dev" && mount -t proc proc "$1/proc" && mount --bind "$2" "$1/mnt"
"$3" -c 'import fcntl, socket, struct
up = struct.pack("16sH14x", b"lo", 1)
fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8914, up)'
echo ready
exec cat
"""
"""What holds the namespaces, until its input ends: an engine's mounts, and the loopback device, up (SIOCSIFFLAGS)."""


class Container:
    """The image's programs. ``mounted`` is a folder that they find as /mnt, where they may not write."""

    def __init__(self, holder, config, mounted):
        self._enter = ["nsenter", f"--target={holder}", "--mount", "--net", "--"]
        self.config = config["config"]
        self.mounted = mounted
        user = self.config["User"]
        self.chrooted = [CHROOT, f"--userspec={user}", IMAGE / "root"]

    def _environment(self, settings):
        return dict(each.split("=", 1) for each in self.config["Env"]) | settings

    @contextmanager
    def beside(self, ready, *command):
        """Another program in the network of the image, from its line with ``ready``."""
        with subprocess.Popen([*self._enter, *command], stdout=subprocess.PIPE, text=True) as process:
            try:
                assert any(ready in line for line in process.stdout)
                yield
            finally:
                process.terminate()
                process.stdout.close()

    def run(self, *command, code=0, **settings):
        """Run to the end and return the output; fails unless the exit code is this one."""
        done = subprocess.run(
            [*self._enter, *self.chrooted, *command],
            env=self._environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert done.returncode == code, done.stdout
        return done.stdout

    def python(self, text):
        return self.run("/opt/ratelimitd/bin/python", "-I", "-c", text).strip()

    @contextmanager
    def running(self, *command, **settings):
        """A service, from the line ``serving`` of its log, which is yielded, to a stop with exit code 0."""
        with subprocess.Popen(
            [*self._enter, *self.chrooted, *command],
            env=self._environment({"LOG_FORMAT": "json", "DRAIN_DELAY": "0", **settings}),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            said = []
            try:
                for line in process.stderr:
                    said.append(line)
                    if '"serving"' in line:
                        yield json.loads(line)
                        break
                else:
                    pytest.fail("it ended: " + "".join(said))
            finally:
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=PATIENCE)
        assert process.returncode == 0


@pytest.fixture(scope="session")
def config():
    """The image's configuration, as Docker's format has it."""
    return json.loads((IMAGE / "config.json").read_text())


@pytest.fixture(scope="session")
def root():
    """The folder of the unpacked image."""
    return IMAGE / "root"


@pytest.fixture(scope="session")
def container(config, root, tmp_path_factory):
    """The image's programs can run, and a folder is mounted."""
    mounted = tmp_path_factory.mktemp("mounted")
    for each in (mounted, *mounted.parents[:2]):
        each.chmod(0o755)
    holding = ["unshare", "--mount", "--net", "--", "sh", "-c", MOUNTS, "sh", root, mounted, sys.executable]
    with subprocess.Popen(holding, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "ready\n"
        yield Container(holder.pid, config, mounted)
        holder.communicate(timeout=PATIENCE)
