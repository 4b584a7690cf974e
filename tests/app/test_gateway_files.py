"""The gateway file, as the process reads it."""

import os

import pytest

from ratelimitd.app.gateway_files import read
from ratelimitd.policy import PolicyErrors


async def test_a_pipe_for_a_gateway_file(tmp_path):
    """It is an error of the file; a thread that waits for a writer would be lost with each reload."""
    path = tmp_path / "gateway.yaml"
    os.mkfifo(path)
    with pytest.raises(PolicyErrors, match=f"{path}: cannot be read: not a regular file"):
        await read(str(path))
