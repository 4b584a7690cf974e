"""Deployments for envoyproxy/ratelimit with our image: with exactly their environment, each in a pod of its own."""

import subprocess
import sys

import pytest

from testkit.environment import bare
from testkit.pasted import ROOT
from testkit.pod import namespaces
from tests.migrating.inside import scenarios

SECONDS = 300.0


@pytest.mark.process
@pytest.mark.redis
@pytest.mark.envoy
@pytest.mark.slow
@pytest.mark.parametrize(("name", "scenario"), scenarios())
def test_it_starts_with_the_environment_of_a_deployment(name, scenario, tmp_path):
    """What the scenario promises holds: ports, paths, names, arguments and user are those of the manifest."""
    prefix = namespaces()
    if prefix is None:
        pytest.skip("a pod needs namespaces for network and mounts, which this machine does not permit: run as root")
    words = [*prefix, sys.executable, "-m", "tests.migrating.inside", name, scenario, str(tmp_path)]
    env = {**bare(), "PYTHONPATH": str(ROOT), "GRPC_VERBOSITY": "NONE"}
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
