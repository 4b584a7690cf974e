"""The child that parses: what it gets from the service, and that it is the one that ends when memory is short."""

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ratelimitd.policy import PolicyErrors
from ratelimitd.printable import printable
from ratelimitd.settings import ROWS, Settings
from ratelimitd.settings.rows import Secret
from ratelimitd.sources import loader
from ratelimitd.sources.files import BYTES_DEFAULT, BYTES_MOST
from ratelimitd.sources.frames import MEMORY_SLACK, OUT_OF_MEMORY
from ratelimitd.sources.pushed import Pushed
from testkit.control_plane import config, response

pytestmark = pytest.mark.process

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="a request of Linux' kernel")

PATIENCE = 30.0
"""Seconds until a load is given up."""

LOOK = """
import resource, sys
sys.path.insert(0, {root!r})
from ratelimitd.sources import child
def look(job):
    sys.exit(open("/proc/self/oom_score_adj").read() + str(resource.getrlimit(resource.RLIMIT_DATA)))
child.perform = look
child.main(sys.stdin.buffer, sys.stdout.buffer)
"""
"""The child with a look at itself in place of its work."""


@pytest.fixture(autouse=True)
def unbounded(monkeypatch):
    """The machine has memory for every child."""
    monkeypatch.setattr(loader, "memory_left", lambda: None)


async def refusal(source, **options):
    with pytest.raises(PolicyErrors) as caught:
        await loader.load(source, **options)
    return str(caught.value)


