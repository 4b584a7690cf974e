"""The Dockerfile, as far as it can be run without an engine: its build steps, in an empty virtual environment."""

import os
import re
import shutil
import socketserver
import subprocess
import sys
import threading
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

from ratelimitd.compiled import PURE, RECORD

ROOT = Path(__file__).parents[1]
PREFIX = "/opt/ratelimitd"


class Stage(NamedTuple):
    """One FROM and what follows: (instruction, its text) pairs."""

    name: str
    base: str
    steps: list[tuple[str, str]]

    def texts(self, instruction):
        return [text for name, text in self.steps if name == instruction]


def stages():
    joined = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    found: list[Stage] = []
    for line in joined.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        instruction, _, text = line.partition(" ")
        if instruction == "FROM":
            base, _, name = text.partition(" AS ")
            found.append(Stage(name, base, []))
        elif found:
            found[-1].steps.append((instruction, text))
    return found


BUILD, MADE, FINAL = stages()


def sources():
    """What is copied: a pattern stands for the files that it finds, or for itself, which then does not exist."""
    words = [word for text in BUILD.texts("COPY") for word in text.split()[:-1]]
    return [path for word in words for path in (sorted(ROOT.glob(word)) or [ROOT / word])]


def test_what_is_copied_exists():
    """A moved file would end the build."""
    assert [path for path in sources() if not path.exists()] == []
    assert MADE.base == BUILD.name
    assert FINAL.texts("COPY") == [f"--from={MADE.name} /image /"]


