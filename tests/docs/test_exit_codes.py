"""The exit codes of docs/stability.md, of commands that end by themselves."""

import subprocess
import sys

import pytest

POLICY = "domain: d\ndescriptors: [{key: k, rate_limit: {unit: day, requests_per_unit: 2}}]\n"
FILES = {"policy.yaml": POLICY, "wrong.yaml": POLICY.replace("day", "moment"), "gateway.yaml": "listen: 1\n"}
ASKED = "-d d k=a --rate 1/s --for 1m"
NOWHERE = "--address 127.0.0.1:1"


@pytest.mark.process
@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("serve --config policy.yaml --port x", 2),
        ("proxy gateway.yaml", 1),
        ("proxy missing.yaml", 2),
        ("validate policy.yaml", 0),
        ("validate wrong.yaml", 1),
        ("diff policy.yaml policy.yaml", 0),
        ("diff policy.yaml wrong.yaml", 2),
        (f"check {NOWHERE} -d d k=a", 2),
        (f"simulate --config policy.yaml {ASKED}", 0),
        (f"simulate --config wrong.yaml {ASKED}", 1),
        ("simulate --nothing", 2),
        ("envoy gateway.yaml", 2),
        ("schema nothing", 2),
        ("completion nothing", 2),
        (f"top --once {NOWHERE}", 2),
        (f"watch {NOWHERE}", 2),
    ],
)
def test_a_command_ends_with_the_code_of_the_table(command, code, tmp_path):
    """Scripts and supervisors decide by it."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    words = [sys.executable, "-m", "ratelimitd", *command.split()]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == code, done.stderr
