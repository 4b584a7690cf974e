"""The Dockerfile, as far as it can be run without an engine: its build steps, in an empty virtual environment."""

import os
import re
import shutil
import subprocess
import sys
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


BUILD, FINAL = stages()


def sources():
    return [ROOT / word for text in BUILD.texts("COPY") for word in text.split()[:-1]]


def test_what_is_copied_exists():
    """A moved file would end the build."""
    assert [path for path in sources() if not path.exists()] == []
    assert [text.split()[0] for text in FINAL.texts("COPY")] == [f"--from={BUILD.name}"]


def test_both_stages_have_the_same_slim_python():
    """A virtual environment runs on the Python that made it."""
    assert BUILD.base == FINAL.base == "python:${PYTHON}-slim"


def test_it_runs_as_nobody_and_writes_nothing():
    """A number, as runAsNonRoot needs, and no bytecode on a read-only root."""
    assert FINAL.texts("USER") == ["65534:65534"]
    assert "PYTHONDONTWRITEBYTECODE=1" in FINAL.texts("ENV")[0]
    assert [name for name, _ in FINAL.steps].index("USER") > [name for name, _ in FINAL.steps].index("RUN")


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
    assert f"ln -s {PREFIX}/bin/ratelimit /bin/ratelimit" in FINAL.texts("RUN")


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
        command = re.sub(r"^python ", f"{sys.executable} ", text).replace(PREFIX, str(prefix))
        if not command.startswith("apt-get"):
            run(command, source, os.environ["PATH"])
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
    pinned = set((ROOT / "requirements-otel.txt").read_text().splitlines()[1:])
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["otel"]
    assert pinned <= set((ROOT / "requirements-dev.txt").read_text().splitlines())
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
    assert f"{version.strip()} (compiled)" in run(f"{built}/bin/ratelimitd --version", tmp_path)


def test_the_libraries_it_was_linked_with_come_with_the_final_image():
    """What the build stage links the fast transport with, the final stage installs."""
    assert any("libnghttp2-dev" in text for text in BUILD.texts("RUN"))
    assert any("libnghttp2-14" in text for text in FINAL.texts("RUN"))


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
