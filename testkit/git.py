"""Git, for tests that read the history of a repository or make one."""

import os
import subprocess
from pathlib import Path

OWN = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_CONFIG_COUNT": "1",  # a container's clone belongs to a user of its host
    "GIT_CONFIG_KEY_0": "safe.directory",
    "GIT_CONFIG_VALUE_0": "*",
    **{f"GIT_{role}_{field}": "a@b" for role in ("AUTHOR", "COMMITTER") for field in ("NAME", "EMAIL")},
}


def git(root: Path, *arguments: str) -> str:
    """Run git in this tree, without the user's configuration; raises CalledProcessError."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | OWN
    done = subprocess.run(["git", *arguments], cwd=root, env=environ, capture_output=True, text=True, check=True)
    return done.stdout.strip()
