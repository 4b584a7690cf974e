"""Tests of an installed ratelimitd, from a wheel or an sdist; scripts/smoke runs them, and nothing else collects them.

``SMOKE_PREFIX`` is the virtual environment that has it. Its programs run in an empty folder, and find no other program.
"""

import json
import os
import shutil
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

PREFIX = os.environ.get("SMOKE_PREFIX", "")
collect_ignore_glob = [] if PREFIX else ["test_*.py"]

PATIENCE = 120
"""Seconds for one command, and for a service to start: also on a busy machine."""


class Installed:
    """The programs of the virtual environment, run in ``folder``."""

    def __init__(self, folder):
        self.folder = folder
        self.bin = Path(PREFIX) / "bin"

    def _environment(self, settings):
        return {"PATH": "/nowhere", "HOME": str(self.folder), "STORE_BUDGET": "2s", **settings}

    def run(self, program, *arguments, code=0, **settings):
        """Run to the end and return the output; fails unless the exit code is this one."""
        done = subprocess.run(
            [self.bin / program, *arguments],
            cwd=self.folder,
            env=self._environment(settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert done.returncode == code, done.stdout
        return done.stdout

    def python(self, text):
        """Run Python code, isolated from the folder and from variables."""
        return self.run("python", "-I", "-c", text).strip()

    def running(self, *command, **settings):
        """A service: as ``started``."""
        return self.started([self.bin / "ratelimitd", *command], **settings)

    @contextmanager
    def started(self, command, **settings):
        """A program that serves on free ports of loopback: its process and the line ``serving`` of its log."""
        names = ("HOST", "GRPC_HOST", "DEBUG_HOST", "PORT", "GRPC_PORT", "DEBUG_PORT")
        own = {name: "0" if name.endswith("PORT") else "127.0.0.1" for name in names}
        own |= {"LISTEN_ADDR": "127.0.0.1:0", "LOG_FORMAT": "json", "DRAIN_DELAY": "0", **settings}
        with subprocess.Popen(
            command,
            cwd=self.folder,
            env=self._environment(own),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            said = []
            try:
                for line in process.stderr:
                    said.append(line)
                    if '"serving"' in line:
                        yield process, json.loads(line)
                        break
                else:
                    pytest.fail("it ended: " + "".join(said))
            finally:
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=PATIENCE)
        assert process.returncode == 0


@pytest.fixture
def installed(tmp_path):
    return Installed(tmp_path)


@pytest.fixture
def redis_server(tmp_path):
    """The path of a Unix socket of a redis-server; skips where none is installed."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server is installed")
    socket = tmp_path / "r.sock"
    command = [program, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        for line in server.stdout:
            if "eady to accept connections" in line:
                break
        yield str(socket)
        server.terminate()
        server.stdout.close()
