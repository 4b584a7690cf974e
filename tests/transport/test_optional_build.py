"""The extension is optional: without what builds it, the package is built without it and says so when asked."""

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from ratelimitd.compiled import PURE, RECORD

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
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "LICENSE.nghttp2"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "ratelimitd", tmp_path / "ratelimitd", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    command = [sys.executable, *python, "-q", "build_ext", "--inplace"]
    subprocess.run(command, cwd=tmp_path, env={**os.environ, PURE: "1", **env}, check=True, capture_output=True)
    assert list(tmp_path.glob("ratelimitd/transport/*.so")) == []
    asked = subprocess.run([sys.executable, "-c", ASK], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert asked.stdout == "clean\n"


def test_a_source_distribution_has_all_that_a_build_reads(tmp_path):
    """Without the extension's source, Cython ends the installation; what was built here is not in it."""
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "LICENSE.nghttp2"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "ratelimitd", tmp_path / "ratelimitd", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-c", NO_CYTHON, "-q", "sdist"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    (made,) = tmp_path.glob("dist/*.tar.gz")
    with tarfile.open(made) as archive:
        files = {Path(*Path(name).parts[1:]) for name in archive.getnames()}
    sources = {path.relative_to(ROOT) for path in ROOT.glob("ratelimitd/**/*.p[xy]*") if path.is_file()}
    caches = {path for path in sources if "__pycache__" in path.parts}
    assert sources - caches - files == set()
    assert [path for path in files if path.suffix == ".so" or path.name == RECORD] == []
