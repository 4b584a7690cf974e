"""Entries of a folder that are no files to read, and folders that are joined from settings."""

import contextlib
import os
import socket
import tempfile
from pathlib import Path

import pytest

from ratelimitd.policy import PolicyErrors, Slice
from ratelimitd.sources import GatewayFile, Paths, RuntimeFolder, read_files, signature, skipped
from ratelimitd.sources.child import perform
from ratelimitd.sources.frames import EndFrame, WarningFrame
from tests.sources.jobs import job

POLICY = "domain: d\ndescriptors: [{key: k, rate_limit: {unit: day}}]\n"


@pytest.fixture
def folder():
    """A folder that other users may enter, with a policy in config/."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o755)
        (path / "config").mkdir()
        (path / "config" / "p.yaml").write_text(POLICY)
        yield path


@contextlib.contextmanager
def closed(folder):
    """A folder that this process cannot enter, as lost+found is for a service that is not root."""
    folder.mkdir()
    folder.joinpath("hidden.yaml").write_text(POLICY.replace("domain: d", "domain: hidden"))
    was = os.geteuid()
    folder.chmod(0o700 if was == 0 else 0)
    if was == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        if was == 0:
            os.seteuid(was)
        folder.chmod(0o700)


def kinds(folder):
    """The source of every kind over the files in config/."""
    (folder / "gateway.yaml").write_text("policies: config\n")
    return [
        RuntimeFolder(str(folder)),
        RuntimeFolder(str(folder), "config", "", watch_root=False),
        Paths((str(folder / "config"),)),
        GatewayFile(str(folder / "gateway.yaml")),
    ]


def test_a_folder_that_cannot_be_entered_is_a_warning(folder):
    """The rest of the folder is the policy, in every kind of source, and the warning names the folder and the cause."""
    sources = kinds(folder)
    with closed(folder / "config" / "lost+found"):
        for source in sources:
            *_, end = frames = list(perform(job(source, "gcra")))
            warned = [warning for frame in frames if isinstance(frame, WarningFrame) for warning in frame.warnings]
            assert (type(frames[0]), end.summary.limits) == (Slice, 1)
            assert [warning.file.rpartition("config")[2].strip("./") for warning in warned][:1] == ["lost+found"]
            assert "the folder cannot be entered: Permission denied" in warned[0].message


def test_a_folder_beside_the_application_directory_is_not_entered(folder):
    """With RUNTIME_WATCH_ROOT only what can have the prefix is looked at, so nothing is warned of."""
    with closed(folder / "lost+found"):
        assert [name for name, _ in read_files(RuntimeFolder(str(folder)))] == ["config.p.yaml"]
        assert skipped(RuntimeFolder(str(folder))) == []


def test_a_dotted_application_directory_is_found_in_nested_folders(folder):
    """A runtime key has dots for slashes, so the prefix a.b. is that of a folder b in a folder a."""
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "p.yaml").write_text(POLICY)
    assert [name for name, _ in read_files(RuntimeFolder(str(folder), "", "a.b"))] == ["a.b.p.yaml"]


def test_sockets_and_pipes_are_warnings(folder):
    """They are no files, so they are left out by name; nothing waits for a writer."""
    os.mkfifo(folder / "config" / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "config" / "socket"))
        for source in kinds(folder):
            assert len(read_files(source)) == 1
            assert [warning.message.partition(":")[0] for warning in skipped(source)] == [
                "not read, since it is no regular file but a socket, a pipe or a device"
            ] * 2
            assert [warning.file[-4:] for warning in skipped(source)] == ["pipe", "cket"]


def test_a_file_that_cannot_be_read_is_an_error(folder):
    """A policy without one of its files would limit less than it says: a dangling link is no reason to go on."""
    (folder / "config" / "q.yaml").symlink_to("nowhere")
    for source in kinds(folder):
        with pytest.raises(PolicyErrors, match=r"q.yaml: cannot be read: No such file"):
            read_files(source)
        assert skipped(source) == []


@pytest.mark.parametrize("named", [True, False])
def test_what_is_named_itself_must_be_readable(folder, named):
    """A closed folder, or a pipe, that is the source itself is an error, not a policy of nothing."""
    with closed(folder / "closed"):
        source = Paths((str(folder / "closed"),)) if named else RuntimeFolder(str(folder), "closed", watch_root=False)
        with pytest.raises(PolicyErrors, match="cannot be read"):
            read_files(source)
    os.mkfifo(folder / "pipe")
    with pytest.raises(PolicyErrors, match="pipe: cannot be read: not a regular file"):
        read_files(Paths((str(folder / "pipe"),)))


@pytest.mark.parametrize(
    ("parts", "watch_root", "below"),
    [
        (("/data", "/rl", "config"), False, "/data/rl/config"),
        (("/data", "/rl", "/config"), False, "/data/rl/config"),
        (("/data", "/", "config"), True, "/data"),
        (("/data/", "", "/config"), False, "/data/config"),
        (("/data", "rl/", "config/"), False, "/data/rl/config"),
        (("/data", "../other", "config"), True, "/other"),
        (("data", "", "config"), True, "data"),
    ],
)
def test_settings_are_joined_as_go_joins_them(parts, watch_root, below):
    """A leading slash does not leave RUNTIME_ROOT; the results are those of filepath.Join."""
    assert str(RuntimeFolder(*parts, watch_root=watch_root).folder) == below


@pytest.mark.parametrize("root", [".", "", "./", "../{}", "config/.."])
def test_a_relative_root_has_the_same_keys(folder, monkeypatch, root):
    """Names in errors begin below the root, however it is written."""
    monkeypatch.chdir(folder)
    source = RuntimeFolder(root.format(folder.name))
    assert [name for name, _ in read_files(source)] == ["config.p.yaml"]


def test_a_leading_slash_of_the_application_directory_names_the_same_files(folder):
    """Also where it is the prefix of runtime keys."""
    assert [name for name, _ in read_files(RuntimeFolder(str(folder), "/", "/config"))] == ["config.p.yaml"]


def test_a_path_with_a_null_character_is_an_error(folder):
    """The watch lives on, and the error names the path."""
    source = GatewayFile(str(folder / "gateway.yaml"))
    (folder / "gateway.yaml").write_text('policies: "a\\0b"\n')
    with pytest.raises(PolicyErrors, match="cannot be read: a path cannot contain a null character"):
        read_files(source)
    assert signature(source)
    (folder / "config" / "p.yaml").write_bytes(b"# tiers_file: a\0b\n")
    assert signature(Paths((str(folder / "config"),)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no policy found: no domain is defined"),
        ("domain: d\n", "domain 'd' has no limit"),
        ("domain: d\ndescriptors: [{key: k}]\n", "domain 'd' has no limit"),
        (POLICY.replace("unit: day", "unit: day, requests_per_unit: 1"), None),
    ],
)
def test_a_policy_without_limits_is_a_warning(folder, text, words):
    """It takes force, since it is what the files say, and the warning says what that means."""
    if text is None:
        (folder / "config" / "p.yaml").unlink()
    else:
        (folder / "config" / "p.yaml").write_text(text)
    *frames, end = perform(job(RuntimeFolder(str(folder)), "gcra"))
    warned = [warning for frame in frames if isinstance(frame, WarningFrame) for warning in frame.warnings]
    assert (isinstance(end, EndFrame), end.files) == (True, 0 if text is None else 1)
    assert [warning.message.startswith(words or "") for warning in warned] == ([True] if words else [])


def test_a_fault_of_the_lint_costs_no_policy(folder, monkeypatch):
    """The rows arrive, and a warning says what failed, without the text of a file."""

    def broken(*_):
        raise KeyError("some-api-key")

    monkeypatch.setattr("ratelimitd.lint.lint", broken)
    frames = list(perform(job(Paths((str(folder / "config"),)))))
    assert [type(frame) for frame in frames] == [Slice, WarningFrame, EndFrame]
    ((warning,),) = (frame.warnings for frame in frames if isinstance(frame, WarningFrame))
    assert "KeyError in test_entries.py, line " in warning.message
    assert "some-api-key" not in str(warning)