def test_it_has_nothing_but_what_is_put_there():
    """No shell, pip or package manager; the base is pinned by its digest and only builds."""
    assert (BUILD.base, FINAL.base) == ("${BASE}", "scratch")
    assert re.search(r"^ARG BASE=[\w.-]+:[\w.-]+@sha256:[0-9a-f]{64}$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert FINAL.texts("RUN") == []


def test_installed_files_are_those_that_were_reviewed():
    """pip takes no file whose hash is not in the repository, and nothing but the package itself comes without one."""
    installs = [text for text in BUILD.texts("RUN") if "/pip " in text]
    assert [text for text in installs if not {"--require-hashes", "--no-index"} & {*text.split()}] == []


def test_the_context_has_no_build_of_this_machine():
    """A module compiled for another Python, or the record of a build, would be copied."""
    assert {"**/*.so", f"ratelimitd/{RECORD}", "*"} <= {*(ROOT / ".dockerignore").read_text().splitlines()}


@pytest.mark.process
def test_the_health_check_asks_as_serve_listens(tmp_path):
    """0 for 200, and 1 for any other status and for no service."""
    script = [sys.executable, ROOT / "image/readyz"]

    def check(port, *path):
        env = {"PORT": str(port), "HOST": "0.0.0.0"}
        return subprocess.run([*script, *path], env=env, capture_output=True, timeout=60, check=False).returncode

    with socketserver.TCPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        assert check(port) == 0
        assert check(1, str(port), "/other") == 1
        server.shutdown()
    assert check(port) == 1


class Answering(socketserver.StreamRequestHandler):
    """200 for /readyz, as a service that is ready."""

    def handle(self):
        line = self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n" if b" /readyz " in line else b"HTTP/1.1 503 Unready\r\n\r\n")


def test_it_runs_as_nobody_and_writes_nothing():
    """A number, as runAsNonRoot needs, and no bytecode on a read-only root: it was made before."""
    assert FINAL.texts("USER") == ["65534:65534"]
    assert "PYTHONDONTWRITEBYTECODE=1" in FINAL.texts("ENV")[0]
    assert "compileall" in MADE.texts("RUN")[-1]


def test_it_offers_upstreams_ports_and_starts_the_service():
    """8080, 8081 and 6070; no argument means serve."""
    assert FINAL.texts("EXPOSE") == ["8080 8081 6070"]
    assert FINAL.texts("ENTRYPOINT") == [f'["{PREFIX}/bin/ratelimitd"]']
    assert FINAL.texts("CMD") == ['["serve"]']


def test_the_debug_port_of_the_image_is_reached_as_upstreams():
    """DEBUG_HOST is envoyproxy/ratelimit's, so that a published port and readers by pod address keep working."""
    assert "DEBUG_HOST=0.0.0.0" in FINAL.texts("ENV")


def test_upstreams_command_leads_to_the_built_script():
    """/bin/ratelimit is what Envoy Gateway's deployment runs."""
    links = [
        text
        for text in MADE.texts("RUN")
        if f"ln -s {PREFIX}/bin/ratelimit {PREFIX}/bin/readyz /image/usr/bin/" in text
    ]
    assert len(links) == 1
    assert FINAL.texts("HEALTHCHECK")[0].endswith('CMD ["/bin/readyz"]')


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The build stage's RUN steps, done once, but for the system's packages: only what is copied is there."""
    folder = tmp_path_factory.mktemp("image")
    source, prefix = folder / "src", folder / "opt"
    source.mkdir()
    for path in sources():
        if path.is_dir():
            shutil.copytree(path, source / path.name, ignore=shutil.ignore_patterns("__pycache__", "*.so", RECORD))
        else:
            shutil.copy(path, source)
    for text in BUILD.texts("RUN"):
        command = text.replace("python3 -m venv", f"{sys.executable} -m venv").replace(PREFIX, str(prefix))
        command = command.replace("/opt/build", str(folder / "build"))
        if not command.startswith("apt-get"):
            run(command, source, os.environ["PATH"])
    for name in ("ratelimit", "readyz"):
        (prefix / "bin" / name).write_text((ROOT / "image" / name).read_text().replace(PREFIX, str(prefix)))
        (prefix / "bin" / name).chmod(0o755)
    return prefix


def run(command, folder, path=""):
    """Run a command where PATH leads nowhere, unless it says otherwise."""
    kept = {name: value for name, value in os.environ.items() if name != PURE}
    env = {**kept, "PATH": path, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "MYPYC_OPT_LEVEL": "0"}
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=folder, env=env, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_tests_have_what_the_image_traces_with():
    """Its versions are those that the tests have, of all that the extra otel names."""
    pinned = {line.split()[0] for line in (ROOT / "requirements-otel.txt").read_text().splitlines() if "==" in line}
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["otel"]
    assert pinned <= {*(ROOT / "requirements-dev.txt").read_text().split()}
    assert {each.partition(">")[0] for each in extra} <= {each.partition("=")[0] for each in pinned}


@pytest.mark.process
@pytest.mark.slow
def test_the_image_can_trace(built, tmp_path):
    """TRACING_ENABLED needs nothing that cannot be installed in it, with either protocol."""
    making = "from ratelimitd.tracing.otlp import Otlp; [Otlp(each, {}, '', {}).stop() for each in ('http', 'grpc')]"
    run(f'{built}/bin/python -c "{making}"', tmp_path)


@pytest.mark.process
@pytest.mark.slow
def test_what_is_built_says_its_version(built, tmp_path):
    """It starts by itself, with nothing else on the PATH."""
    version = run(f"{built}/bin/python -c 'import ratelimitd; print(ratelimitd.__version__)'", tmp_path)
    assert f"{version.strip()} (compiled" in run(f"{built}/bin/ratelimitd --version", tmp_path)


def test_the_libraries_it_was_linked_with_come_with_the_final_image():
    """What the build stage links the fast transport with, the final stage installs."""
    assert any("libnghttp2-dev" in text for text in BUILD.texts("RUN"))
    assert any("libnghttp2-14" in text for text in MADE.texts("RUN"))


@pytest.mark.process
def test_every_file_of_the_package_is_installed(built):
    """Data files as well: Lua fragments and descriptors are only missed when a request comes."""
    (installed,) = built.glob("lib/python*/site-packages/ratelimitd")
    assert files(ROOT / "ratelimitd") - files(installed) == set()


BUILT_FROM = {".pyx", ".pxd", ".pxi", ".pyi", ".so"}
"""Sources of the extension, and what it was built to."""


def files(folder):
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name != "__pycache__" and path.suffix not in BUILT_FROM
    } - {RECORD}


@pytest.mark.process
def test_upstreams_command_is_serve(built, tmp_path):
    """/bin/ratelimit takes serve's arguments, and needs none."""
    assert "Run the service as `serve` does" in run(f"{built}/bin/ratelimit --help", tmp_path)


@pytest.mark.process
@pytest.mark.slow
def test_upstreams_command_takes_agent_routers_argument(built, tmp_path):
    """What ends the start here is the backend, as without the argument."""
    argument = "--quotaRateLimitServiceHost=envoy-ai-gateway-ratelimit.envoy-gateway-system"
    said = run(f"BACKEND_TYPE=memcache {built}/bin/ratelimit {argument} 2>&1 || echo ended", tmp_path)
    assert said.startswith("ratelimitd: BACKEND_TYPE")
    assert said.endswith("ended\n")