async def test_no_secret_reaches_the_child(folder, child, monkeypatch):
    """Of the environment it has what an interpreter needs; tokens and passwords stay with the service."""
    secrets = [row.name for row in ROWS if row.secret is not Secret.NO and not row.name.endswith("*")]
    assert {"ADMIN_TOKEN", "REDIS_AUTH", "REDIS_URL", "IDENTITY_SECRET"} <= set(secrets)
    for name in (*secrets, "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "canary")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    child("import os, sys; sys.exit('canary' * ('canary' in os.environ.values()) + ' '.join(os.environ))")
    told = await refusal(folder("domain: d\n"))
    assert "canary" not in told
    names = set(told.partition("unexpectedly: ")[2].split())
    assert {"PATH", "LC_ALL", "PYTHONPATH"} <= names
    assert all(name in loader.KEPT or name.startswith(loader.KEPT_PREFIXES) for name in names)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc")
async def test_no_file_of_the_service_reaches_the_child(folder, child):
    """Sockets and files that are open in the service, also those that may be inherited."""
    with tempfile.TemporaryFile() as file:
        os.set_inheritable(file.fileno(), True)
        child("import os, sys; sys.exit(' '.join(sorted(os.listdir('/proc/self/fd'))))")
        assert (await refusal(folder("domain: d\n"))).endswith("unexpectedly: 0 1 2 3")  # 3: that of the listing


@LINUX
async def test_the_child_is_ended_first_and_bounded(folder, child):
    """The kernel ends it and not the service, and its memory has a bound in proportion to that of the files."""
    root = str(Path(__file__).parents[2])
    child(LOOK.format(root=root))
    told = await refusal(folder("domain: d\n"), most=1 << 20)
    bound = loader.memory_for(1 << 20) + MEMORY_SLACK
    assert told.partition("unexpectedly: ")[2] == printable(f"1000\n({bound}, {bound})")


@LINUX
async def test_a_policy_that_takes_too_much_memory_is_refused(folder, monkeypatch):
    """With the bound and what to do; the same policy is loaded under a larger bound."""
    rules = "".join(f"- {{key: k{number}, rate_limit: {{unit: day}}}}\n" for number in range(12_000))
    source = folder("domain: d\ndescriptors:\n" + rules)
    assert (await loader.load(source)).summary.descriptors == 12_000
    monkeypatch.setattr(loader, "MEMORY_PER_BYTE", 0)
    monkeypatch.setattr(loader, "MEMORY_LEAST", 32 << 20)
    told = await refusal(source)
    assert f"parsing the files takes more than the 32 MiB that POLICY_MAX_BYTES={BYTES_DEFAULT} allows" in told


@LINUX
async def test_a_child_that_hangs_past_its_memory_is_ended(folder, child, monkeypatch):
    """An interpreter without memory may loop for ever, so the service looks at it from outside."""
    monkeypatch.setattr(loader, "MEMORY_LEAST", 64 << 20)
    monkeypatch.setattr(loader, "MEMORY_PER_BYTE", 0)
    child("import time; held = bytearray(128 << 20); time.sleep(3600)")
    told = await refusal(folder("domain: d\n"), within=PATIENCE)
    assert "parsing the files takes more than the 64 MiB" in told


@LINUX
@pytest.mark.parametrize("failing", [True, False])
def test_a_child_whose_allocation_fails_says_so_by_its_exit_code(failing):
    """The bound of the kernel stands behind the look of the service: it is reached between two of them."""
    least = 30 << 20
    code = f"""
import io
from ratelimitd.sources import child
from ratelimitd.sources.frames import LoadJob, pack
from ratelimitd.sources.files import Paths
def perform(job):
    held = bytearray({(128 if failing else 1) << 20})
    return []
child.perform = perform
child.run(io.BytesIO(pack(LoadJob(Paths(()), "gcra", False, 1024, {least}))), io.BytesIO())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (OUT_OF_MEMORY if failing else 0, "")


@LINUX
async def test_a_child_takes_no_more_than_the_container_has_left(folder, monkeypatch):
    """Or the kernel would end the service with it; a bound that is not reached refuses nothing."""
    rules = "".join(f"- {{key: k{number}, rate_limit: {{unit: day}}}}\n" for number in range(12_000))
    source = folder("domain: d\ndescriptors:\n" + rules)
    monkeypatch.setattr(loader, "memory_left", lambda: 32 << 20)
    assert "parsing the policy takes more than the 28 MiB that the container has left" in await refusal(source)
    monkeypatch.setattr(loader, "memory_left", lambda: 1 << 40)
    assert (await loader.load(source)).summary.descriptors == 12_000


async def test_a_child_that_the_kernel_ends_says_so(folder, child):
    """By SIGKILL, as it does when the memory of a container is used up."""
    child("import os; os.kill(os.getpid(), 9)")
    assert "exit code -9; it was killed (SIGKILL), by the kernel if the memory" in await refusal(folder("domain: d\n"))


async def test_more_bytes_than_the_setting_are_refused(folder):
    """With the setting to raise; the default is the loader's, and the most of both is the same."""
    source = folder("domain: d\n" + "#" * 2_000)
    assert "exceed 1024 bytes: raise POLICY_MAX_BYTES" in await refusal(source, most=1024)
    assert (await loader.load(source, most=4096)).summary.domains == 1
    row = Settings.policy_max_bytes
    assert row.parse(row.default) == BYTES_DEFAULT
    assert row.parse(str(BYTES_MOST)) == BYTES_MOST
    with pytest.raises(ValueError, match="at most"):
        row.parse(str(BYTES_MOST + 1))


@LINUX
@pytest.mark.parametrize("forbidden", [True, False])
def test_the_child_leaves_no_dump_if_the_service_leaves_none(forbidden):
    """It learns so from the limit that it inherits, since it has no settings."""
    code = f"""
import resource, subprocess, sys
if {forbidden}:
    from ratelimitd.kernel import forbid_dumps; forbid_dumps()
subprocess.run([sys.executable, "-c", '''
import ctypes, io
from ratelimitd.sources import child
from ratelimitd.sources.frames import LoadJob, pack
from ratelimitd.sources.files import Paths
child.main(io.BytesIO(pack(LoadJob(Paths(()), "gcra", False, 1024, 1 << 30))), io.BytesIO())
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
'''], check=True)
"""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    if not forbidden and hard == 0:
        pytest.skip("this process may leave no core dump itself")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == ("0\n" if forbidden else "1\n")


@LINUX
async def test_a_pushed_policy_is_bounded_by_its_own_size(monkeypatch):
    """Its bytes bound the memory of the child, whatever files may take; the same one is loaded under a larger bound."""
    many = ({"key": f"k{number}", "rate_limit": {"unit": "day"}} for number in range(12_000))
    pushed = Pushed("c:1", "7", response("7", [config("r", *many)]).SerializeToString())
    loaded = await loader.load(pushed, most=0)
    assert (loaded.summary.descriptors, loaded.version) == (12_000, "7")
    monkeypatch.setattr(loader, "PUSHED_PER_BYTE", 0)
    monkeypatch.setattr(loader, "MEMORY_LEAST", 40 << 20)
    with pytest.raises(loader.LoadError, match=r"control plane c:1: .* more than the 40 MiB that its size allows"):
        await loader.load(pushed)
