"""The memory that a process may use, read from folders as control groups have them."""

import os

import pytest

from ratelimitd.observe.container import memory_limit

MIB = 1 << 20
MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def cgroups(tmp_path):
    """Write files of cgroups, and the file that says where the process is; returns what ``memory_limit`` takes."""

    def write(own, **files):
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            file = tmp_path / "fs" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return tmp_path / "fs", tmp_path / "own"

    return write


@pytest.mark.parametrize(
    ("own", "files", "limit"),
    [
        ("0::/\n", {"memory.max": "536870912\n"}, 512 * MIB),
        ("0::/\n", {"memory.max": "max\n"}, MACHINE),
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": f"{64 * MIB}\n"}, 64 * MIB),
        ("0::/a/b\n", {"a/b/memory.max": f"{32 * MIB}\n", "a/memory.max": f"{64 * MIB}\n"}, 32 * MIB),
        ("0::/kubepods/pod1\n", {"memory.max": f"{96 * MIB}\n"}, 96 * MIB),
        ("5:cpu:/x\n4:memory:/a\n0::/\n", {"memory/a/memory.limit_in_bytes": f"{48 * MIB}\n"}, 48 * MIB),
        ("4:cpu,memory:/docker/1\n", {"memory/memory.limit_in_bytes": f"{80 * MIB}\n"}, 80 * MIB),
        ("4:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, MACHINE),
        ("0::/\n", {}, MACHINE),
        ("no line of a kernel", {"memory.max": ""}, MACHINE),
    ],
)
def test_the_least_limit_applies(cgroups, own, files, limit):
    """In v2 and v1, in a container that sees its own cgroup as the root, and without a limit that of the machine."""
    assert memory_limit(*cgroups(own, **files)) == limit


def test_a_system_without_cgroups_has_the_memory_of_the_machine(tmp_path):
    """As on macOS, where neither file exists."""
    assert memory_limit(tmp_path / "none", tmp_path / "nothing") == MACHINE
