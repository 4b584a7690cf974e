"""README as the description of the package."""

import re
import subprocess
import sys

import pytest

from testkit.pasted import ROOT

COPIED = (
    "setup.py",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "LICENSE.nghttp2",
    "ratelimitd/__init__.py",
    "ratelimitd/commit.py",
    "ratelimitd/compiled.py",
)


@pytest.mark.process
@pytest.mark.slow
def test_a_package_page_has_no_link_into_the_repository(tmp_path):
    """Only links to other sites are left, no picture is missing, and the text of the others is still there."""
    for name in COPIED:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    code = "import sys; sys.modules['Cython'] = None\n"  # no extension: its sources are not copied
    code += "from setuptools import build_meta; build_meta.prepare_metadata_for_build_wheel('.')"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (metadata,) = [path.read_text() for path in tmp_path.glob("*.dist-info/METADATA")]
    head, page = metadata.split("\n\n", 1)

    assert all(target.startswith("https://") for target in re.findall(r"\]\(([^)]*)\)", page))
    assert "docs/policies.md: the policy file" in page
    assert {"Author: the ratelimitd authors", "Description-Content-Type: text/markdown"} <= set(head.splitlines())
