"""What a container has left of its memory, from the files of its cgroup."""

import pytest

from ratelimitd.kernel import memory_left

STAT = "anon 300\nfile 500\nactive_file 100\ninactive_file 200\nslab_reclaimable 50\nslab 70\n"


@pytest.mark.parametrize(
    ("most", "left"),
    [
        ("1000\n", 450),
        ("600\n", 50),
        ("400\n", 0),
        ("max\n", None),
    ],
)
def test_what_the_kernel_would_give_up_is_left(tmp_path, most, left):
    """900 bytes are used, 350 of them by what is read again from files; a container without a bound has no end."""
    for name, text in (("memory.max", most), ("memory.current", "900\n"), ("memory.stat", STAT)):
        (tmp_path / name).write_text(text)
    assert memory_left(tmp_path) == left


def test_without_a_cgroup_nothing_is_known(tmp_path):
    """Of another system, or of cgroup v1."""
    assert memory_left(tmp_path) is None
