"""What tests of the loader share."""

import sys

import pytest

from ratelimitd.sources import loader
from ratelimitd.sources.files import RuntimeFolder


@pytest.fixture
def child(monkeypatch, tmp_path):
    """Put another program in the place of the child that parses."""

    def replace(text):
        program = tmp_path / "python"
        program.write_text(f"#!{sys.executable}\n{text}")
        program.chmod(0o755)
        monkeypatch.setattr(loader.sys, "executable", str(program))

    return replace


@pytest.fixture
def folder(tmp_path):
    """Write a policy to a folder of it alone."""

    def write(text):
        (tmp_path / "config").mkdir()
        (tmp_path / "config" / "p.yaml").write_text(text)
        return RuntimeFolder(str(tmp_path), watch_root=False)

    return write
