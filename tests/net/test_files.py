"""Files that somebody else writes while the service runs."""

import errno
import os
import socket
from pathlib import Path

import pytest

from ratelimitd.net.files import read_regular, stamp


def test_a_file_is_read_through_the_links_of_a_kubernetes_secret(tmp_path):
    """A mounted Secret is a link into a folder that is itself a link, so that all files of it change at once."""
    (tmp_path / "..2025").mkdir()
    (tmp_path / "..2025" / "token").write_bytes(b"secret")
    (tmp_path / "..data").symlink_to("..2025")
    (tmp_path / "token").symlink_to("..data/token")
    assert read_regular(tmp_path / "token", 6) == b"secret"


def unix_socket(path):
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


@pytest.mark.parametrize(
    ("make", "number"),
    [
        (os.mkfifo, errno.EINVAL),
        (lambda path: path.symlink_to("/dev/zero"), errno.EINVAL),
        (Path.mkdir, errno.EISDIR),
        (unix_socket, errno.ENXIO),
        (lambda path: None, errno.ENOENT),
    ],
)
def test_what_is_not_a_regular_file_is_an_error_at_once(make, number, tmp_path):
    """A pipe without a writer and an endless device keep nobody waiting; the error names the path."""
    make(tmp_path / "file")
    with pytest.raises(OSError, match=str(tmp_path / "file")) as caught:
        read_regular(tmp_path / "file", 10)
    assert caught.value.errno == number


def test_a_longer_file_is_an_error(tmp_path):
    """A file of many gigabytes costs the bound and no more."""
    with (tmp_path / "file").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(OSError, match="longer than 10 bytes") as caught:
        read_regular(tmp_path / "file", 10)
    assert caught.value.errno == errno.EFBIG


def test_a_stamp_differs_when_the_file_was_written_or_swapped(tmp_path):
    """Also for a file of the same size and time of writing, as ``cp -p`` and a swapped link leave it."""
    old, new = tmp_path / "old", tmp_path / "new"
    for file in (old, new):
        file.write_text("text")
        os.utime(file, ns=(0, 0))
    link = tmp_path / "link"
    link.symlink_to(old)
    stamps = [stamp(link), stamp(link)]
    link.unlink()
    link.symlink_to(new)
    stamps.append(stamp(link))
    new.write_text("more text")
    stamps.append(stamp(link))
    assert stamps[0] == stamps[1]
    assert len(set(stamps)) == 3


def test_what_is_not_there_has_no_stamp(tmp_path):
    """OSError, as for a read."""
    with pytest.raises(FileNotFoundError):
        stamp(tmp_path / "nowhere")
