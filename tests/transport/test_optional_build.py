"""The extension is optional: without what builds it, the package is built without it and says so when asked."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ratelimitd.compiled import PURE

pytestmark = [pytest.mark.process, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
NO_CYTHON = (
    "import sys; sys.modules['Cython'] = None; sys.argv = ['setup.py', *sys.argv[1:]]; exec(open('setup.py').read())"
)
ASK = """
from ratelimitd.transport import nghttp2_available
assert not nghttp2_available()
try:
    import ratelimitd.transport.nghttp2
except ImportError:
    print("clean")
"""


@pytest.mark.parametrize(
    ("python", "env"),
    [(["setup.py"], {"CC": "false"}), (["setup.py"], {"CC": "false", "PATH": ""}), (["-c", NO_CYTHON], {})],
    ids=["no compiler", "no pkg-config", "no Cython"],
)
def test_a_build_without_its_tools_succeeds(tmp_path, python, env):
    """The build ends well, there is no extension, and importing the fast transport raises ImportError."""
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "ratelimitd", tmp_path / "ratelimitd", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    command = [sys.executable, *python, "-q", "build_ext", "--inplace"]
    subprocess.run(command, cwd=tmp_path, env={**os.environ, PURE: "1", **env}, check=True, capture_output=True)
    assert list(tmp_path.glob("ratelimitd/transport/*.so")) == []
    asked = subprocess.run([sys.executable, "-c", ASK], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert asked.stdout == "clean\n"
